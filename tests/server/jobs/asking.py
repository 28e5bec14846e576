"""Jobs over fake services, and what a test asks of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rvc_core.token import Token
from server.jobs.records import BATCH, CONVERT, Item, Job, Order, State, Ticket
from server.services import Services
from tests.server.fakes import engine_of

PATIENCE_S = 10.0


def submit(
    services: Services, recording: bytes, n_items: int = 1, key_name: str = "me", **more: Any
) -> Job:
    """A job of that many items; with several it is a batch."""
    items = tuple(Item(f"item-{n}", "anna", {}, "wav") for n in range(n_items))
    given = {"timeout_s": 60.0, **more}
    order = Order(CONVERT if n_items == 1 else BATCH, items, **given)
    return services.jobs.submit(order, [recording] * n_items, Ticket(key_name, "h"))[0]


def ended(services: Services, job: Job) -> Job:
    """The job as it is when it has ended."""
    last = services.jobs.wait_until_final(job, PATIENCE_S, Token())
    assert last.state not in (State.QUEUED, State.RUNNING)
    return last


@contextmanager
def at_work(services: Services) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Conversions wait in the middle: the first event says that one is there, the second ends it.

    A cancelled one ends by itself.
    """
    begun, go_on = threading.Event(), threading.Event()
    engine_of(services).during_convert = pause(begun, go_on)
    try:
        yield begun, go_on
    finally:
        go_on.set()


def pause(begun: threading.Event, go_on: threading.Event) -> Callable[[Token], None]:
    """What keeps a conversion until it is cancelled or may go on."""

    def wait(token: Token) -> None:
        begun.set()
        for _ in range(int(PATIENCE_S / 0.002)):
            token.check()
            if go_on.wait(0.002):
                return
        raise AssertionError("nobody let it go on")

    return wait


def failing(*errors: Exception) -> Callable[[Token], None]:
    """What fails the first conversions with these errors and lets the others pass."""
    left = list(errors)

    def fail(token: Token) -> None:
        if left:
            raise left.pop(0)

    return fail
