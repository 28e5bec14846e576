"""Has strangers' files read by a process that can do no harm and can be ended at any time."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rvc_core.errors
from rvc_core.errors import CoreError
from rvc_core.token import Token
from server.errors import InspectionFailed

logger = logging.getLogger(__name__)

SLICE_S = 0.1  # how late the end of a token may be noticed
WALL_S = 300.0
ROOT = Path(__file__).resolve().parents[2]
CODE = "import sys; sys.path.insert(0, sys.argv[1]); from server.voices.child import main; main()"
ENVIRONMENT = {  # all of it: keys and tokens of the server stay with the server
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True)
class Job:
    """What to inspect: a voice, an index or both; what is kept of them is put into `folder`.

    `content_dim` is the width that an index must have which comes alone; None = any.
    """

    folder: Path
    voice: Path | None
    index: Path | None
    content_dim: int | None
    max_bytes: int

    def to_json(self) -> str:
        """What the other process reads."""
        return json.dumps(vars(self), default=str)


Inspect = Callable[[Job, Token], dict[str, Any]]


class Inspector:
    """Runs one inspection at a time; what comes meanwhile waits, as long as its token lets it."""

    def __init__(self, wall_s: float = WALL_S) -> None:
        self._wall_s = wall_s
        self._turn = threading.Lock()

    def __call__(self, job: Job, token: Token) -> dict[str, Any]:
        """The facts; raise what was found wrong with the files, or what `token` raises."""
        with self._my_turn(token), _process() as process:
            deadline = Token(self._wall_s)
            text: str | None = job.to_json()
            while True:
                try:
                    output, log = process.communicate(text, timeout=SLICE_S)
                    break
                except subprocess.TimeoutExpired:
                    text = None
                    token.check()
                    if deadline.remaining_s() <= 0:
                        raise InspectionFailed(
                            f"Reading the file took longer than {self._wall_s:g} s."
                        ) from None
        return _read_answer(output, log, process.returncode)

    @contextmanager
    def _my_turn(self, token: Token) -> Iterator[None]:
        while not self._turn.acquire(timeout=SLICE_S):
            token.check()
        try:
            token.check()
            yield
        finally:
            self._turn.release()


@contextmanager
def _process() -> Iterator[subprocess.Popen[str]]:
    """The process; it does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", CODE, str(ROOT)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _read_answer(output: str, log: str, status: int) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output) if status == 0 else {}
    except ValueError:
        answer = {}
    if "error" in answer:
        raise _error(**answer["error"])
    if not answer:
        logger.warning("An inspection ended with status %d: %s", status, log.strip()[-1000:])
        raise InspectionFailed("Reading the file took more memory or time than uploads get.")
    return answer


def _error(code: str, message: str, param: str | None) -> CoreError | InspectionFailed:
    named = {
        kind.code: kind
        for kind in vars(rvc_core.errors).values()
        if isinstance(kind, type) and issubclass(kind, CoreError)
    }
    return named[code](message, param=param) if code in named else InspectionFailed(message)
