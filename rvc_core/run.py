"""One conversion under way: the caller's token, the progress told, the time each stage took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rvc_core.token import Token


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: `done` of `total` steps of a `stage`."""

    stage: str
    done: int
    total: int


@dataclass
class Run:
    """What travels with one conversion: the caller's wishes and the clock."""

    token: Token
    on_progress: Callable[[Progress], None]
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Check the token, then add the time of the block to the stage's."""
        self.token.check()
        start = time.perf_counter()
        yield
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell the caller how far the work is."""
        self.on_progress(Progress(stage, done, total))
