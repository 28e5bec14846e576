"""Real threads against the real lock, reaper and job threads."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial

from gpu.device import DeviceManager
from gpu.effects import DeviceEffects
from gpu.errors import LoadBackoff, LoadFailed
from tests.gpu.fakes import FakeModel, World, in_thread

N_THREADS, N_ACQUIRES, N_MODELS = 50, 200, 20  # 10,000 acquires


def fast_clock() -> float:
    """A thousand times real time: a back-off of one second takes a millisecond."""
    return time.monotonic() * 1000


class CountingWorld(World):
    """Fails one load in twenty and watches that no model is loaded twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.random = random.Random(5)
        self.duplicates: list[str] = []
        self.in_use: Counter[str] = Counter()
        self.overused: list[str] = []

    def happen(self, event: str, model_id: str) -> None:
        """Called by loaders and moves."""
        with self.lock:
            self.events.append((event, model_id))
            if event == "load" and self.alive(model_id):
                self.duplicates.append(model_id)
            if event != "offload" and self.random.random() < 0.05:
                raise RuntimeError("fault")

    def use(self, model: FakeModel, concurrency: int) -> None:
        """Be inside a lease for a moment."""
        with self.lock:
            self.in_use[model.model_id] += 1
            if self.in_use[model.model_id] > concurrency:
                self.overused.append(model.model_id)
        model.use()
        with self.lock:
            self.in_use[model.model_id] -= 1


def test_many_threads_with_random_faults_lose_nothing_and_load_nothing_twice() -> None:
    world = CountingWorld()
    manager = DeviceManager(DeviceEffects("dev"), fast_clock, budget_bytes=120)
    manager.start_reaper()
    for n in range(N_MODELS):  # 12 of 20 fit; some leave by timer, all by eviction
        manager.register(
            world.spec(
                f"m{n}",
                concurrency=1 + n % 3,
                nbytes_estimate=10,
                offload_after_s=(0, 5, -1)[n % 3],
                release_after_s=(0, 20, -1)[n % 3],
            )
        )
    outcomes: Counter[str] = Counter()
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(N_ACQUIRES):
            n = choose.randrange(N_MODELS)
            try:
                with (lease := manager.acquire(f"m{n}")):
                    world.use(lease.model, 1 + n % 3)
                outcomes[lease.state_at_arrival] += 1
            except (LoadFailed, LoadBackoff) as refused:
                outcomes[refused.code] += 1
            except AssertionError as error:
                errors.append(error)

    threads = [in_thread(partial(work, seed)) for seed in range(N_THREADS)]
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    shot = manager.snapshot()
    manager.close(20_000)  # twenty real seconds
    assert errors == []
    assert (world.duplicates, world.overused) == ([], [])
    assert sum(outcomes.values()) == N_THREADS * N_ACQUIRES
    assert min(outcomes["ready"], outcomes["offloaded"], outcomes["load_failed"]) > 0
    assert sum(view.leases + view.waiting for view in shot.models) == 0
    assert sum(view.counters.leak_suspected for view in shot.models) == 0
    assert [ref() for ref in world.born if ref() is not None] == []


def test_hot_leases_take_microseconds() -> None:
    """In a process of its own: what measures the coverage of tests slows every call down."""
    command = [sys.executable, "-m", "benchmarks.hot_leases"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    microseconds = json.loads(done.stdout)
    assert 0 < microseconds["p99_us"] <= 50
    assert 0 < microseconds["mean_us_with_64_threads"] <= 50
