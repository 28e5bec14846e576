"""A clock, models and a job runner that do only what a test tells them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpu.device import NO_LIMITS, DeviceManager
from gpu.effects import DeviceEffects
from gpu.state import Limits, ModelSpec, ModelView


class FakeClock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


class FakeModel:
    """Knows where it is; using it on the wrong device is an error."""

    def __init__(self, model_id: str, nbytes: int, world: World, generation: int = 0) -> None:
        self.model_id = model_id
        self.generation = generation
        self.nbytes = nbytes
        self.device = "dev"
        self._world = world

    def to(self, device: str) -> None:
        """Move, or fail if the test asked for it."""
        self._world.happen("restore" if device == "dev" else "offload", self.model_id)
        self.device = device

    def use(self) -> str:
        """Work that needs the device."""
        assert self.device == "dev", f"{self.model_id} used while on {self.device}"
        return self.model_id


@dataclass
class World:
    """Makes specs of fake models; counts them, and injects faults and interruptions."""

    sizes: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)  # (event, id): fails once
    during: list[tuple[str, str, Callable[[], None]]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    born: list[weakref.ref[FakeModel]] = field(default_factory=list)
    generations: int = 0
    fault: type[Exception] = RuntimeError

    def happen(self, event: str, model_id: str) -> None:
        """Note the event, let others act in its midst, then fail if a fault is set."""
        self.events.append((event, model_id))
        for step in [step for step in self.during if step[:2] == (event, model_id)]:
            self.during.remove(step)
            step[2]()
        if (event, model_id) in self.faults:
            self.faults.remove((event, model_id))
            raise self.fault(f"{event} fault in {model_id}")

    def count(self, event: str, model_id: str) -> int:
        """How often that happened."""
        return self.events.count((event, model_id))

    def alive(self, model_id: str) -> int:
        """How many models of that id exist."""
        return sum((m := ref()) is not None and m.model_id == model_id for ref in self.born)

    def spec(self, model_id: str, **options: Any) -> ModelSpec:
        """A spec whose loader makes a fake model of `sizes[id]` bytes, 10 by default."""

        self.generations += 1
        generation = self.generations

        def load(device: str) -> FakeModel:
            self.happen("load", model_id)
            model = FakeModel(model_id, self.sizes.get(model_id, 10), self, generation)
            self.born.append(weakref.ref(model))
            return model

        return ModelSpec(**{"id": model_id, "engine": "fake", "load": load, **options})


class Jobs:
    """Keeps slow steps until the test runs them; `inline` runs each at once."""

    def __init__(self, inline: bool = False) -> None:
        self.inline = inline
        self.waiting: list[tuple[str, Callable[[], object]]] = []

    def __call__(self, name: str, work: Callable[[], object]) -> None:
        if self.inline:
            work()
        else:
            self.waiting.append((name, work))

    def names(self) -> list[str]:
        """What waits to be run."""
        return [name for name, _ in self.waiting]

    def run(self, index: int = 0) -> None:
        """Run one step."""
        self.waiting.pop(index)[1]()

    def run_all(self) -> None:
        """Run steps until none is left."""
        while self.waiting:
            self.run()


class Bench:
    """A device manager on a fake device, with everything a test needs to steer it."""

    def __init__(
        self,
        budget_bytes: int | None = None,
        inline: bool = True,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.clock = FakeClock()
        self.world = World()
        self.jobs = Jobs(inline)
        self.freed: list[int] = []
        self.manager = DeviceManager(
            DeviceEffects("dev", self.freed.append), self.clock, budget_bytes, limits, self.jobs
        )

    def register(self, *model_ids: str, **options: Any) -> None:
        """Make fake models known."""
        for model_id in model_ids:
            self.manager.register(self.world.spec(model_id, **options))

    def use(self, model_id: str) -> str:
        """Lease a model for a moment; return how it was found."""
        with (lease := self.manager.acquire(model_id)) as model:
            model.use()
        return lease.state_at_arrival

    def view(self, model_id: str) -> ModelView:
        """The model's entry now."""
        return next(v for v in self.manager.snapshot().models if v.id == model_id)

    def state(self, model_id: str) -> str:
        """The model's state now."""
        return self.view(model_id).state.value


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as another thread has made `condition` true; fail after ten seconds."""
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never happened")


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Start `work` beside the test."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


class FakeToken:
    """A request token on a fake clock."""

    def __init__(self, clock: Callable[[], float], timeout_s: float = 1e9) -> None:
        self._clock = clock
        self._deadline = clock() + timeout_s
        self.cancelled = False

    def remaining_s(self) -> float:
        """Seconds left."""
        return max(0.0, self._deadline - self._clock())

    def cancel(self) -> None:
        """End the request at its next check."""
        self.cancelled = True

    def check(self) -> None:
        """Raise when over."""
        if self.cancelled:
            raise InterruptedError("cancelled")
        if self.remaining_s() <= 0:
            raise TimeoutError("too late")
