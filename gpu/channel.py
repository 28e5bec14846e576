"""The pipe between a worker and its process: all but a task's argument and result."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

UpKind = Literal["hello", "ready", "failed", "beat", "report", "ended", "answer"]
DownKind = Literal["cancel", "call", "stop"]


@dataclass(frozen=True)
class Message:
    """One message; `number` is the task's or the call's, in a hello the process's id."""

    kind: UpKind | DownKind
    number: int = 0
    body: bytes = b""


class Channel:
    """One end of the pipe: any thread may send, one receives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> bool:
        """Send; False if the other end is gone."""
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            return False
        return True

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message, None if none comes in time; `EOFError` once the other end is gone."""
        try:
            if not self._connection.poll(timeout_s):
                return None
            message: Message = self._connection.recv()
        except OSError as error:  # it died in the midst of a message
            raise EOFError from error
        return message

    def close(self) -> None:
        """Close this end; only by the thread that receives."""
        with self._sending:
            self._connection.close()
