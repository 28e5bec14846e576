"""Who may come in, who waits, and on which lane each conversion runs."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from rvc_core.token import Token
from server.errors import Draining, QueueFull, ServerError
from server.placement import Ask, Lane, Limits, Priority, Reason, Running, Wait, plan, remaining_s
from server.service_times import ServiceTimes

RESERVED: ContextVar[Token | None] = ContextVar("RESERVED", default=None)  # what `reserve` keeps
POLL_S = 0.05  # how late a waiter may notice that its token was cancelled
CROWDED = frozenset({"hard", "critical"})  # levels of memory pressure that halve the slots


@dataclass(frozen=True)
class LaneFacts:
    """What a device says of itself; `slots` is at least 1, `states` holds voices' by their keys."""

    slots: int
    is_up: bool = True
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Place:
    """A slot of lane number `lane`, kept for one conversion, or for less if not `is_run`."""

    lane: int
    key: str
    started: float
    is_run: bool = True
    loads: list[tuple[float, bool]] = field(default_factory=list)

    def note_load(self, seconds: float, restored: bool) -> None:
        """Getting the voice ready took that long, from host memory if `restored`."""
        self.loads.append((seconds, restored))


@dataclass(frozen=True)
class Waiting:
    """One request in line: whose voice, since when, where it is expected to run and why not yet."""

    key: str
    priority: Priority
    waited_s: float
    lane: int | None
    reason: Reason


@dataclass(frozen=True)
class _Waiter:
    ask: Ask
    turn: threading.Event = field(default_factory=threading.Event)


class Admission:
    """The door and the one line behind it; safe to call from any thread.

    `lanes` tells how the devices are, always as many and in the same order; it is called often
    and without our lock, must be quick and must not raise.
    """

    def __init__(
        self,
        lanes: Callable[[], Sequence[LaneFacts]],
        max_waiting_per_lane: int = 10,
        voice_concurrency: int = 1,
        max_replicas: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask_lanes = lanes
        self._max_waiting = max_waiting_per_lane
        self._limits = Limits(voice_concurrency, max_replicas)
        self._clock = clock
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._facts: tuple[int, Sequence[LaneFacts]] = (0, ())  # numbered, see _look
        self._crowded = False
        self._closed = False
        self._tokens: set[Token] = set()  # of all who are inside
        self._line: dict[int, _Waiter] = {}
        self._waits: Mapping[int, Wait] = {}  # of all who are in line
        self._places: dict[int, Place] = {}  # of all who run
        self._planned_at = -math.inf
        self._times = ServiceTimes()

    @contextmanager
    def reserve(self, on_refusal: Callable[[ServerError], None]) -> Iterator[None]:
        """Keep room for what this context will `admit`, as `admit` raises; `on_refusal` hears."""
        seat = Token()
        try:
            self._enter(seat)
        except ServerError as error:
            on_refusal(error)
            raise
        before = RESERVED.set(seat)
        try:
            yield
        finally:
            RESERVED.reset(before)
            self._exit(seat)

    @contextmanager
    def admit(self, token: Token) -> Iterator[None]:
        """Be inside for the time of the block; raise `QueueFull` or `Draining` at the door."""
        self._enter(token, in_place_of=RESERVED.get())
        try:
            yield
        finally:
            self._exit(token)

    @contextmanager
    def place(
        self, token: Token, key: str, priority: Priority = Priority.INTERACTIVE
    ) -> Iterator[Place]:
        """Wait in line for a slot on the best lane and keep it for the time of the block.

        Raises what `token.check()` raises.
        """
        ticket = next(self._numbers)
        waiter = _Waiter(Ask(ticket, key, priority, self._clock()))
        try:
            self._join(waiter)
            self._wait_for_turn(waiter, token)
            yield self._places[ticket]
            if self._places[ticket].is_run:
                self._learn(self._places[ticket])  # a failed run tells nothing about a whole one
        finally:
            self._leave(ticket)

    def replan(self) -> None:
        """Look at the lanes again and start whoever can; call it when one or its states changed."""
        self._look()
        with self._changed:
            self._settle()

    def set_pressure(self, level: str) -> None:
        """Halve the slots of lanes that have several while memory is short ("hard", "critical")."""
        with self._changed:
            self._crowded = level in CROWDED
        self.replan()

    @property
    def n_inside(self) -> int:
        """How many requests are at hand, running or waiting."""
        return len(self._tokens)

    @property
    def n_in_line(self) -> int:
        """How many of them wait for a lane."""
        return len(self._line)

    def waiting(self) -> list[Waiting]:
        """Everyone in line, oldest first."""
        with self._changed:
            now = self._clock()
            pairs = [(waiter.ask, self._waits[ticket]) for ticket, waiter in self._line.items()]
        return [
            Waiting(ask.key, ask.priority, now - ask.arrived, wait.lane, wait.reason)
            for ask, wait in pairs
        ]

    def counts(self) -> list[dict[str, int]]:
        """For each lane: how many are expected there by class, how many run, how many may wait."""
        line = [(entry.lane, entry.priority) for entry in self.waiting()]
        with self._changed:
            running = [place.lane for place in self._places.values()]
            n_lanes = len(self._facts[1])
        return [
            {
                **{priority.value: line.count((index, priority)) for priority in Priority},
                "running": running.count(index),
                "limit": self._max_waiting,
            }
            for index in range(n_lanes)
        ]

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Admit nobody from now on; who is inside stays."""
        with self._changed:
            self._closed = True

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nobody is inside; False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tokens, timeout_s)

    def cancel_all(self) -> None:
        """Cancel the tokens of all who are inside."""
        with self._changed:
            for token in self._tokens:
                token.cancel()

    def _enter(self, token: Token, in_place_of: Token | None = None) -> None:
        self._look()
        with self._changed:
            if self._closed:
                raise Draining("The server is shutting down.", retry_after_s=10)
            if in_place_of in self._tokens:
                self._tokens.discard(in_place_of)
            elif len(self._tokens) >= self._most_inside():
                raise QueueFull(
                    f"{len(self._tokens)} conversions are at hand already; try again later.",
                    retry_after_s=self._retry_after_s(),
                )
            self._tokens.add(token)

    def _exit(self, token: Token) -> None:
        with self._changed:
            self._tokens.discard(token)
            self._changed.notify_all()

    def _join(self, waiter: _Waiter) -> None:
        self._look()
        with self._changed:
            self._line[waiter.ask.ticket] = waiter
            self._settle()

    def _wait_for_turn(self, waiter: _Waiter, token: Token) -> None:
        token.check()
        while not waiter.turn.wait(min(POLL_S, token.remaining_s())):
            token.check()
            # Every event plans anew, so time alone matters only while a slot is free: whoever
            # holds out for a better lane may find that it is late. Ageing needs no timer: with no
            # slot free nobody can start, and with one free the batch request would have had it.
            # We look all the same, as it is cheap and notices a lane that nobody reported.
            if self._clock() - self._planned_at >= POLL_S:
                self.replan()

    def _leave(self, ticket: int) -> None:
        with self._changed:
            self._line.pop(ticket, None)
            self._places.pop(ticket, None)
        self.replan()

    def _learn(self, place: Place) -> None:
        with self._changed:
            load_s = sum(seconds for seconds, _ in place.loads)
            self._times.note_run(max(0.0, self._clock() - place.started - load_s))
            for seconds, restored in place.loads:
                self._times.note_load(seconds, restored)

    def _look(self) -> None:
        # The answer comes without our lock, as whoever gives it may hold its own and wait for
        # ours. So answers may arrive out of order; the number keeps an old one from winning.
        number = next(self._numbers)
        facts = tuple(self._ask_lanes())
        with self._changed:
            self._facts = max(self._facts, (number, facts), key=lambda numbered: numbered[0])

    def _settle(self) -> None:
        now = self._clock()
        asks = [waiter.ask for waiter in self._line.values()]
        decided = plan(asks, self._lanes(), self._times.costs, self._limits, now)
        for ticket, lane in decided.starts:
            waiter = self._line.pop(ticket)
            self._places[ticket] = Place(lane, waiter.ask.key, now)
            waiter.turn.set()
        self._waits = decided.waits
        self._planned_at = now

    def _lanes(self) -> list[Lane]:
        running: dict[int, list[Running]] = {}
        for place in self._places.values():
            running.setdefault(place.lane, []).append(Running(place.key, place.started))
        return [
            Lane(i, self._slots(facts), facts.is_up, tuple(running.get(i, ())), facts.states)
            for i, facts in enumerate(self._facts[1])
        ]

    def _slots(self, facts: LaneFacts) -> int:
        return max(1, facts.slots // 2) if self._crowded else facts.slots

    def _slots_up(self) -> list[int]:
        slots = [self._slots(facts) for facts in self._facts[1] if facts.is_up]
        return slots or [1]  # with no lane up, a line as long as for one is kept

    def _most_inside(self) -> int:
        return sum(slots + self._max_waiting for slots in self._slots_up())

    def _retry_after_s(self) -> int:
        run_s, now = self._times.costs.run_s, self._clock()
        left_s = [remaining_s(run_s, now - place.started) for place in self._places.values()]
        n_before = max(0, len(self._tokens) - len(self._places))
        wait_s = (n_before * run_s + sum(left_s)) / sum(self._slots_up())
        return min(60, max(1, math.ceil(wait_s)))
