"""Whatever happens in whatever order, jobs move along allowed edges and have one owner."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.jobs.errors import JobConflict, TooManyJobs
from server.jobs.records import FINAL, MOVES, Fault, Job, Result, State
from tests.server.jobs.rooms import add, room_at, run_next, ticket

RESULT = Result("x", "audio/wav", 1)
MOST_QUEUED, MOST_RUNNING = 3, 2
KEYS = ("a", "b")


class Life(RuleBasedStateMachine):
    """A store, and a model of it: states by job, and who was last given each one."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.opened = room_at(
            Path(self.folder.name),
            job_queued_per_key=MOST_QUEUED,
            job_running_per_key=MOST_RUNNING,
        )
        self.room, self.clock = self.opened.__enter__()
        self.states: dict[str, State] = {}
        self.keys: dict[str, str] = {}
        self.claims: list[Job] = []
        self.n_submitted = 0

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()

    def go(self, job_id: str, to: State) -> None:
        """The model's job moves, along an allowed edge."""
        assert to in MOVES[self.states[job_id]]
        self.states[job_id] = to

    def owns(self, job: Job) -> bool:
        """Whether the claim is the last one, and the job still runs."""
        last = [claim for claim in self.claims if claim.id == job.id][-1]
        return last.fence == job.fence and self.states.get(job.id) is State.RUNNING

    @rule(key=st.sampled_from(KEYS))
    def submit(self, key: str) -> None:
        self.n_submitted += 1
        job_id = f"job-{self.n_submitted}"
        waiting = [j for j, s in self.states.items() if s is State.QUEUED and self.keys[j] == key]
        try:
            add(self.room, job_id, ticket(key))
        except TooManyJobs:
            assert len(waiting) == MOST_QUEUED
        else:
            assert len(waiting) < MOST_QUEUED
            self.states[job_id], self.keys[job_id] = State.QUEUED, key

    @rule()
    def claim(self) -> None:
        job = self.room.store.claim(self.room.owner.id)
        if job is None:
            return
        older = [claim.fence for claim in self.claims if claim.id == job.id]
        assert all(job.fence > fence for fence in older)
        self.go(job.id, State.RUNNING)
        self.claims.append(job)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "postpone", "give_back"]))
    def end(self, data: st.DataObject, how: str) -> None:
        job = data.draw(st.sampled_from(self.claims))
        owned, store = self.owns(job), self.room.store
        if how == "succeed":
            assert store.succeed(job, RESULT, 1) == owned
        elif how == "fail":
            assert store.fail(job, Fault("x", "x")) == owned
        elif how == "postpone":
            assert store.postpone(job, 0.0) == owned
        else:
            assert store.give_back(job) == owned
        ends = {"succeed": State.SUCCEEDED, "fail": State.FAILED}
        if owned:
            self.go(job.id, ends.get(how, State.QUEUED))

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.states)))
        is_open = self.states[job_id] in (State.QUEUED, State.RUNNING)
        assert self.room.store.cancel(job_id) == is_open
        if is_open:
            self.go(job_id, State.CANCELLED)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.states)))
        try:
            self.room.store.retry(job_id)
        except JobConflict:
            assert self.states[job_id] not in (State.FAILED, State.CANCELLED)
        except TooManyJobs:
            return
        else:
            self.go(job_id, State.QUEUED)

    @rule()
    def lose_the_owner(self) -> None:
        requeued, failed = self.room.store.recover(lambda job: False)
        for job in requeued:
            self.go(job.id, State.QUEUED)
        for job in failed:
            self.go(job.id, State.FAILED)
        assert State.RUNNING not in self.states.values()

    @rule()
    def grow_old(self) -> None:
        self.clock.advance(25 * 3600)
        for job_id in self.room.retention.expire():
            if self.states[job_id] is State.EXPIRED:
                del self.states[job_id], self.keys[job_id]  # it is forgotten at last
            else:
                self.go(job_id, State.EXPIRED)

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        assert {job.id: job.state for job in self.room.store.page()} == self.states

    @invariant()
    def keys_keep_to_their_share(self) -> None:
        for key in KEYS:
            mine = [self.states[job_id] for job_id, name in self.keys.items() if name == key]
            assert mine.count(State.RUNNING) <= MOST_RUNNING

    @invariant()
    def files_are_there_as_long_as_the_job(self) -> None:
        kept = {job_id for job_id, state in self.states.items() if state is not State.EXPIRED}
        assert self.room.files.jobs() == kept


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


def test_nothing_leads_out_of_the_last_state() -> None:
    assert MOVES[State.EXPIRED] == frozenset()
    assert all(State.QUEUED not in MOVES[state] for state in (State.SUCCEEDED, State.EXPIRED))
    assert set(MOVES) == set(State)
    assert {state for state in State if State.RUNNING not in MOVES[state]} >= FINAL


def test_a_claim_is_given_once(tmp_path: Path) -> None:
    with room_at(tmp_path) as (room, _):
        add(room, "a")
        run_next(room)
        assert room.store.claim("another") is None
