"""The façade: names, status, and a manager as the server uses it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gpu.device import NO_LIMITS
from gpu.errors import LoadFailed
from gpu_manager import GPUResourceManager, Limits, MultiModelGPUManager
from tests.gpu.fakes import FakeClock, World


class Fixture:
    """A façade on a fake clock, on the CPU."""

    def __init__(self, budget_bytes: int | None = None, limits: Limits = NO_LIMITS) -> None:
        self.world, self.clock = World(), FakeClock()
        self.manager = GPUResourceManager(
            "cpu", clock=self.clock, budget_bytes=budget_bytes, limits=limits, reaper=False
        )

    def model(self, model_id: str) -> dict[str, Any]:
        """The model's part of the status."""
        (device,) = self.manager.get_status()["devices"]
        (model,) = [model for model in device["models"] if model["id"] == model_id]
        return dict(model)


@pytest.fixture
def facade() -> Fixture:
    """A façade without a budget."""
    return Fixture()


def test_get_model_is_a_lease_not_the_bare_model(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a"))
    with facade.manager.get_model("a", holder="r1") as model:
        assert model.model_id == "a"
        assert facade.model("a")["holders"] == [{"holder": "r1", "age_s": 0.0}]
    assert facade.model("a")["leases"] == 0


def test_on_a_cpu_offload_and_release_go_through_the_same_states(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a"))
    states = [facade.model("a")["state"]]
    with facade.manager.acquire("a"):
        states.append(facade.model("a")["state"])
    assert facade.manager.force_offload("a").offloaded == ["a"]
    states.append(facade.model("a")["state"])
    assert facade.manager.force_release().released == ["a"]
    states.append(facade.model("a")["state"])
    assert states == ["unloaded", "ready", "offloaded", "unloaded"]


def test_timers_run_by_hand_with_a_clock_of_ones_own(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a", offload_after_s=5))
    with facade.manager.acquire("a"):
        pass
    facade.clock.advance(5)
    assert facade.manager.run_due() == 1
    assert facade.manager.heartbeat_age_s() == 0


def test_the_status_says_what_happened_and_what_will(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a", offload_after_s=60, release_after_s=600))
    with facade.manager.acquire("a"):
        pass
    facade.clock.advance(10)
    model = facade.model("a")
    now = facade.manager.get_status()["generated_at"]
    assert now == pytest.approx(time.time(), abs=10)
    expected = {
        "id": "a",
        "engine": "fake",
        "state": "ready",
        "source": "disk",
        "epoch": 2,
        "leases": 0,
        "waiting": 0,
        "concurrency": 1,
        "holders": [],
        "pinned": False,
        "draining": False,
        "retired": False,
        "latched": False,
        "bytes": 10,
        "device_bytes": 10,
        "peak_activation_bytes": None,
        "last_used": pytest.approx(now - 10, abs=10),
        "offload_at": pytest.approx(now + 50, abs=10),
        "release_at": pytest.approx(now + 590, abs=10),
        "loads": 1,
        "restores": 0,
        "offloads": 0,
        "releases": 0,
        "evictions": 0,
        "failures": 0,
        "leak_suspected": 0,
        "out_of_memory": 0,
        "overdue": 0,
        "last_load_s": 0.0,
        "last_restore_s": None,
        "last_error": None,
        "backoff_until": None,
    }
    assert model == expected


def test_the_status_describes_the_device_and_its_budget() -> None:
    facade = Fixture(budget_bytes=100)
    facade.manager.register(facade.world.spec("a"))
    with facade.manager.acquire("a"):
        status = facade.manager.get_status()
    (device,) = status["devices"]
    del device["models"]
    assert status["mode"] == "cpu"
    assert device.pop("totals")["loads"] == 1
    unknown = ("uuid", "total_bytes", "driver_free_bytes", "external_bytes", "context_bytes")
    assert device == {
        "index": 0,
        "name": "cpu",
        "budget_bytes": 100,
        "ledger_bytes": 10,
        "reserved_unused_bytes": None,
        "pressure": "none",
        "copy": {"h2d_gbps": None, "d2h_gbps": None},
        "heartbeat_age_s": 0.0,
        **dict.fromkeys(unknown),
    }


def test_the_status_describes_the_host_and_the_bounds_in_force() -> None:
    facade = Fixture(limits=Limits(host_bytes=50, counted_models=3, lease_s=60.0))
    facade.manager.register(facade.world.spec("a"))
    with facade.manager.acquire("a"):
        pass
    facade.manager.force_offload()
    status = facade.manager.get_status()
    host = status["host"]
    assert (host["cache_bytes"], host["cache_limit"]) == (10, 50)
    assert (host["pinned_bytes"], host["pinned_limit"]) == (0, 0)
    assert host["rss_bytes"] > 1_000_000
    assert status["config"] == {"max_counted_models": 3, "max_lease_s": 60.0}


def test_the_status_names_the_last_error_and_the_end_of_its_backoff(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a"))
    facade.world.faults.append(("load", "a"))
    with pytest.raises(LoadFailed):
        facade.manager.acquire("a")
    model = facade.model("a")
    assert model["state"] == "failed"
    assert model["last_error"] == "RuntimeError: load fault in a"
    assert model["backoff_until"] == pytest.approx(time.time() + 1, abs=10)
    facade.clock.advance(1)
    assert facade.model("a")["backoff_until"] is None


def test_the_status_of_idle_and_never_is_json(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a", offload_after_s=-1, release_after_s=-1))
    with facade.manager.acquire("a"):
        pass
    assert json.loads(json.dumps(facade.manager.get_status(), allow_nan=False))


def test_a_removed_model_leaves_the_status(facade: Fixture) -> None:
    facade.manager.register(facade.world.spec("a"))
    facade.manager.unregister("a")
    assert facade.manager.get_status()["devices"][0]["models"] == []


def test_a_manager_with_its_own_threads_starts_and_closes() -> None:
    world = World()
    manager = GPUResourceManager()
    manager.register(world.spec("a"))
    with manager.acquire("a"):
        assert manager.heartbeat_age_s() < 10
    assert manager.close().released == ["a"]


def test_many_models_by_name(facade: Fixture) -> None:
    models = MultiModelGPUManager(facade.manager)
    for name in ("a", "b"):
        models.register_model(name, facade.world.spec(name).load, offload_after_s=5)
        with models.get_model(name) as model:
            assert model.model_id == name
    assert models.offload_all(0).offloaded == ["a", "b"]
    assert models.release_all(0).released == ["a", "b"]
    states = [model["state"] for model in models.get_all_status()["devices"][0]["models"]]
    assert states == ["unloaded", "unloaded"]
