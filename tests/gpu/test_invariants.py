"""Any events in any order: hypothesis searches for, and shrinks, what breaks a promise."""

from __future__ import annotations

import logging
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpu.force import ForceAction
from tests.gpu import play

N_EXAMPLES, N_EVENTS = 60, 3_400  # at least 200,000 events in all

IDS = st.sampled_from(play.IDS)
EVENTS = st.sampled_from(play.EVENTS)
NTH = st.integers(0, 20)
played: list[int] = []


class ManagerMachine(RuleBasedStateMachine):
    """Each rule is one event; at the end random ones follow, up to `N_EVENTS`."""

    @initialize(setting=st.sampled_from(play.SETTINGS), seed=st.integers(0, 2**32))
    def start(self, setting: play.Setting, seed: int) -> None:
        """Four models of different sizes, some bigger or smaller than promised."""
        self.play = play.Play(setting)
        self.seed = seed

    @rule(
        model_id=IDS,
        concurrency=st.integers(1, 3),
        offload_after_s=st.sampled_from([-1.0, 0.0, 5.0]),
        release_after_s=st.sampled_from([-1.0, 0.0, 20.0]),
    )
    def register(
        self, model_id: str, concurrency: int, offload_after_s: float, release_after_s: float
    ) -> None:
        """Also replaces what is there."""
        self.play.register(model_id, concurrency, offload_after_s, release_after_s)

    @rule(model_id=IDS)
    def unregister(self, model_id: str) -> None:
        """Not registered is fine too."""
        self.play.unregister(model_id)

    @rule(
        model_id=IDS,
        batch=st.booleans(),
        keep_alive_s=st.sampled_from([None, 0.0, 3.0, -1.0]),
        timeout_s=st.sampled_from([0.05, 2.0, 1e9]),
    )
    def request(
        self, model_id: str, batch: bool, keep_alive_s: float | None, timeout_s: float
    ) -> None:
        """Queue for a model."""
        self.play.request(model_id, batch, keep_alive_s, timeout_s)

    @rule(nth=NTH)
    def end_lease(self, nth: int) -> None:
        """End a lease, twice."""
        self.play.end_lease(nth)

    @rule(nth=NTH)
    def give_up(self, nth: int) -> None:
        """A caller goes away."""
        self.play.give_up(nth)

    @rule(nth=NTH)
    def run_a_slow_step(self, nth: int) -> None:
        """Steps of different models end in any order."""
        self.play.run_a_slow_step(nth)

    @rule(event=EVENTS, model_id=IDS, action=st.sampled_from(play.ACTIONS))
    def something_happens_during(self, event: str, model_id: str, action: str) -> None:
        """The next such step finds the world changed in its midst."""
        self.play.happens_during(event, model_id, action)

    @rule(event=EVENTS, model_id=IDS, out_of_memory=st.booleans())
    def next_such_step_fails(self, event: str, model_id: str, out_of_memory: bool) -> None:
        """A fault in the loader, or in a move."""
        self.play.next_step_fails(event, model_id, out_of_memory)

    @rule(seconds=st.sampled_from([0.5, 5.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        """The reaper may be late."""
        self.play.time_passes(seconds)

    @rule(seconds=st.sampled_from([0.1, 16.0]))
    def time_passes_on_time(self, seconds: float) -> None:
        """The reaper is punctual."""
        self.play.time_passes_on_time(seconds)

    @rule()
    def timers_run(self) -> None:
        """The reaper looks."""
        self.play.timers_run()

    @rule(model_id=st.one_of(st.none(), IDS), action=st.sampled_from(["offload", "release"]))
    def force(self, model_id: str | None, action: ForceAction) -> None:
        """Somebody presses a button."""
        self.play.force(model_id, action)

    @rule(model_id=IDS, pinned=st.booleans())
    def pin(self, model_id: str, pinned: bool) -> None:
        """Somebody wants it to stay, or no longer."""
        self.play.pin(model_id, pinned)

    @invariant()
    def all_promises_hold(self) -> None:
        """After each event."""
        if hasattr(self, "play"):
            self.play.n_events += 1
            self.play.check()

    def teardown(self) -> None:
        """Go on at random, then everyone is answered and nothing is left."""
        if not hasattr(self, "play"):
            return
        random = Random(self.seed)
        while self.play.n_events < N_EVENTS:
            self.play.step(random)
        played.append(self.play.n_events)
        self.play.finish()


ManagerMachine.TestCase.settings = settings(
    max_examples=N_EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class TestManager(ManagerMachine.TestCase):  # type: ignore[valid-type,misc]
    """The search itself, and that it was as long as promised."""

    def runTest(self) -> None:
        """Search."""
        logging.disable(logging.CRITICAL)  # most of the time would go into tracebacks of faults
        try:
            super().runTest()
        finally:
            logging.disable(logging.NOTSET)
        assert sum(played) >= 200_000
