"""A room of jobs on a clock that a test moves, and orders to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.jobs.records import CONVERT, Item, Job, Order, Ticket
from server.jobs.room import Room, open_room
from server.settings import Settings
from tests.gpu.fakes import FakeClock

AUDIO = b"RIFF"


def order(n_items: int = 1, kind: str = CONVERT, **more: Any) -> Order:
    """An order of that many items."""
    items = tuple(Item(f"item-{n}", "anna", {}, "wav") for n in range(n_items))
    return Order(kind, items, 60.0, **more)


def ticket(key_name: str = "me", request_hash: str = "h", once: str | None = None) -> Ticket:
    return Ticket(key_name, request_hash, once)


@contextmanager
def room_at(
    folder: Path, clock: FakeClock | None = None, **settings: Any
) -> Iterator[tuple[Room, FakeClock]]:
    """A room below `folder`, closed in the end."""
    clock = clock or FakeClock()
    room = open_room(Settings(job_db=folder / "jobs.sqlite3", **settings), clock)
    try:
        yield room, clock
    finally:
        room.close()


def add(room: Room, job_id: str, wanted: Ticket | None = None, inputs: bytes = AUDIO) -> Job:
    """Queue a job of one item."""
    with room.files.staged(job_id, [inputs]) as place:
        return room.store.add(job_id, order(), wanted or ticket(), len(inputs), place)[0]


def run_next(room: Room) -> Job:
    """Start the job whose turn it is."""
    job = room.store.claim(room.owner.id)
    assert job is not None
    return job
