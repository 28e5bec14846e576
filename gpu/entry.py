"""Bookkeeping of one model and of those who wait for it; touched under the gate only."""

from __future__ import annotations

import math
import threading
from collections import deque

from gpu.errors import GpuError, IllegalTransition
from gpu.lease import Lease
from gpu.state import (
    NEVER,
    TRANSITIONS,
    Counters,
    Holder,
    Model,
    ModelSpec,
    ModelState,
    ModelView,
    RequestToken,
    Terms,
)

N_PEAKS = 50
AGEING_S = 30.0  # a batch request that has waited this long counts as any other


class Waiter:
    """One request in the queue of a model; `event` is set when it has a lease or an error."""

    def __init__(
        self, entry: Entry, terms: Terms, token: RequestToken | None, arrived: float
    ) -> None:
        self.entry = entry
        self.terms = terms
        self.token = token
        self.arrived = arrived
        self.deadline = math.inf if token is None else arrived + token.remaining_s()
        self.state_at_arrival = entry.arrival_state
        self.load_s = 0.0
        self.lease: Lease | None = None
        self.error: GpuError | None = None
        self.event: threading.Event | None = None

    def turn(self, now: float) -> tuple[bool, float]:
        """Sorts those who wait: batch requests behind others until they have aged."""
        return self.terms.batch and now - self.arrived < AGEING_S, self.arrived

    def wake(self) -> None:
        """Tell the waiting thread, if there is one, that it has its answer."""
        if self.event is not None:
            self.event.set()


class Entry:
    """One model: its state, leases, queue and history."""

    def __init__(self, key: int, spec: ModelSpec) -> None:
        self.key = key
        self.spec = spec
        self.state = ModelState.UNLOADED
        self.epoch = 0
        self.model: Model | None = None
        self.leases: set[Lease] = set()
        self.waiters: deque[Waiter] = deque()
        self.committed = False  # the move under way can no longer be called off
        self.draining = 0  # forced moves that wait for the leases to end
        self.retired = False  # no longer registered, lives on until its leases end
        self.need_bytes = spec.nbytes_estimate
        self.pinned = spec.pinned
        self.keep_alive_s: float | None = None  # what the last lease asked for
        self.latched_for: Entry | None = None  # the load that waits for this model's bytes
        self.wanted_since: float | None = None
        self.load_started = 0.0
        self.peaks: deque[int] = deque(maxlen=N_PEAKS)  # bytes that work took beside the model
        self.source: str | None = None  # of the last load: disk or host
        self.idle_since = 0.0
        self.last_used: float | None = None
        self.failures_in_a_row = 0
        self.backoff_until: float | None = None
        self.cause: BaseException | None = None
        self.last_error: str | None = None
        self.last_load_s: float | None = None
        self.last_restore_s: float | None = None
        self.counters = Counters()

    def move_to(self, state: ModelState) -> None:
        """Enter `state` in a new epoch; raise `IllegalTransition` if there is no such way."""
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(
                f"{self.spec.id} cannot go from {self.state.value} to {state.value}."
            )
        self.state = state
        self.epoch += 1
        self.committed = False

    @property
    def has_room(self) -> bool:
        """Whether a newcomer may have a lease at once."""
        return (
            self.state is ModelState.READY
            and len(self.leases) < self.spec.concurrency
            and not self.waiters
            and not self.draining
            and self.latched_for is None
        )

    @property
    def offload_after_s(self) -> float:
        """Seconds of idleness before the model leaves its device; -1 = never."""
        return self.spec.offload_after_s if self.keep_alive_s is None else self.keep_alive_s

    @property
    def release_after_s(self) -> float:
        """Seconds of idleness before the model leaves memory; -1 = never."""
        own, asked = self.spec.release_after_s, self.keep_alive_s
        if asked is None or own == NEVER:
            return own
        return NEVER if asked == NEVER else max(own, asked)

    @property
    def soonest_timer_s(self) -> float:
        """Seconds of idleness after which the first timer falls due; infinite without one."""
        timers = [s for s in (self.offload_after_s, self.release_after_s) if s >= 0]
        return math.inf if self.pinned else min(timers, default=math.inf)

    @property
    def wants_device(self) -> bool:
        """Whether somebody waits for a load that has not begun."""
        return bool(self.waiters) and self.state in (ModelState.UNLOADED, ModelState.OFFLOADED)

    @property
    def arrival_state(self) -> str:
        """How a request that comes now finds the model: ready, offloaded or unloaded."""
        if self.state is ModelState.READY:
            return "ready"
        going = self.state is ModelState.RELEASING
        return "unloaded" if going or self.model is None else "offloaded"

    def view(self, now: float, device_bytes: int) -> ModelView:
        """A frozen picture of this entry."""
        spec = self.spec
        return ModelView(
            key=self.key,
            id=spec.id,
            state=self.state,
            engine=spec.engine,
            epoch=self.epoch,
            leases=len(self.leases),
            waiting=len(self.waiters),
            concurrency=spec.concurrency,
            pinned=self.pinned,
            counted=spec.counted,
            draining=self.draining > 0,
            retired=self.retired,
            latched=self.latched_for is not None,
            wanted_since=self.wanted_since,
            need_bytes=self.need_bytes,
            device_bytes=device_bytes,
            last_used=self.last_used,
            idle_since=self.idle_since,
            offload_after_s=self.offload_after_s,
            release_after_s=self.release_after_s,
            backoff_until=self.backoff_until,
            last_load_s=self.last_load_s,
            last_restore_s=self.last_restore_s,
            peak_bytes=max(self.peaks, default=None),
            source=self.source,
            last_error=self.last_error,
            holders=tuple(Holder(lease.holder, now - lease.granted_at) for lease in self.leases),
            counters=self.counters,
        )
