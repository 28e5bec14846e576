"""The child's side of a worker: what runs in the process of its own."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Protocol

from gpu.channel import Channel, Message
from gpu.effects import attempt
from gpu.parcel import pack_outcome, unpack

HEARTBEAT_S = 1.0


class TaskControl:
    """What a running task may ask and tell; `timeout_s` is what its request has left."""

    def __init__(self, timeout_s: float | None, send: Callable[[bytes], object]) -> None:
        self.timeout_s = timeout_s
        self._send = send
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._cancelled = False

    def report(self, progress: Any) -> None:
        """Hand `progress` to whoever waits for the task."""
        self._send(pickle.dumps(progress))

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, in another thread, or here and now if it is too late."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def cancel(self) -> None:
        """Call the callbacks, the first time."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class Servant(Protocol):
    """What works in the process; the worker knows nothing of what it does."""

    def run(self, task: Any, control: TaskControl) -> Any:
        """Do the task; give up soon after `control` says so."""

    def status(self) -> Any:
        """What it is like now: small, quick to say, picklable."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a small question, beside a running task and in another thread."""

    def close(self) -> None:
        """Let go of everything; the process ends afterwards."""


class Host:
    """Keeps the servant: listens to the parent, sends heartbeats, runs tasks."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._running: tuple[int, TaskControl] | None = None
        self._cancelled = 0  # the last task that was cancelled; it may be yet to come
        self._servant: Servant

    def open(self, build: bytes) -> None:
        """Build the servant; the process ends if that fails."""
        self._channel.send(Message("hello", os.getpid()))
        _start(self._listen)
        servant, error = attempt(lambda: unpack(build)(), "Building the worker's servant")
        if servant is None:
            text = f"{type(error).__name__}: {error}"
            self._channel.send(Message("failed", body=text.encode()))
            _leave()
        self._servant = servant
        self._channel.send(Message("ready", body=self._status()))
        _start(self._beat)

    def run(self, number: int, task: bytes, timeout_s: float | None) -> None:
        """Let the servant do the task and send its outcome."""
        control = self._begin(number, timeout_s)
        outcome = pack_outcome(lambda: self._servant.run(unpack(task), control))
        with self._lock:
            self._running = None
        self._channel.send(Message("ended", number, outcome))
        self._wake.set()

    def close(self) -> None:
        """Close the servant."""
        attempt(self._servant.close, "Closing the worker's servant")

    def _begin(self, number: int, timeout_s: float | None) -> TaskControl:
        def report(progress: bytes) -> None:
            self._channel.send(Message("report", number, progress))

        control = TaskControl(timeout_s, report)
        with self._lock:
            self._running = (number, control)
            if self._cancelled == number:
                control.cancel()
        return control

    def _listen(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except EOFError:
                _leave()  # the parent is dead: an orphan must not keep the device
            assert message is not None
            if message.kind == "stop":
                _leave()
            # In threads of their own: whatever they do, this one hears the parent.
            _start(self._cancel if message.kind == "cancel" else self._answer, message)

    def _cancel(self, message: Message) -> None:
        with self._lock:
            self._cancelled = message.number
            running = self._running
        if running is not None and running[0] == message.number:
            running[1].cancel()

    def _answer(self, message: Message) -> None:
        def call() -> Any:
            name, arguments = unpack(message.body)
            return self._servant.call(name, arguments)

        self._channel.send(Message("answer", message.number, pack_outcome(call)))
        self._wake.set()

    def _beat(self) -> None:
        while True:
            self._wake.wait(HEARTBEAT_S)
            self._wake.clear()
            self._channel.send(Message("beat", body=self._status()))

    def _status(self) -> bytes:
        status, _ = attempt(lambda: pickle.dumps(self._servant.status()), "The worker's status")
        return pickle.dumps(None) if status is None else status


# The executor hands its tasks no object of ours, but runs them in the thread and so in the
# context of its initializer.
HOST: ContextVar[Host] = ContextVar("HOST")


def open_host(connection: Connection, build: bytes) -> None:
    """Be the first thing that runs in the process; `build` is a pickled callable."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both may go to the whole group, and are
        signal.signal(number, signal.SIG_IGN)  # the parent's affair: without it we end anyway
    host = Host(Channel(connection))
    HOST.set(host)
    host.open(build)


def run_task(number: int, task: bytes, timeout_s: float | None) -> None:
    """Do a task in the process.

    Its outcome goes through our pipe. If a process is killed while it writes to the executor's,
    the executor waits for the rest for ever: the parent holds the writing end of that one.
    """
    HOST.get().run(number, task, timeout_s)


def close_servant() -> None:
    """Close the servant in the process."""
    HOST.get().close()


def _start(work: Callable[..., object], *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _leave() -> NoReturn:
    os._exit(1)  # at once: a thread in the midst of a task cannot be unwound
