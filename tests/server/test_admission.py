from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from rvc_core.errors import Cancelled, DeadlineExceeded
from rvc_core.token import Token
from server.admission import WaitingRoom
from server.errors import Draining, QueueFull

PATIENCE_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def in_slot(room: WaitingRoom) -> Iterator[threading.Event]:
    """Another thread that is in a slot until the event is set or the block ends."""
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        token = Token()
        with room.admit(token), room.slot(token):
            entered.set()
            leave.wait(PATIENCE_S)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(PATIENCE_S)
    yield leave
    leave.set()
    thread.join(PATIENCE_S)


def test_the_one_too_many_is_sent_away_with_a_time_to_come_back() -> None:
    room = WaitingRoom(1, 1)
    with room.admit(Token()), room.admit(Token()), pytest.raises(QueueFull) as caught:
        room.admit(Token()).__enter__()
    assert caught.value.retry_after_s == 4  # two before it, two seconds each
    with room.admit(Token()):
        assert room.n_inside == 1


def test_the_time_to_come_back_follows_how_long_work_takes() -> None:
    clock = Clock()
    room = WaitingRoom(1, 0, clock)
    token = Token()
    with room.admit(token):
        for _ in range(50):
            with room.slot(token):
                clock.now += 30
        with pytest.raises(QueueFull) as caught:
            room.admit(Token()).__enter__()
    assert caught.value.retry_after_s == 30


def test_a_slot_is_handed_on_when_it_is_free() -> None:
    room, token = WaitingRoom(1, 5), Token()
    with in_slot(room) as leave, ExitStack() as stack:
        stack.enter_context(room.admit(token))
        threading.Timer(0.01, leave.set).start()
        stack.enter_context(room.slot(token))
        assert leave.is_set()


def test_a_cancelled_waiter_leaves_the_line() -> None:
    room, token = WaitingRoom(1, 5), Token()
    with in_slot(room), room.admit(token):
        token.cancel()
        with pytest.raises(Cancelled):
            room.slot(token).__enter__()
    other = Token()
    with room.admit(other), room.slot(other):
        assert room.n_inside == 1


def test_the_deadline_ends_the_wait() -> None:
    room, token = WaitingRoom(1, 5), Token(timeout_s=0.02)
    with in_slot(room), room.admit(token), pytest.raises(DeadlineExceeded):
        room.slot(token).__enter__()


def test_who_came_first_goes_first() -> None:
    room, order = WaitingRoom(1, 5), list[int]()
    with in_slot(room) as leave:
        threads = []
        for number in range(3):
            token = Token()

            def work(number: int = number, token: Token = token) -> None:
                with room.admit(token), room.slot(token):
                    order.append(number)

            threads.append(threading.Thread(target=work))
            threads[-1].start()
            while room.n_in_line < number + 1:
                threading.Event().wait(0.001)
        leave.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert order == [0, 1, 2]


def test_a_closed_room_admits_nobody_and_empties() -> None:
    room = WaitingRoom(1, 1)
    with in_slot(room) as leave:
        room.close()
        with pytest.raises(Draining):
            room.admit(Token()).__enter__()
        assert not room.wait_empty(0.01)
        leave.set()
        assert room.wait_empty(PATIENCE_S)


def test_all_inside_can_be_cancelled() -> None:
    room, tokens = WaitingRoom(1, 1), [Token(), Token()]
    with room.admit(tokens[0]), room.admit(tokens[1]):
        room.cancel_all()
    assert all(token.cancelled for token in tokens)
