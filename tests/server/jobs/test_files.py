from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from server.jobs.errors import DiskFull
from server.jobs.files import JobFiles


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path, "me")


def keep(files: JobFiles, job_id: str) -> None:
    with files.staged(job_id, [b"one", None, b"three"]) as place:
        place()


def test_recordings_are_where_their_numbers_say(files: JobFiles) -> None:
    keep(files, "a")
    assert files.names("a") == {"input-0", "input-2"}
    assert files.path("a", "input-2").read_bytes() == b"three"


def test_recordings_that_found_no_place_are_gone(files: JobFiles, tmp_path: Path) -> None:
    with files.staged("a", [b"one"]):
        pass
    assert files.jobs() == set()
    assert list((tmp_path / "staging" / "me").iterdir()) == []


def test_nothing_half_written_has_a_name(files: JobFiles) -> None:
    keep(files, "a")
    seen: list[set[str]] = []

    def fill(file: IO[bytes]) -> None:
        file.write(b"half")
        seen.append(files.names("a"))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull):
        files.write("a", "result", fill)
    assert seen == [{"input-0", "input-2", "result.part"}]
    assert files.names("a") == {"input-0", "input-2"}


def test_a_full_disk_at_submission_leaves_nothing(
    files: JobFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull), files.staged("a", [b"one"]):
        pass
    assert list((tmp_path / "staging" / "me").iterdir()) == []


def test_other_troubles_keep_their_names(files: JobFiles) -> None:
    with pytest.raises(FileNotFoundError):
        files.write("nobody", "result", lambda file: None)


def test_files_are_on_the_disk_before_they_have_their_names(
    files: JobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(files, "a")
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def note_sync(descriptor: int) -> None:
        steps.append("sync")
        sync(descriptor)

    def note_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    assert files.write("a", "result", lambda file: file.write(b"whole")) == 5
    assert steps == ["sync", "rename", "sync"]


def test_what_dead_servers_left_is_removed(files: JobFiles, tmp_path: Path) -> None:
    (tmp_path / "staging" / "dead" / "job").mkdir(parents=True)
    files.clear_staging(lambda owner: owner == "me")
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["me"]


def test_a_job_without_a_folder_has_no_files(files: JobFiles) -> None:
    files.remove("nobody")
    assert files.names("nobody") == set()
