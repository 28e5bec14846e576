from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import VoiceExists
from server.models import ModelRegistry
from server.voices.intake import STALE_S, workspace
from server.voices.store import VoiceStore
from tests.server.voices.made import tree


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for folder in ("voices", "indexes", "new"):
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.fixture
def store(models: Path) -> VoiceStore:
    return VoiceStore(ModelRegistry(models / "voices", models / "indexes"), models / "voices")


def registry(models: Path) -> ModelRegistry:
    return ModelRegistry(models / "voices", models / "indexes")


def put(models: Path, *names: str) -> list[Path]:
    paths = [models / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    return paths


def files(models: Path) -> set[str]:
    return {name for name, size in tree(models).items() if size >= 0}


def test_the_index_is_there_before_the_voice(
    store: VoiceStore, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        seen.append([(e.name, e.index is not None) for e in registry(models).voices().values()])
        return moved

    monkeypatch.setattr(Path, "replace", watched)
    voice, index = put(models, "new/v.safetensors", "new/v.index")
    store.add("a", voice, index, overwrite=False)
    assert seen == [[], [("a", True)]]


def test_a_name_that_is_taken_in_any_way_is_refused(store: VoiceStore, models: Path) -> None:
    put(models, "voices/a/x.pth", "voices/b.pth", "voices/c.safetensors")
    (voice,) = put(models, "new/v.safetensors")
    before = files(models)
    for name in "abc":
        with pytest.raises(VoiceExists):
            store.add(name, voice, None, overwrite=False)
    assert files(models) == before


def test_overwriting_leaves_the_new_files_alone(store: VoiceStore, models: Path) -> None:
    put(models, "voices/a/x.safetensors", "voices/a/y.index", "voices/a.pth", "voices/a.index")
    put(models, "indexes/added_1_a_v2.index", "voices/b.pth", "voices/b.index")
    voice, index = put(models, "new/v.safetensors", "new/v.index")
    store.add("a", voice, index, overwrite=True)
    assert files(models) == {
        *("voices/a.safetensors", "voices/a.index", "voices/b.pth", "voices/b.index")
    }
    assert (models / "voices/a.index").read_text() == "v.index"


def test_removing_takes_all_that_makes_the_voice(store: VoiceStore, models: Path) -> None:
    put(models, "voices/a/x.pth", "voices/a/note.txt", "voices/a.pth", "voices/a.safetensors")
    put(models, "voices/a.index", "indexes/added_1_a_v2.index", "indexes/ab.index")
    store.remove(registry(models).find("a"))
    assert files(models) == {"indexes/ab.index"}


def test_an_index_of_another_voice_too_stays(store: VoiceStore, models: Path) -> None:
    put(models, "voices/a.pth", "voices/A.pth", "indexes/A.index")
    store.remove(registry(models).find("a"))
    assert files(models) == {"voices/A.pth", "indexes/A.index"}


def test_a_linked_folder_loses_its_link_and_no_more(store: VoiceStore, models: Path) -> None:
    put(models, "elsewhere/x.pth")
    (models / "voices/a").symlink_to(models / "elsewhere")
    store.remove(registry(models).find("a"))
    assert files(models) == {"elsewhere/x.pth"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a.pth"], ["b.pth"]),
        (["a.safetensors", "a.pth", "a.index"], ["b.safetensors", "b.pth", "b.index"]),
        (["a/x.pth", "a/added_x.index"], ["b/x.pth", "b/added_x.index"]),
        (["a/x.pth", "a.index"], ["b/x.pth", "b.index"]),
        (["a.pth", "../indexes/added_1_a_v2.index"], ["b.pth", "b.index"]),
    ],
)
def test_a_renamed_voice_keeps_its_index(
    store: VoiceStore, models: Path, before: list[str], after: list[str]
) -> None:
    put(models, *(f"voices/{name}" for name in before))
    was = registry(models).find("a")
    store.rename(was, "b")
    assert files(models) == {f"voices/{name}" for name in after}
    now = registry(models)
    assert list(now.voices()) == ["b"]
    found = now.find("b").index
    assert (found and found.read_text()) == (was.index and was.index.name)


def test_an_index_in_the_voices_folder_is_replaced_there(store: VoiceStore, models: Path) -> None:
    put(models, "voices/a/x.pth", "voices/a/old.index")
    (index,) = put(models, "new/i.index")
    store.add_index(registry(models).find("a"), index, overwrite=True)
    assert (models / "voices/a/old.index").read_text() == "i.index"


def test_an_index_for_a_folder_goes_into_it(store: VoiceStore, models: Path) -> None:
    put(models, "voices/a/x.pth")
    (index,) = put(models, "new/i.index")
    store.add_index(registry(models).find("a"), index, overwrite=False)
    assert registry(models).find("a").index == models / "voices/a/a.index"


def test_what_a_killed_process_left_is_swept_after_hours(models: Path) -> None:
    old = models / "voices/.upload-old"
    old.mkdir()
    put(models, "voices/.upload-old/x.pth")
    now = old.stat().st_mtime
    with workspace(models / "voices", clock=lambda: now + STALE_S - 60):
        assert old.exists()
    with workspace(models / "voices", clock=lambda: now + STALE_S + 60) as folder:
        assert list((models / "voices").iterdir()) == [folder]
    assert files(models) == set()
