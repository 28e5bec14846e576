"""What operators change on several devices at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rvc_core.errors import InvalidOption
from server.settings import Settings
from tests.server.test_lanes import Crew, FakeWorker


@pytest.fixture
def crew(fake_models: Path) -> Crew:
    return Crew(fake_models)


def timer_of(worker: FakeWorker) -> float:
    """How long a voice may idle on the worker's device."""
    (view,) = [
        v
        for v in worker.servant._converter.leases.gpu._manager.snapshot().models
        if v.id.startswith("voice:")
    ]
    return view.offload_after_s


def test_other_timers_count_on_every_device(crew: Crew, recording: bytes) -> None:
    crew.convert(recording, "anna")
    crew.convert(recording, "bert")
    crew.services.operations.change({"gpu_offload_after": 5})
    assert [timer_of(worker) for worker in crew.workers] == [5.0, 5.0]
    assert crew.services.operations.settings()["gpu_offload_after"] == 5.0


def test_a_worker_that_was_not_up_hears_of_it_with_its_next_conversion(
    crew: Crew, recording: bytes
) -> None:
    crew.workers[0].turn("starting")
    crew.workers[1].turn("broken")
    crew.services.operations.change({"gpu_offload_after": 5})
    crew.workers[0].turn("up")
    crew.convert(recording, "anna")
    assert timer_of(crew.workers[0]) == 5.0


def test_later_processes_are_built_with_the_new_settings(crew: Crew) -> None:
    (first, *_) = crew.services._fleet.workers
    first._build = lambda settings: settings  # type: ignore[assignment,return-value]
    crew.services.operations.change({"max_voices": 3})
    (built,) = crew.workers[0].builds
    assert isinstance(built, Settings)
    assert built.max_voices == 3


def test_processes_are_renewed_once_their_models_are_released(crew: Crew, recording: bytes) -> None:
    crew.convert(recording, "anna")
    moved = crew.services.operations.renew_processes(1.0)
    assert [worker.n_renewed for worker in crew.workers] == [1, 1]
    assert any(name.startswith("voice:anna") for name in moved["released"])


def test_a_process_with_a_pinned_model_is_left_alone(crew: Crew, recording: bytes) -> None:
    crew.convert(recording, "anna")
    crew.services.set_pinned("anna", True)
    moved = crew.services.operations.renew_processes(1.0)
    assert [worker.n_renewed for worker in crew.workers] == [0, 1]
    assert [skipped["reason"] for skipped in moved["skipped"]] == ["pinned"]


def test_a_process_that_will_not_be_renewed_is_told(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.workers[0].turn("restarting")
    moved = crew.services.operations.renew_processes(1.0)
    assert moved["skipped"] == [{"model": "cpu", "leases": 0, "reason": "failed"}]
    assert crew.workers[1].n_renewed == 1


@pytest.mark.parametrize("changes", [{"max_voices": 0}, {"gpu_vram_budget": "0.5"}])
def test_what_is_refused_changes_nothing(crew: Crew, changes: dict[str, Any]) -> None:
    before = crew.services.operations.settings()
    with pytest.raises(InvalidOption):
        crew.services.operations.change({"gpu_offload_after": 1, **changes})
    assert crew.services.operations.settings() == before


def test_a_canary_is_tried_on_every_device(crew: Crew, recording: bytes) -> None:
    crew.convert(recording, "anna")
    tried = {n: trial.tried for n, trial in crew.services._fleet.try_voices().items()}
    assert tried == {0: True, 1: False, 2: False}
    crew.workers[0].turn("broken")
    assert not crew.services._fleet.try_voices()[0].tried


def test_one_device_with_a_bad_canary_is_a_note_and_all_are_a_reason(
    crew: Crew, recording: bytes
) -> None:
    canary = crew.services.health.canary
    for failed, ready in (({0}, True), ({0, 1}, False)):
        canary._bad = dict.fromkeys(failed, ("It broke.", 0))
        state = crew.services.ready()
        assert (state.ready, "It broke." in state.reasons) == (ready, True)
