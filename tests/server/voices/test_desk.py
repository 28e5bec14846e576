from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from rvc_core.errors import (
    Cancelled,
    CoreError,
    InvalidOption,
    MissingWeights,
)
from rvc_core.token import Token
from server.errors import (
    InvalidRequest,
    UnsafeArchive,
    UnsupportedMediaType,
    UploadTooLarge,
    VoiceExists,
)
from server.jobs.errors import DiskFull
from server.services import Services
from server.voices.desk import VoiceDesk, Wanted
from server.voices.inspector import Job
from tests.gpu.fakes import in_thread
from tests.server.fakes import engine_of, fake_services
from tests.server.voices.made import (
    bomb_bytes,
    evil_bytes,
    index_bytes,
    inspect_here,
    take,
    tree,
    upload,
    voice_bytes,
    zip_bytes,
)


def test_a_voice_comes_in_under_its_files_name(desk: VoiceDesk, voices: Path) -> None:
    report = take(desk, ("berta.pth", voice_bytes(n_speakers=1)))
    assert report.summary == "v2, 40 kHz, with F0, one speaker, no index."
    assert (report.name, report.version, report.sample_rate) == ("berta", "v2", 40_000)
    assert (report.f0, report.speakers, report.content, report.index) == (True, 1, "hubert", None)
    assert report.notes == ("Converted from .pth to .safetensors.",)
    assert report.bytes == (voices / "berta.safetensors").stat().st_size
    assert sorted(tree(voices)) == ["anna.pth", "berta.safetensors"]


def test_a_voice_comes_in_under_the_name_given(desk: VoiceDesk, services: Services) -> None:
    assert take(desk, ("x.pth", voice_bytes()), name="周杰伦").name == "周杰伦"
    assert services.registry.find("周杰伦").path.name == "周杰伦.safetensors"


def test_a_voice_and_its_index_come_in_together(
    desk: VoiceDesk, services: Services, voices: Path, tmp_path: Path
) -> None:
    index = index_bytes(tmp_path)
    report = take(desk, ("b.pth", voice_bytes()), ("added_IVF9_Flat_x_v2.index", index))
    assert report.index is not None
    assert (report.index.content_dim, report.index.vectors) == (768, 64)
    assert report.summary.endswith("2 speakers, index fits.")
    assert services.registry.find("b").index == voices / "b.index"


def test_a_zip_comes_in_as_what_it_holds(
    desk: VoiceDesk, services: Services, voices: Path, tmp_path: Path
) -> None:
    entries = {"d/berta.pth": voice_bytes(), "d/added_IVF9_berta_v2.index": index_bytes(tmp_path)}
    extra = {"d/G_233.pth": b"left", "d/trained_IVF9_berta_v2.index": b"left", "d/x.txt": b"left"}
    assert take(desk, ("download.zip", zip_bytes(entries | extra))).name == "berta"
    assert services.registry.find("berta").index == voices / "berta.index"


def test_only_looking_keeps_nothing(desk: VoiceDesk, fake_models: Path, tmp_path: Path) -> None:
    before = tree(fake_models)
    files = [upload("b.pth", voice_bytes()), upload("b.index", index_bytes(tmp_path))]
    report = desk.look(files, Wanted(), Token())
    assert report.summary == "v2, 40 kHz, with F0, 2 speakers, index fits."
    assert tree(fake_models) == before


def test_looking_at_a_name_that_is_taken_warns(desk: VoiceDesk) -> None:
    report = desk.look([upload("anna.pth", voice_bytes())], Wanted(), Token())
    assert report.warnings == ("There is a voice 'anna' already.",)


def test_a_missing_content_encoder_is_a_warning(desk: VoiceDesk, services: Services) -> None:
    def content(facts: object) -> Any:
        raise MissingWeights("The voice needs hubert_base, which is not there.")

    engine_of(services).content = content  # type: ignore[method-assign]
    report = take(desk, ("b.pth", voice_bytes()))
    assert report.warnings == ("The voice needs hubert_base, which is not there.",)


def test_an_index_that_is_there_already_is_a_warning(
    desk: VoiceDesk, voices: Path, tmp_path: Path
) -> None:
    (voices / "b.index").write_bytes(index_bytes(tmp_path))
    assert "will be used" in take(desk, ("b.pth", voice_bytes())).warnings[0]


REFUSED: dict[str, tuple[str, bytes, type[Exception]]] = {
    "a text": ("note.txt", b"hello", UnsupportedMediaType),
    "no suffix": ("anna", voice_bytes(), UnsupportedMediaType),
    "nothing": ("b.pth", b"", CoreError),
    "noise": ("b.pth", b"noise" * 100, CoreError),
    "a zip for a safetensors": ("b.safetensors", voice_bytes(), CoreError),
    "a cut voice": ("b.pth", voice_bytes()[:-500], CoreError),
    "an empty zip": ("b.zip", zip_bytes({}), UnsafeArchive),
    "a zip without a voice": ("b.zip", zip_bytes({"x.txt": b"x"}), InvalidRequest),
    "a zip of two": ("b.zip", zip_bytes({"a.pth": b"1", "b.pth": b"2"}), InvalidRequest),
    "a voice for a zip": ("b.zip", voice_bytes(), UnsafeArchive),
    "a bomb": ("b.zip", bomb_bytes(4 << 20), UnsafeArchive),
    "zip slip": ("b.zip", zip_bytes({"../b.pth": voice_bytes()}), UnsafeArchive),
    "noise for an index": ("b.index", b"noise" * 100, CoreError),
    "a name that none may have": ("a|b.pth", voice_bytes(), InvalidOption),
    "too large": ("b.pth", bytes(3 << 20), UploadTooLarge),
}


@pytest.fixture
def narrow(fake_models: Path) -> Any:
    services = fake_services(fake_models, max_upload_mb=2, max_voice_mb=2)
    services.desk.inspect = inspect_here
    yield services.desk
    services.close()


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_the_disk_as_it_was(
    narrow: VoiceDesk, fake_models: Path, case: str
) -> None:
    name, content, error = REFUSED[case]
    before = tree(fake_models)
    with pytest.raises(error):
        take(narrow, (name, content))
    assert tree(fake_models) == before


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [False, True])
def test_a_payload_is_not_run(
    narrow: VoiceDesk, fake_models: Path, tmp_path: Path, legacy: bool, wrap: bool
) -> None:
    mark, before = tmp_path / "harm", tree(fake_models)
    evil = evil_bytes(mark, legacy)
    file = ("b.zip", zip_bytes({"b.pth": evil})) if wrap else ("b.pth", evil)
    with pytest.raises(CoreError) as caught:
        take(narrow, file)
    assert caught.value.code == "unsafe_checkpoint"
    assert not mark.exists()
    assert tree(fake_models) == before


@pytest.mark.parametrize(
    "files", [[], [("a.pth", b"")] * 5, [("a.pth", b"1"), ("b.pth", b"2")], [("a.index", b"")] * 2]
)
def test_one_voice_and_one_index_are_all_that_is_taken(
    desk: VoiceDesk, files: list[tuple[str, bytes]]
) -> None:
    with pytest.raises(InvalidRequest):
        take(desk, *files)


def test_all_files_together_must_be_small_enough(narrow: VoiceDesk) -> None:
    with pytest.raises(UploadTooLarge):
        take(narrow, ("b.pth", bytes(1_500_000)), ("b.index", bytes(1_500_000)))


def test_a_name_that_is_taken_is_refused_before_the_work(
    desk: VoiceDesk, fake_models: Path
) -> None:
    def inspect(job: Job, token: Token) -> dict[str, Any]:
        raise AssertionError("it was inspected")

    desk.inspect, before = inspect, tree(fake_models)
    with pytest.raises(VoiceExists):
        take(desk, ("anna.pth", voice_bytes()))
    assert tree(fake_models) == before


def test_overwriting_takes_the_place_of_voice_and_index(
    desk: VoiceDesk, voices: Path, tmp_path: Path
) -> None:
    (voices / "anna.index").write_bytes(index_bytes(tmp_path))
    take(desk, ("anna.pth", voice_bytes()), overwrite=True)
    assert sorted(tree(voices)) == ["anna.safetensors"]


def test_two_uploads_of_one_name_leave_one_winner(desk: VoiceDesk, voices: Path) -> None:
    both = threading.Barrier(2)
    outcomes: list[str] = []

    def inspect(job: Job, token: Token) -> dict[str, Any]:
        found = inspect_here(job, token)
        both.wait(10)  # both have seen that the name is free
        return found

    def work() -> None:
        try:
            outcomes.append(take(desk, ("b.pth", voice_bytes())).name)
        except VoiceExists as error:
            outcomes.append(error.code)

    desk.inspect = inspect
    threads = [in_thread(work) for _ in range(2)]
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["b", "voice_exists"]
    assert sorted(tree(voices)) == ["anna.pth", "b.safetensors"]


def test_a_client_that_goes_leaves_nothing(desk: VoiceDesk, fake_models: Path) -> None:
    token, before = Token(), tree(fake_models)

    def inspect(job: Job, token: Token) -> dict[str, Any]:
        token.cancel()
        return inspect_here(job, token)

    desk.inspect = inspect
    with pytest.raises(Cancelled):
        desk.take([upload("b.pth", voice_bytes())], Wanted(), token)
    assert tree(fake_models) == before


def test_a_full_disk_is_named_and_leaves_nothing(desk: VoiceDesk, fake_models: Path) -> None:
    def inspect(job: Job, token: Token) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    desk.inspect, before = inspect, tree(fake_models)
    with pytest.raises(DiskFull):
        take(desk, ("b.pth", voice_bytes()))
    assert tree(fake_models) == before
