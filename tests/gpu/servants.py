"""Servants that do what a test tells them, for a process of their own."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu.worker_process import TaskControl


class KeywordError(Exception):
    """An error that cannot be made from its `args`."""

    code = "keyword"

    def __init__(self, *, param: str, value: object) -> None:
        super().__init__(f"{param} must not be {value}")
        self.param = param
        self.value = value


class LockedError(Exception):
    """An error that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class FakeServant:
    """Each task is a function of its control; `mood` is its status."""

    def __init__(self) -> None:
        self.mood = "calm"
        self.at_close: Path | None = None

    def run(self, task: Callable[[TaskControl], Any], control: TaskControl) -> Any:
        return task(control)

    def status(self) -> dict[str, str]:
        if self.mood == "ill":
            raise RuntimeError("no status")
        return {"mood": self.mood}

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return getattr(self, f"call_{name}")(**arguments)

    def call_feel(self, mood: str) -> str:
        before, self.mood = self.mood, mood
        return before

    def call_fail(self) -> None:
        raise KeywordError(param="name", value="fail")

    def call_hang(self) -> None:
        self.mood = "hanging"
        threading.Event().wait()

    def call_leave_note(self, path: str) -> None:
        self.at_close = Path(path)

    def close(self) -> None:
        if self.at_close is not None:
            self.at_close.write_text("closed")


def refuse() -> FakeServant:
    """A build that always fails."""
    raise RuntimeError("no such device")


def hang_in_build() -> FakeServant:
    """A build that never ends."""
    threading.Event().wait()
    raise AssertionError


# Tasks


def give_pid(control: TaskControl) -> int:
    return os.getpid()


def give_timeout(control: TaskControl) -> float | None:
    return control.timeout_s


def give_lock(control: TaskControl) -> object:
    return threading.Lock()


def give_back(body: bytes, control: TaskControl) -> bytes:
    return body


def give_main(control: TaskControl) -> str | None:
    """The file that `__main__` came from, in the worker's process."""
    import __main__

    return getattr(__main__, "__file__", None)


def sleep(seconds: float, control: TaskControl) -> None:
    time.sleep(seconds)


def count(last: int, control: TaskControl) -> str:
    for number in range(last):
        control.report(number)
    return "counted"


def raise_keyword(control: TaskControl) -> None:
    raise KeywordError(param="pitch", value=7)


def raise_locked(control: TaskControl) -> None:
    raise LockedError


def raise_exit(control: TaskControl) -> None:
    raise SystemExit(3)


def hold(control: TaskControl) -> str:
    """Report that it runs, then wait to be cancelled; report that too."""
    cancelled = threading.Event()
    control.on_cancel(cancelled.set)
    control.report("running")
    cancelled.wait()
    control.report("gave up")
    return "too late"


def stick(control: TaskControl) -> None:
    """Report that it runs, then never end, whatever happens."""
    control.report("running")
    threading.Event().wait()


def wedge(control: TaskControl) -> None:
    """Keep the interpreter: no other thread of the process runs any more."""
    control.report("wedged")
    ctypes.PyDLL(None).sleep(60)
