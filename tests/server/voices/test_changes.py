"""Voices that are there get an index, another name, or go."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvc_core.errors import CoreError, IndexMismatch, InvalidOption, VoiceNotFound
from server.errors import ModelInUse, VoiceExists, VoiceRequired
from server.services import Services
from server.voices.desk import VoiceDesk
from tests.server.calls import converting
from tests.server.voices.made import index_bytes, take, tree, voice_bytes


def test_an_index_of_another_width_is_refused(
    desk: VoiceDesk, fake_models: Path, tmp_path: Path
) -> None:
    before = tree(fake_models)
    with pytest.raises(IndexMismatch, match="width 256"):
        take(desk, ("b.pth", voice_bytes()), ("b.index", index_bytes(tmp_path, 256)))
    assert tree(fake_models) == before


def test_an_index_alone_goes_to_the_voice_named(
    desk: VoiceDesk, services: Services, voices: Path, tmp_path: Path
) -> None:
    report = take(desk, ("x.index", index_bytes(tmp_path)), name="anna")
    assert (report.name, report.summary[-11:]) == ("anna", "index fits.")
    assert services.registry.find("anna").index == voices / "anna.index"


def test_an_index_alone_finds_its_voice_by_its_own_name(
    desk: VoiceDesk, services: Services, tmp_path: Path
) -> None:
    name = "added_IVF256_Flat_nprobe_1_anna_v2.index"
    assert take(desk, (name, index_bytes(tmp_path))).name == "anna"


@pytest.mark.parametrize(
    ("name", "width", "error"),
    [("x", 768, VoiceNotFound), ("x", 256, VoiceNotFound), ("anna", 256, IndexMismatch)],
)
def test_an_index_without_its_voice_is_told_which_would_fit(
    desk: VoiceDesk,
    fake_models: Path,
    tmp_path: Path,
    name: str,
    width: int,
    error: type[CoreError],
) -> None:
    before = tree(fake_models)
    fitting = "there are anna" if width == 768 else "none is installed"
    with pytest.raises(error, match=fitting):
        take(desk, ("i.index", index_bytes(tmp_path, width)), name=name)
    assert tree(fake_models) == before


def test_an_index_that_says_nothing_needs_a_name(desk: VoiceDesk, tmp_path: Path) -> None:
    with pytest.raises(VoiceRequired, match="there are anna"):
        take(desk, ("a|b.index", index_bytes(tmp_path)))


def test_a_second_index_needs_leave(desk: VoiceDesk, tmp_path: Path) -> None:
    take(desk, ("anna.index", index_bytes(tmp_path)))
    with pytest.raises(VoiceExists):
        take(desk, ("anna.index", index_bytes(tmp_path)))
    take(desk, ("anna.index", index_bytes(tmp_path)), overwrite=True)


def test_a_voice_is_renamed_with_its_index(
    desk: VoiceDesk, services: Services, voices: Path, tmp_path: Path
) -> None:
    take(desk, ("anna.index", index_bytes(tmp_path)))
    assert desk.rename("anna", "Größe") == "Größe"
    assert sorted(tree(voices)) == ["Größe.index", "Größe.pth"]
    assert services.registry.find("Größe").index == voices / "Größe.index"


def test_a_voice_keeps_its_name_where_the_new_one_is_taken_or_bad(
    desk: VoiceDesk, voices: Path
) -> None:
    take(desk, ("b.pth", voice_bytes()))
    before = tree(voices)
    with pytest.raises(VoiceExists):
        desk.rename("anna", "b")
    with pytest.raises(InvalidOption):
        desk.rename("anna", "../b")
    with pytest.raises(VoiceNotFound):
        desk.rename("nobody", "c")
    assert desk.rename("anna", "anna") == "anna"
    assert tree(voices) == before


def test_a_voice_is_removed_with_its_index(
    desk: VoiceDesk, services: Services, fake_models: Path, tmp_path: Path, recording: bytes
) -> None:
    take(desk, ("anna.index", index_bytes(tmp_path)))
    with converting(services, recording):
        pass
    desk.remove("anna")
    assert services.voices() == []
    assert tree(fake_models / "voices") == {}
    assert services.leases.states() == {}


def test_a_voice_in_use_stays(
    desk: VoiceDesk, services: Services, voices: Path, recording: bytes
) -> None:
    before = tree(voices)
    with converting(services, recording):
        for change in (lambda: desk.remove("anna"), lambda: desk.rename("anna", "b")):
            with pytest.raises(ModelInUse):
                change()
        assert tree(voices) == before
    desk.remove("anna")


def test_a_pinned_voice_stays(desk: VoiceDesk, services: Services, voices: Path) -> None:
    services.set_pinned("anna", True)
    with pytest.raises(ModelInUse, match="pinned"):
        desk.remove("anna")
    services.set_pinned("anna", False)
    desk.remove("anna")
    assert tree(voices) == {}


def test_an_upload_may_replace_a_voice_in_use(
    desk: VoiceDesk, services: Services, recording: bytes
) -> None:
    with converting(services, recording) as token:
        take(desk, ("anna.pth", voice_bytes()), overwrite=True)
    assert not token.cancelled
    assert services.registry.find("anna").path.suffix == ".safetensors"
