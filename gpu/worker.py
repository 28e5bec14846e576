"""The parent's side of a worker: keeps one process at work, and starts another when it dies."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from gpu.channel import Message
from gpu.child import SLICE_S, Child, slice_s
from gpu.effects import attempt
from gpu.errors import Draining, WorkerBusy, WorkerLost
from gpu.parcel import open_outcome, unpack
from gpu.restarts import OPEN_S, Restarts
from gpu.state import RequestToken
from gpu.worker_process import HEARTBEAT_S, Servant

HEARTBEAT_LOST_S = 30.0  # a call into C may keep the interpreter for seconds
START_LOST_S = 300.0  # to build the servant: weights may come from a slow disk
CLOSE_S = 2.0  # what a servant has to close itself
JOIN_S = 5.0

WorkerState = Literal["starting", "up", "restarting", "broken", "closed"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerView:
    """A worker at one moment; `status` is the last one that its servant told.

    starting: builds its servant; up: takes tasks; restarting: dead, waits for its back-off;
    broken: died too often, tried again in minutes; closed: for good.
    """

    index: int
    pid: int | None
    state: WorkerState
    restarts: int
    heartbeat_age_s: float | None
    last_error: str | None
    status: Any


def nothing(*_: object) -> None:
    """Do nothing."""


class Worker:
    """Runs one task at a time in a process of its own.

    `build` makes the servant there: picklable, and not from `__main__`, which the process does
    not import. `on_change` is called from any thread, without locks, when the view has changed;
    it must be quick and must not call `close`.
    """

    def __init__(
        self,
        index: int,
        build: Callable[[], Servant],
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = nothing,
    ) -> None:
        self._name = f"Worker {index}"
        self._index = index
        self._build = pickle.dumps(build)
        self._clock = clock
        self._on_change = on_change
        self._restarts = Restarts()
        self._renewing = False  # its end was asked for: it is no death
        self._turn = threading.Lock()  # held by the one who has a task in the process
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._supervise, name=f"gpu-worker-{index}", daemon=True
        )
        self._changed = threading.Condition()  # guards all below
        self._child: Child | None = None
        self._state: WorkerState = "starting"
        self._n_restarts = 0
        self._beat: float | None = None
        self._last_error: str | None = None
        self._status: Any = None

    def start(self) -> None:
        """Start the process in the background."""
        self._thread.start()

    def run(
        self,
        task: Any,
        token: RequestToken | None = None,
        on_report: Callable[[Any], None] | None = None,
    ) -> Any:
        """Do `task` in the process, after those before it; `on_report` is called in this thread.

        Raises what the servant or the token raised, `WorkerLost` if the process dies or is not
        coming up, `Draining` after `close`.
        """
        body = pickle.dumps(task)
        with self._my_turn(token):
            outcome = self._await_child(token).run(body, token, on_report or nothing)
        return open_outcome(outcome)

    def call(self, name: str, /, timeout_s: float = 5.0, **arguments: Any) -> Any:
        """Have the servant answer beside its task; `WorkerBusy` if that takes too long."""
        with self._changed:
            child = self._child
            if child is None or self._state != "up":
                raise self._not_up()
        return child.ask(name, arguments, timeout_s)

    def build_with(self, build: Callable[[], Servant]) -> None:
        """Make the servants of further processes in another way."""
        self._build = pickle.dumps(build)

    def renew(self, timeout_s: float) -> None:
        """End the process as soon as its task has ended, and start another.

        Raises `WorkerBusy` if the task does not end in time, `WorkerLost` if no process is up.
        """
        if not self._turn.acquire(timeout=timeout_s):
            raise WorkerBusy(f"{self._name} did not end its task within {timeout_s:g} s.")
        try:
            with self._changed:
                child = self._child
                if child is None or self._state != "up":
                    raise self._not_up()
                self._renewing = True
            child.close_servant(CLOSE_S)
            child.kill("another one was asked for")
            child.gone.wait(JOIN_S)
        finally:
            self._turn.release()

    def wait_up(self, timeout_s: float) -> bool:
        """Wait until the worker takes tasks; False if it does not by then, or is broken."""
        with self._changed:
            self._changed.wait_for(lambda: self._state in ("up", "broken", "closed"), timeout_s)
            return self._state == "up"

    @property
    def view(self) -> WorkerView:
        """The worker now."""
        with self._changed:
            return WorkerView(
                index=self._index,
                pid=None if self._child is None else self._child.pid,
                state=self._state,
                restarts=self._n_restarts,
                heartbeat_age_s=None if self._beat is None else self._clock() - self._beat,
                last_error=self._last_error,
                status=self._status,
            )

    def close(self, timeout_s: float) -> None:
        """End for good: the running task has `timeout_s` to end, those in line are refused."""
        self._stop.set()
        if self._turn.acquire(timeout=timeout_s):
            try:
                with self._changed:
                    child = self._child if self._state == "up" else None
                if child is not None:
                    child.close_servant(CLOSE_S)
            finally:
                self._turn.release()
        with self._changed:
            child = self._child
        if child is not None:
            child.kill("it was closed")
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        self._enter("closed")

    @contextmanager
    def _my_turn(self, token: RequestToken | None) -> Iterator[None]:
        while not self._turn.acquire(timeout=slice_s(token) or SLICE_S):
            self._check(token)
        try:
            self._check(token)
            yield
        finally:
            self._turn.release()

    def _check(self, token: RequestToken | None) -> None:
        if self._stop.is_set():
            raise Draining(f"{self._name} is closing.")
        if token is not None:
            token.check()

    def _await_child(self, token: RequestToken | None) -> Child:
        while True:
            with self._changed:
                if self._state == "up" and self._child is not None:
                    return self._child
                if self._state != "starting":
                    raise self._not_up()
                self._changed.wait(slice_s(token) or SLICE_S)
            self._check(token)

    def _not_up(self) -> WorkerLost:
        retry_after_s = OPEN_S if self._state == "broken" else 1.0
        text = f"{self._name} is {self._state}; its last error: {self._last_error or 'none'}."
        return WorkerLost(text, retry_after_s=retry_after_s)

    def _supervise(self) -> None:
        while True:
            child = self._spawn()
            if child is not None:
                self._listen(child)
            due = self._lose(child)
            while (left_s := due - self._clock()) > 0 and not self._stop.is_set():
                self._stop.wait(min(left_s, SLICE_S))
            if self._stop.is_set():
                return
            with self._changed:
                self._n_restarts += 1
            self._enter("starting")

    def _spawn(self) -> Child | None:
        try:
            child = Child(self._name, self._build)
        except (OSError, RuntimeError) as error:  # no process or thread left to start
            with self._changed:
                self._last_error = f"{type(error).__name__}: {error}"
            return None
        with self._changed:
            self._child = child
        if self._stop.is_set():  # `close` may have come before it could see the child
            child.kill("it was closed")
        return child

    def _listen(self, child: Child) -> None:
        started = self._clock()
        while True:
            try:
                message = child.channel.receive(HEARTBEAT_S)
            except EOFError:
                return
            if message is None:
                self._check_heartbeat(child, started)
            elif message.kind in ("ready", "beat"):
                self._note_status(message)
            elif message.kind == "hello":
                child.pid = message.number
            elif message.kind == "failed":
                child.reason = message.body.decode().rstrip(".")  # it ends sentences of ours
            else:
                child.take(message)

    def _note_status(self, message: Message) -> None:
        status, _ = attempt(lambda: unpack(message.body), f"Reading the status of {self._name}")
        with self._changed:
            self._beat = self._clock()
            self._status = status
        self._enter("up")

    def _check_heartbeat(self, child: Child, started: float) -> None:
        age_s = self.view.heartbeat_age_s
        if age_s is None and self._clock() - started > START_LOST_S:
            child.kill(f"not up within {START_LOST_S:.0f} s")
        elif age_s is not None and age_s > HEARTBEAT_LOST_S:
            child.kill(f"no heartbeat for {age_s:.0f} s")

    def _lose(self, child: Child | None) -> float:
        """Note the death; when to start again, on the worker's clock."""
        closing, now = self._stop.is_set(), self._clock()
        renewing, self._renewing = self._renewing, False
        delay_s = 0.0 if renewing else self._restarts.died(now)
        state: WorkerState = "broken" if delay_s is None else "restarting"
        with self._changed:
            self._child = self._beat = self._status = None
            self._last_error = child.reason if child is not None else self._last_error
            # Without a delay it starts again at once: who asks for it meanwhile may wait.
            self._state = "closed" if closing else state if delay_s != 0 else "starting"
            self._changed.notify_all()
        if child is not None:
            child.bury(join=closing)
        if not closing and not renewing:
            logger.warning("%s was lost: %s.", self._name, self._last_error)
        attempt(self._on_change, "on_change")
        return now + (OPEN_S if delay_s is None else delay_s)

    def _enter(self, state: WorkerState) -> None:
        with self._changed:
            if self._state != "closed":
                self._state = state
            self._changed.notify_all()
        attempt(self._on_change, "on_change")
