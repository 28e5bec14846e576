from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.jobs.errors import (
    DiskQuotaExceeded,
    IdempotencyConflict,
    JobConflict,
    JobNotFound,
    TooManyJobs,
)
from server.jobs.records import Fault, Result, State
from server.jobs.room import Room
from tests.gpu.fakes import FakeClock
from tests.server.jobs.rooms import add, order, room_at, run_next, ticket

FAULT = Fault("invalid_audio", "No.")
RESULT = Result("audio-0-1", "audio/wav", 10, {"model": "anna"})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[tuple[Room, FakeClock]]:
    with room_at(tmp_path, job_queued_per_key=3, job_running_per_key=1, job_disk_mb=1) as opened:
        yield opened


@pytest.fixture
def room(bench: tuple[Room, FakeClock]) -> Room:
    return bench[0]


def test_a_job_is_kept_as_it_was_asked_for(room: Room) -> None:
    asked = order(2, "batch", webhook_url="https://example.org/x")
    with room.files.staged("a", [b"1", b"2"]) as place:
        room.store.add("a", asked, ticket("me", "h", "once"), 2, place)
    job = room.store.get("a")
    assert (job.order, job.key_name, job.state, job.attempt) == (asked, "me", State.QUEUED, 0)


def test_jobs_start_in_the_order_in_which_they_came(room: Room) -> None:
    add(room, "a")
    add(room, "b")
    first = run_next(room)
    assert room.store.succeed(first, RESULT, 10)
    assert [first.id, run_next(room).id] == ["a", "b"]


def test_a_key_runs_as_many_jobs_as_it_may(room: Room) -> None:
    add(room, "a")
    add(room, "b")
    run_next(room)
    assert room.store.claim(room.owner.id) is None


def test_keys_take_turns(room: Room, bench: tuple[Room, FakeClock]) -> None:
    for job_id in ("a1", "a2", "a3"):
        add(room, job_id, ticket("a"))
    for job_id in ("b1", "b2"):
        add(room, job_id, ticket("b"))
    started = []
    for _ in range(5):
        job = run_next(room)
        started.append(job.id)
        bench[1].advance(1)
        room.store.succeed(job, RESULT, 10)
    assert started == ["a1", "b1", "a2", "b2", "a3"]


def test_a_key_has_so_many_jobs_in_line_and_no_more(room: Room) -> None:
    for job_id in "abc":
        add(room, job_id)
    with pytest.raises(TooManyJobs) as caught:
        add(room, "d")
    assert caught.value.retry_after_s
    add(room, "e", ticket("another"))
    assert room.files.names("d") == set()


def test_jobs_that_do_not_fit_on_the_disk_are_refused(room: Room) -> None:
    add(room, "a", inputs=b"x" * (1 << 20))
    with pytest.raises(DiskQuotaExceeded):
        add(room, "b", inputs=b"x")
    assert room.files.jobs() == {"a"}


def test_the_same_request_is_the_same_job(room: Room) -> None:
    first = add(room, "a", ticket(once="k"))
    assert add(room, "b", ticket(once="k")).id == first.id == "a"
    assert room.store.known(ticket(once="k")) == first
    assert room.files.jobs() == {"a"}


def test_another_request_with_the_same_text_is_refused(room: Room) -> None:
    add(room, "a", ticket(request_hash="1", once="k"))
    with pytest.raises(IdempotencyConflict):
        add(room, "b", ticket(request_hash="2", once="k"))


def test_two_keys_may_use_the_same_text(room: Room) -> None:
    add(room, "a", ticket("me", once="k"))
    assert add(room, "b", ticket("you", once="k")).id == "b"


def test_who_no_longer_owns_a_job_cannot_end_it(room: Room) -> None:
    add(room, "a")
    stale = run_next(room)
    room.store.cancel("a")
    room.store.retry("a")
    fresh = run_next(room)
    assert not room.store.succeed(stale, RESULT, 10)
    assert not room.store.fail(stale, FAULT)
    assert not room.store.note_progress(stale, 0.5, "synth")
    assert not room.store.is_owned(stale)
    assert room.store.get("a") == fresh
    assert room.store.succeed(fresh, RESULT, 10)


def test_a_job_that_was_put_off_has_not_lost_an_attempt(
    room: Room, bench: tuple[Room, FakeClock]
) -> None:
    add(room, "a")
    assert room.store.postpone(run_next(room), 5.0)
    assert (room.store.get("a").attempt, room.store.get("a").postponed) == (0, 1)
    assert not room.store.has_due()
    assert room.store.claim(room.owner.id) is None
    bench[1].advance(5)
    assert run_next(room).attempt == 1


def test_a_dead_owner_loses_its_job_and_another_runs_it_once_more(room: Room) -> None:
    add(room, "a")
    run_next(room)
    requeued, failed = room.store.recover(lambda job: False)
    assert ([job.id for job in requeued], failed) == (["a"], [])
    assert run_next(room).attempt == 2


def test_a_job_whose_servers_died_twice_fails(room: Room) -> None:
    add(room, "a")
    for _ in range(2):
        run_next(room)
        room.store.recover(lambda job: False)
    job = room.store.get("a")
    assert (job.state, job.fault and job.fault.code) == (State.FAILED, "interrupted")


def test_jobs_of_living_owners_are_left_alone(room: Room) -> None:
    add(room, "a")
    job = run_next(room)
    assert room.store.recover(lambda job: True) == ([], [])
    assert room.store.get("a") == job


def test_a_failed_job_starts_afresh_on_request(room: Room) -> None:
    add(room, "a")
    room.store.fail(run_next(room), FAULT)
    assert room.store.get("a").fault == FAULT
    fresh = room.store.retry("a")
    assert (fresh.state, fresh.fault, fresh.finished) == (State.QUEUED, None, None)
    assert run_next(room).attempt == 2


def test_jobs_that_wait_run_or_succeeded_are_not_started_again(room: Room) -> None:
    add(room, "a")
    with pytest.raises(JobConflict):
        room.store.retry("a")
    job = run_next(room)
    with pytest.raises(JobConflict):
        room.store.retry("a")
    room.store.succeed(job, RESULT, 10)
    with pytest.raises(JobConflict):
        room.store.retry("a")


def test_only_jobs_that_have_ended_can_be_deleted(room: Room) -> None:
    add(room, "a")
    with pytest.raises(JobConflict):
        room.store.delete("a")
    room.store.cancel("a")
    room.store.delete("a")
    with pytest.raises(JobNotFound):
        room.store.get("a")


def test_pages_follow_each_other(room: Room) -> None:
    for job_id in "abc":
        add(room, job_id)
    add(room, "x", ticket("another"))
    first = room.store.page("me", None, None, 2)
    second = room.store.page("me", None, first[-1].seq, 2)
    assert [job.id for job in (*first, *second)] == ["c", "b", "a"]
    assert [job.id for job in room.store.page()] == ["x", "c", "b", "a"]
    run_next(room)
    assert [job.id for job in room.store.page(state=State.RUNNING)] == ["a"]


def test_jobs_are_counted_by_state(room: Room) -> None:
    add(room, "a")
    add(room, "b")
    run_next(room)
    counts = room.store.counts()
    assert (counts[State.RUNNING], counts[State.QUEUED], counts[State.FAILED]) == (1, 1, 0)


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    with room_at(tmp_path) as (room, _):
        job = add(room, "a", ticket(once="k"))
    with room_at(tmp_path) as (room, _):
        assert room.store.known(ticket(once="k")) == job


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    with room_at(tmp_path) as (room, _), room.database.write() as rows:
        rows.execute("PRAGMA user_version = 99")
    with pytest.raises(Exception, match="version 99"), room_at(tmp_path):
        pass
