"""Each regression test notices when the guard against its defect is taken out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from gpu import endings, force, plan
from gpu.entry import Entry
from gpu.grants import Grants
from gpu.scheduler import Scheduler
from gpu.settling import Settler
from gpu.state import ModelState
from tests.gpu import test_regressions as regressions
from tests.gpu.fakes import Bench

Remove = Callable[[pytest.MonkeyPatch], None]


def no_new_plan_after_a_called_off_offload(patch: pytest.MonkeyPatch) -> None:
    call_off = Scheduler._call_off_offload

    def quietly(self: Scheduler, entry: Entry) -> bool:
        call_off(self, entry)
        return False

    patch.setattr(Scheduler, "_call_off_offload", quietly)


def no_latch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan, "LATCH_AFTER_S", math.inf)


def no_new_plan_after_a_move(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settler, "settle_after", lambda self, entry: None)


def leases_are_handed_out_after_the_critical_section(patch: pytest.MonkeyPatch) -> None:
    serve = Grants.serve

    def later(self: Grants, entry: Entry) -> None:
        gate = self._give_back.__self__  # type: ignore[attr-defined]
        gate.later(lambda: serve(self, entry))

    def ready_and_free(view: Any) -> bool:
        return view.state is ModelState.READY and not view.leases

    patch.setattr(Grants, "serve", later)
    patch.setattr(plan, "is_evictable", ready_and_free)


def leased_models_may_be_released(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(force, "_is_movable", lambda entry: True)


def no_back_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(endings, "backoff_s", lambda failures: 0.0)


def everybody_waits_while_a_load_does(patch: pytest.MonkeyPatch) -> None:
    request = Scheduler.request

    def behind(self: Scheduler, *given: Any) -> Any:
        if self._books.wanted:
            patch.setattr(Entry, "has_room", property(lambda entry: False))
        return request(self, *given)

    patch.setattr(Scheduler, "request", behind)


def an_offload_may_be_called_off_at_any_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Entry, "committed", property(lambda e: False, lambda e, v: None), raising=False)


GUARDS: list[tuple[Callable[..., None], Remove]] = [
    (
        regressions.test_ollama_17408_a_victim_taken_back_makes_the_waiting_load_choose_another,
        no_new_plan_after_a_called_off_offload,
    ),
    (
        regressions.test_ollama_14407_continuous_traffic_cannot_keep_a_load_waiting_for_ever,
        no_latch,
    ),
    (
        regressions.test_llama_swap_946_a_request_in_the_midst_of_a_timers_unload_is_served_after_it,
        no_new_plan_after_a_move,
    ),
    (
        regressions.test_ray_65825_a_fresh_model_cannot_be_evicted_before_its_requester_has_it,
        leases_are_handed_out_after_the_critical_section,
    ),
    (
        regressions.test_speaches_a_refused_unload_does_not_make_the_next_request_load_a_second_copy,
        leased_models_may_be_released,
    ),
    (
        regressions.test_localai_10719_a_polling_client_does_not_retrigger_a_failing_load,
        no_back_off,
    ),
    (
        regressions.test_ollama_15126_requests_for_models_on_the_device_do_not_wait_for_an_eviction,
        everybody_waits_while_a_load_does,
    ),
    (
        regressions.test_an_acquire_after_the_storage_is_going_waits_for_the_restore,
        an_offload_may_be_called_off_at_any_time,
    ),
]


def play(regression: Callable[..., None]) -> None:
    """Run a regression test with the benches it asks for."""
    benches = {"bench": lambda: Bench(), "stepped": lambda: Bench(inline=False)}
    regression(**{name: benches[name]() for name in inspect.signature(regression).parameters})


@pytest.mark.parametrize(
    ("regression", "remove"), GUARDS, ids=[remove.__name__ for _, remove in GUARDS]
)
def test_a_removed_guard_is_noticed(
    regression: Callable[..., None], remove: Remove, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(regression)
    remove(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017 - the defect shows in many ways
        play(regression)
