from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rvc_core.errors import IndexNotFound, VoiceNotFound
from server.errors import VoiceRequired
from server.models import ModelRegistry


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    (tmp_path / "voices").mkdir()
    (tmp_path / "indexes" / "deep").mkdir(parents=True)
    return tmp_path / "voices"


@pytest.fixture
def registry(voices: Path) -> ModelRegistry:
    return ModelRegistry(voices, voices.parent / "indexes")


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_new_file_appears_without_a_restart(registry: ModelRegistry, voices: Path) -> None:
    assert registry.voices() == {}
    touch(voices / "周杰伦.pth")
    assert registry.find("周杰伦").path == voices / "周杰伦.pth"


def test_a_name_may_carry_its_suffix(registry: ModelRegistry, voices: Path) -> None:
    touch(voices / "a.pth")
    assert registry.find("a.pth").name == "a"


@pytest.mark.parametrize("name", ["b", "../voices/a", "/etc/passwd", "a\0", "", "A" * 500])
def test_an_unknown_name_is_refused_with_those_there_are(
    registry: ModelRegistry, voices: Path, name: str
) -> None:
    touch(voices / "a.pth")
    with pytest.raises(VoiceNotFound, match="there are a") as caught:
        registry.find(name)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


def test_without_a_name_the_only_voice_is_taken(registry: ModelRegistry, voices: Path) -> None:
    touch(voices / "a.pth")
    assert registry.choose(None, None).name == "a"


def test_without_a_name_the_default_wins(registry: ModelRegistry, voices: Path) -> None:
    touch(voices / "a.pth")
    touch(voices / "b.pth")
    assert registry.choose(None, "b").name == "b"


def test_without_a_name_and_a_default_several_voices_are_listed(
    registry: ModelRegistry, voices: Path
) -> None:
    touch(voices / "a.pth")
    touch(voices / "b.pth")
    with pytest.raises(VoiceRequired, match="there are a, b"):
        registry.choose(None, None)


def test_an_index_is_found_by_name_and_by_relative_path(
    registry: ModelRegistry, voices: Path
) -> None:
    path = touch(voices.parent / "indexes" / "deep" / "x.index")
    assert registry.find_index("deep/x.index") == path
    assert registry.find_index("deep/x") == path


@pytest.mark.parametrize(
    "given", ["../voices/a.index", "/tmp/a.index", "none", "a\0b", "note.txt", "..", "deep"]
)
def test_an_index_outside_of_its_folder_is_refused(
    registry: ModelRegistry, voices: Path, given: str
) -> None:
    touch(voices / "a.index")
    touch(voices.parent / "indexes" / "note.txt")
    with pytest.raises(IndexNotFound) as caught:
        registry.find_index(given)
    assert caught.value.param == "index_path"


def test_the_hash_names_the_content(registry: ModelRegistry, voices: Path) -> None:
    path = touch(voices / "a.pth", b"one")
    entry = registry.find("a")
    assert registry.content_hash(entry) == hashlib.sha256(b"one").hexdigest()[:8]
    path.write_bytes(b"another")
    assert registry.content_hash(registry.find("a")) != registry.content_hash(entry)


def test_a_voice_that_is_gone_by_the_time_it_is_read_is_not_found(
    registry: ModelRegistry, voices: Path
) -> None:
    path = touch(voices / "a.pth")
    entry = registry.find("a")
    path.unlink()
    with pytest.raises(VoiceNotFound, match="was removed"):
        registry.content_hash(entry)


def test_indexes_are_found_by_the_name_of_a_voice_that_may_not_be_there(
    registry: ModelRegistry, voices: Path
) -> None:
    own = touch(voices / "a.index")
    trained = touch(voices.parent / "indexes" / "deep" / "added_IVF9_a_v2.index")
    touch(voices / "ab.index")
    assert registry.indexes_of("a") == [own, trained]
