"""Moves ordered by name: wait for leases to end, then move, or say who was in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gpu.books import Books, Job
from gpu.entry import Entry
from gpu.moves import Moves
from gpu.scheduler import Scheduler
from gpu.state import IN_TRANSIT, ModelState

SLICE_S = 0.1

ForceAction = Literal["offload", "release"]


@dataclass(frozen=True)
class Skipped:
    """A model that was left alone: `reason` is in_use, pinned or failed."""

    model: str
    leases: int
    reason: str


@dataclass
class ForceResult:
    """What a forced move did: `cancelled` are the holders that had to end for it.

    `freed_bytes` counts the device's memory.
    """

    offloaded: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    freed_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        return asdict(self)


class Force:
    """Carries out forced moves in the caller's thread."""

    def __init__(self, books: Books, scheduler: Scheduler, moves: Moves) -> None:
        self._books = books
        self._scheduler = scheduler
        self._moves = moves

    def run(
        self, model_id: str | None, action: ForceAction, timeout_s: float, cancel: bool = False
    ) -> ForceResult:
        """Move one model, or all but the pinned ones, waiting for leases up to `timeout_s`.

        With `cancel`, whoever has a lease now is told to end. Its model is moved only then: bytes
        in use are never taken away.
        """
        result = ForceResult()
        with self._scheduler.gate:
            if model_id is not None:
                targets = [self._books.find(model_id)]
            else:
                targets = [e for e in self._books.entries.values() if not e.pinned]
                result.skipped += [
                    Skipped(e.spec.id, len(e.leases), "pinned")
                    for e in self._books.entries.values()
                    if e.pinned and _is_held(e, action)
                ]
        return self.move(targets, action, timeout_s, result, cancel)

    def move(
        self,
        targets: Iterable[Entry],
        action: ForceAction,
        timeout_s: float,
        result: ForceResult,
        cancel: bool = False,
    ) -> ForceResult:
        """Move `targets`; new requests for them queue up behind the move."""
        deadline = self._books.clock() + timeout_s
        pending = list(targets)
        with self._scheduler.gate:
            for entry in pending:
                entry.draining += 1
            if cancel:
                result.cancelled += self._cancel_holders(pending)
        try:
            while pending:
                self._move_idle(pending, action, result)
                left_s = deadline - self._books.clock()
                if left_s <= 0:
                    break
                self._wait(pending, min(left_s, SLICE_S))
        finally:
            with self._scheduler.gate:
                for entry in pending:
                    in_use = Skipped(entry.spec.id, len(entry.leases), "in_use")
                    result.skipped.append(in_use)
                    self._scheduler.undrain(entry)
        return result

    def _cancel_holders(self, targets: Iterable[Entry]) -> list[str]:
        """Tell them once the lock is free; the answer is who they are."""
        leases = [lease for entry in targets for lease in entry.leases if lease.token is not None]
        for lease in leases:
            assert lease.token is not None
            self._scheduler.gate.later(lease.token.cancel)
        return sorted({lease.holder for lease in leases})

    def _move_idle(self, pending: list[Entry], action: ForceAction, result: ForceResult) -> None:
        for entry in list(pending):
            with self._scheduler.gate:
                if not _is_movable(entry):
                    continue
                pending.remove(entry)
                held = _is_held(entry, action)
                n_bytes = self._books.ledger.of(entry.key)
                job = self._scheduler.settler.begin(entry, action, "manual") if held else None
                if entry.state is ModelState.FAILED and action == "release":
                    self._scheduler.reset(entry)
            try:
                if job is not None:
                    _note(result, job, n_bytes, done=self._moves.run(job))
            finally:
                with self._scheduler.gate:
                    self._scheduler.undrain(entry)

    def _wait(self, pending: list[Entry], seconds: float) -> None:
        with self._scheduler.gate:
            if not pending or any(_is_movable(entry) for entry in pending):
                return
            event = self._books.watch()
        event.wait(seconds)


def _is_held(entry: Entry, action: ForceAction) -> bool:
    """Whether there is something to move."""
    if action == "release" and entry.state is ModelState.OFFLOADED:
        return True
    return entry.state is ModelState.READY


def _is_movable(entry: Entry) -> bool:
    """Whether the move can be made, or there is nothing to do."""
    return not entry.leases and entry.state not in IN_TRANSIT


def _note(result: ForceResult, job: Job, n_bytes: int, done: bool) -> None:
    model_id = job.entry.spec.id
    if not done:
        result.skipped.append(Skipped(model_id, 0, "failed"))
        return
    moved = result.offloaded if job.action == "offload" else result.released
    moved.append(model_id)
    result.freed_bytes += n_bytes
