"""What a job is: its states, what was asked, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from server.placement import Priority

CONVERT = "convert"
BATCH = "batch"
KINDS = (CONVERT, BATCH)


class State(str, Enum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
FINAL = ENDED | {State.EXPIRED}
MOVES: Mapping[State, frozenset[State]] = {  # where a job may go from each state
    State.QUEUED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, *ENDED}),
    State.SUCCEEDED: frozenset({State.EXPIRED}),
    State.FAILED: frozenset({State.QUEUED, State.EXPIRED}),
    State.CANCELLED: frozenset({State.QUEUED, State.EXPIRED}),
    State.EXPIRED: frozenset(),
}


@dataclass(frozen=True)
class Fault:
    """An error as it is kept: `code` and `param` as in the API."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True)
class Item:
    """One recording and how to convert it; `options` by their outside names.

    `name` is a safe one and unique in its job. An item with an `audio_url` has no recording yet,
    one with a `fault` is not tried.
    """

    name: str
    voice: str | None
    options: Mapping[str, Any]
    audio_format: str
    index: str | None = None
    keep_alive_s: float | None = None
    audio_url: str | None = None
    fault: Fault | None = None

    @property
    def has_recording(self) -> bool:
        """Whether a recording was sent along."""
        return self.fault is None and self.audio_url is None


@dataclass(frozen=True)
class Order:
    """What a caller asked for: `timeout_s` counts from when the job starts to run."""

    kind: str
    items: tuple[Item, ...]
    timeout_s: float
    webhook_url: str | None = None
    priority: Priority = Priority.BATCH


@dataclass(frozen=True)
class Ticket:
    """Whose order it is; orders with the same `idempotency_key` are one."""

    key_name: str
    request_hash: str
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Result:
    """A finished file: its name in the job's folder, and figures for people in `facts`."""

    file: str
    media_type: str
    size_bytes: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """How far the webhook of a job is: pending, delivered or failed."""

    state: str
    attempts: int
    next_at: float | None
    error: str | None


@dataclass(frozen=True)
class Job:
    """A job as it is now; times are seconds since 1970, `progress` is in [0, 1].

    `attempt` counts how often it was started, `interruptions` how often a server died with it
    since it was last asked for, `postponed` how often it found no room. Whoever started it owns
    it by `owner` and `fence`, which grows with each start.
    """

    id: str
    seq: int
    key_name: str
    request_hash: str
    order: Order
    state: State
    attempt: int
    interruptions: int
    postponed: int
    owner: str | None
    fence: int
    progress: float
    stage: str | None
    created: float
    not_before: float
    started: float | None
    finished: float | None
    fault: Fault | None
    result: Result | None
    size_bytes: int
    delivery: Delivery | None = None
