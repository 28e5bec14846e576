from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.jobs.errors import JobNotFound
from server.jobs.records import Result, State
from server.jobs.retention import ROW_S
from server.jobs.room import MIB, Room
from tests.gpu.fakes import FakeClock
from tests.server.jobs.rooms import add, room_at, run_next, ticket

HOUR_S = 3600.0
Bench = tuple[Room, FakeClock]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with room_at(tmp_path, job_retention_hours=2, job_disk_mb=1) as opened:
        yield opened


def finish(room: Room, job_id: str, size_bytes: int = 10, once: str | None = None) -> None:
    """A job that has succeeded with a result of that size."""
    add(room, job_id, ticket(once=once))
    job = run_next(room)
    room.files.write(job_id, "result", lambda file: file.write(b"x" * size_bytes))
    assert room.store.succeed(job, Result("result", "audio/wav", size_bytes), size_bytes)


def test_a_job_expires_when_its_time_is_over(bench: Bench) -> None:
    room, clock = bench
    finish(room, "a")
    assert room.retention.expires_at(room.store.get("a")) == clock() + 2 * HOUR_S
    clock.advance(2 * HOUR_S - 1)
    assert room.retention.expire() == []
    clock.advance(1)
    assert room.retention.expire() == ["a"]
    job = room.store.get("a")
    assert (job.state, job.result, job.size_bytes) == (State.EXPIRED, None, 0)
    assert room.files.jobs() == set()


def test_jobs_that_wait_do_not_expire(bench: Bench) -> None:
    room, clock = bench
    add(room, "a")
    clock.advance(1000 * HOUR_S)
    assert room.retention.expire() == []
    assert room.retention.expires_at(room.store.get("a")) is None


def test_an_expired_job_is_forgotten_at_last_and_its_text_is_free(bench: Bench) -> None:
    room, clock = bench
    finish(room, "a", once="k")
    clock.advance(2 * HOUR_S)
    room.retention.expire()
    clock.advance(ROW_S + 1)
    assert room.retention.expire() == ["a"]
    with pytest.raises(JobNotFound):
        room.store.get("a")
    assert room.store.known(ticket(once="k")) is None


def test_the_oldest_results_make_room(bench: Bench) -> None:
    room, clock = bench
    for job_id in "abc":
        finish(room, job_id, MIB // 4)
        clock.advance(1)
    add(room, "waiting")
    assert room.retention.make_room(MIB // 4 + MIB // 8) == ["a"]
    assert room.retention.make_room(MIB // 4 + MIB // 8) == []
    assert room.files.jobs() == {"b", "c", "waiting"}


def test_what_still_waits_is_never_dropped(bench: Bench) -> None:
    room, _ = bench
    add(room, "a", inputs=b"x" * MIB)
    assert room.retention.make_room(1) == []


def test_files_that_belong_to_nobody_are_swept(bench: Bench) -> None:
    room, _ = bench
    finish(room, "a")
    with room.files.staged("orphan", [b"x"]) as place:
        place()
    room.retention.sweep(room.store, room.owner.is_alive)
    assert room.files.jobs() == {"a"}


def test_files_of_a_job_whose_end_was_cut_off_are_swept(bench: Bench) -> None:
    room, _ = bench
    finish(room, "a")
    assert room.files.names("a") == {"input-0", "result"}
    room.retention.sweep(room.store, room.owner.is_alive)
    assert room.files.names("a") == {"result"}


def test_a_waiting_job_without_its_recording_fails_by_name(bench: Bench) -> None:
    room, _ = bench
    add(room, "a")
    add(room, "b")
    room.files.remove("a")
    room.retention.sweep(room.store, room.owner.is_alive)
    fault = room.store.get("a").fault
    assert fault is not None and fault.code == "job_files_lost"
    assert room.store.get("b").state is State.QUEUED


def test_a_result_without_its_file_expires(bench: Bench) -> None:
    room, _ = bench
    finish(room, "a")
    room.files.remove("a")
    room.retention.sweep(room.store, room.owner.is_alive)
    assert room.store.get("a").state is State.EXPIRED
