"""Voices and indexes in the models folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvc_core.errors import IndexNotFound, VoiceNotFound
from rvc_core.library import VoiceLibrary, default_f0_method, rmvpe_weights


def make(folder: Path, *names: str) -> VoiceLibrary:
    """A models folder with empty files of those names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return VoiceLibrary(folder / "voices", folder / "indexes")


def test_files_and_folders_are_voices_and_the_rest_is_not(tmp_path: Path) -> None:
    library = make(
        tmp_path,
        "voices/b.pth",
        "voices/a.safetensors",
        "voices/c/weights.pth",
        "voices/c/G_2333.pth",
        "voices/notes.txt",
        "voices/.hidden.pth",
        "voices/empty/readme.md",
    )
    assert list(library.voices()) == ["a", "b", "c"]
    assert library.find("c").path.name == "weights.pth"


def test_a_missing_folder_holds_no_voices(tmp_path: Path) -> None:
    assert make(tmp_path).voices() == {}


def test_a_new_file_appears_at_the_next_look(tmp_path: Path) -> None:
    library = make(tmp_path, "voices/a.pth")
    make(tmp_path, "voices/b.pth")
    assert list(library.voices()) == ["a", "b"]


def test_safetensors_go_before_pickles_of_the_same_name(tmp_path: Path) -> None:
    library = make(tmp_path, "voices/a.pth", "voices/a.safetensors")
    assert library.find("a").path.suffix == ".safetensors"


@pytest.mark.parametrize("name", ["a", "a.pth"])
def test_a_voice_is_found_with_and_without_its_suffix(name: str, tmp_path: Path) -> None:
    assert make(tmp_path, "voices/a.pth").find(name).name == "a"


@pytest.mark.parametrize("name", ["x", "../a", "/etc/passwd", "", "a\0"])
def test_an_unknown_voice_is_refused_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFound, match="there are a"):
        make(tmp_path, "voices/a.pth", "a.pth").find(name)


@pytest.mark.parametrize(
    "index",
    [
        "voices/anna.index",
        "voices/added_IVF512_Flat_nprobe_1_anna_v2.index",
        "indexes/anna.index",
        "indexes/deep/added_IVF8_Flat_nprobe_1_Anna_v1.index",
    ],
)
def test_an_index_belongs_to_the_voice_it_is_named_after(index: str, tmp_path: Path) -> None:
    library = make(tmp_path, "voices/anna.pth", "voices/ann.pth", index)
    assert library.find("anna").index == tmp_path / index
    assert library.find("ann").index is None


def test_any_index_in_a_voices_own_folder_belongs_to_it(tmp_path: Path) -> None:
    library = make(
        tmp_path, "voices/c/c.pth", "voices/c/trained_IVF.index", "voices/c/added_IVF.index"
    )
    assert library.find("c").index == tmp_path / "voices/c/added_IVF.index"


def test_an_index_is_found_by_name_under_its_folder_only(tmp_path: Path) -> None:
    library = make(tmp_path, "indexes/deep/a.index", "b.index")
    assert library.find_index("deep/a").name == "a.index"
    for outside in ("../b", str(tmp_path / "b.index"), "deep", "nothing", "a\0.index"):
        with pytest.raises(IndexNotFound):
            library.find_index(outside)


def test_a_link_out_of_the_folder_of_indexes_is_refused(tmp_path: Path) -> None:
    library = make(tmp_path, "indexes/a.index", "b.index")
    (tmp_path / "indexes/link.index").symlink_to(tmp_path / "b.index")
    with pytest.raises(IndexNotFound):
        library.find_index("link")


def test_the_f0_method_auto_is_rmvpe_once_its_weights_are_there(tmp_path: Path) -> None:
    assert default_f0_method(tmp_path) == "fcpe"
    rmvpe_weights(tmp_path).parent.mkdir()
    rmvpe_weights(tmp_path).touch()
    assert default_f0_method(tmp_path) == "rmvpe"
