"""One process of a worker, seen from its parent: from its start to its end."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from gpu import worker_process
from gpu.channel import Channel, Message
from gpu.errors import WorkerBusy, WorkerLost
from gpu.parcel import open_outcome, unpack
from gpu.state import RequestToken

SLICE_S = 0.05  # how late a cancellation may be noticed
GIVE_UP_S = 5.0  # what a cancelled task has to stop by itself
BURIAL_S = 0.2  # from the end of the process to the worker knowing of it, at most

Inbox = SimpleQueue[Message]
LOST = Message("failed")  # in an inbox: nothing more will come

# Guards the names of `__main__`, of which there is one.
_MAIN = threading.Lock()


class Child:
    """A process with a servant in it; one thread, its worker's, receives from `channel`."""

    def __init__(self, name: str, build: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.name = name
        self.channel = Channel(ours)
        self.pid: int | None = None
        self.reason = "its process ended unexpectedly"
        self.gone = threading.Event()
        self._lock = threading.Lock()
        self._doomed = False
        self._number = 0
        self._inboxes: dict[int, Inbox] = {}  # of the task and the calls at hand
        self._executor = ProcessPoolExecutor(
            1, mp_context=context, initializer=worker_process.open_host, initargs=(theirs, build)
        )
        try:
            with _hidden_main():
                self._executor.submit(os.getpid)  # any task: the first one starts the process
        finally:
            theirs.close()  # else the end of the process would not be seen

    def run(
        self, task: bytes, token: RequestToken | None, on_report: Callable[[Any], None]
    ) -> bytes:
        """Do a task, one at a time, and return its outcome, packed."""
        with self._inbox() as (number, inbox):
            future = self._submit(number, task, _timeout_s(token))
            future.add_done_callback(lambda done: inbox.put(LOST) if done.exception() else None)
            try:
                return self._attend(inbox, token, on_report)
            except BaseException:
                self._give_up(number, future)
                raise

    def ask(self, name: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        """Have the servant answer a call, beside its task."""
        with self._inbox() as (number, inbox):
            self.channel.send(Message("call", number, pickle.dumps((name, arguments))))
            try:
                answer = inbox.get(timeout=timeout_s)
            except Empty:
                why = f"{self.name} did not answer {name} within {timeout_s:g} s."
                raise WorkerBusy(why) from None
        if answer is LOST:
            raise self.lost()
        return open_outcome(answer.body)

    def close_servant(self, timeout_s: float) -> None:
        """Let the servant close itself; only while no task runs."""
        with suppress(RuntimeError):  # broken, or shut down: it is gone
            wait([self._executor.submit(worker_process.close_servant)], timeout_s)

    def take(self, message: Message) -> None:
        """Hand a report, the end of a task or an answer to the thread that waits for it."""
        with self._lock:
            inbox = self._inboxes.get(message.number)
        if inbox is not None:
            inbox.put(message)

    def kill(self, reason: str) -> None:
        """End the process, whatever it does; its worker then notices that it is gone."""
        with self._lock:
            if self.gone.is_set() or self._doomed:
                return
            self._doomed = True
            self.reason = reason
        if self.pid is None:  # it has not said hello yet; this is what it reads first
            self.channel.send(Message("stop"))
        else:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def bury(self, join: bool) -> None:
        """Fail all who wait for the process, now that it is gone."""
        with self._lock:
            self.gone.set()
            inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            inbox.put(LOST)
        self.channel.close()
        self._executor.shutdown(wait=join)

    def lost(self) -> WorkerLost:
        """What to raise when the process is gone, once the worker knows of it too."""
        self.gone.wait(BURIAL_S)  # who tries again at once shall not find the dead one up
        return WorkerLost(f"{self.name} was lost: {self.reason}.")

    @contextmanager
    def _inbox(self) -> Iterator[tuple[int, Inbox]]:
        with self._lock:
            is_lost = self.gone.is_set() or self._doomed
            self._number += 1
            number = self._number
            inbox = self._inboxes[number] = Inbox()
        try:
            if is_lost:
                raise self.lost()
            yield number, inbox
        finally:
            with self._lock:
                del self._inboxes[number]

    def _submit(self, number: int, task: bytes, timeout_s: float | None) -> Future[None]:
        try:
            return self._executor.submit(worker_process.run_task, number, task, timeout_s)
        except RuntimeError:  # broken, or shut down
            raise self.lost() from None

    def _attend(
        self, inbox: Inbox, token: RequestToken | None, on_report: Callable[[Any], None]
    ) -> bytes:
        while True:
            try:
                message = inbox.get(timeout=slice_s(token))
            except Empty:
                message = None
            if message is LOST:
                raise self.lost()
            if message is not None and message.kind == "ended":
                return message.body
            if message is not None:
                on_report(unpack(message.body))
            if token is not None:
                token.check()

    def _give_up(self, number: int, future: Future[None]) -> None:
        """Leave no task behind: the next one would wait for it."""
        if future.done() or self.gone.is_set():
            return
        self.channel.send(Message("cancel", number))
        if not wait([future], GIVE_UP_S).done:
            self.kill(f"a cancelled task did not stop within {GIVE_UP_S:g} s")
            self.gone.wait(BURIAL_S)


def slice_s(token: RequestToken | None) -> float | None:
    """How long to wait before looking at the token: a cancellation cannot wake a waiter."""
    return None if token is None else min(SLICE_S, token.remaining_s())


def _timeout_s(token: RequestToken | None) -> float | None:
    left_s = float("inf") if token is None else token.remaining_s()
    return None if left_s == float("inf") else left_s


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep spawn from importing `__main__` in the new process: here that is the whole server."""
    with _MAIN:
        names = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {n: names[n] for n in ("__file__", "__spec__") if n in names}
        names.update(dict.fromkeys(hidden))
        try:
            yield
        finally:
            names.update(hidden)
