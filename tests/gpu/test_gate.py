"""The lock never waits for itself, and loses nothing that is handed to it."""

from __future__ import annotations

import threading

from gpu.gate import Gate
from tests.gpu.fakes import in_thread


def test_an_item_posted_by_the_thread_inside_the_lock_is_taken_when_it_leaves() -> None:
    taken: list[int] = []
    gate = Gate(taken.append)
    with gate:
        gate.post(1)  # what the garbage collector may do at any line
        assert taken == []
    assert taken == [1]


def test_an_item_posted_while_another_thread_is_inside_is_taken_when_that_leaves() -> None:
    taken: list[int] = []
    gate = Gate(taken.append)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with gate:
            inside.set()
            leave.wait(10)

    thread = in_thread(hold)
    inside.wait(10)
    gate.post(1)  # returns at once
    leave.set()
    thread.join(10)
    assert taken == [1]


def test_what_was_posted_is_taken_before_the_next_one_enters() -> None:
    taken: list[int] = []
    gate = Gate(taken.append)
    gate._posted.append(1)
    with gate:
        assert taken == [1]


def test_later_calls_run_in_order_with_the_lock_free() -> None:
    order: list[str] = []
    gate = Gate(lambda item: None)

    def enter_again() -> None:
        with gate:
            order.append("second")

    with gate:
        gate.later(lambda: order.append("first"))
        gate.later(enter_again)
        order.append("inside")
    assert order == ["inside", "first", "second"]


def test_many_threads_lose_no_item() -> None:
    taken: list[int] = []
    gate = Gate(taken.append)

    def work() -> None:
        for item in range(500):
            gate.post(item)
            with gate:
                pass

    for thread in [in_thread(work) for _ in range(8)]:
        thread.join(10)
    assert len(taken) == 8 * 500
