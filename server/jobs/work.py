"""What it takes to do a job: its items one by one, each kept when it is done.

A job that is started again finds what was converted before, so nothing is converted twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rvc_core.run import Progress
from rvc_core.token import Token
from server.errors import ServerError
from server.jobs.batches import Halt, convert_all, write_zip
from server.jobs.changes import Changes, Step
from server.jobs.errors import JobFilesLost
from server.jobs.files import JobFiles, input_name
from server.jobs.items import Convert, Done, Work, convert_item, share_of
from server.jobs.records import CONVERT, Job, Result
from server.jobs.store import JobStore
from server.logs import logging_as

NOTE_S = 1.0  # how often progress goes to the database, for other servers to show
ZIP = "application/zip"


@dataclass(frozen=True)
class Tools:
    """What doing jobs needs; `is_later` tells errors that call for another try of the job."""

    store: JobStore
    files: JobFiles
    changes: Changes
    convert: Convert
    is_later: Callable[[Exception], bool]
    n_at_once: int


def do_job(tools: Tools, job: Job, token: Token) -> Result:
    """Convert all items of a job and write its result; raise what ends the job otherwise."""
    tracker = Tracker(tools, job, token)
    do_item = partial(_do_item, tools, job, tracker)
    if job.order.kind == CONVERT:
        with logging_as(job.id):
            return _single_result(tools, job, do_item(0))
    done = convert_all(job.order.items, partial(_halting, tools, do_item), tools.n_at_once)
    kept = {number: _find_done(tools, job, number) for number in range(len(done))}
    name = f"result-{job.fence}.zip"

    def content(number: int) -> Path:
        found = kept[number]
        assert found is not None  # an item with a file has been kept
        return tools.files.path(job.id, found[1])

    size_bytes = tools.files.write(job.id, name, lambda file: write_zip(file, done, content))
    n_ok = sum(one.status == "ok" for one in done)
    return Result(name, ZIP, size_bytes, {"items": len(done), "failed": len(done) - n_ok})


def _halting(tools: Tools, do_item: Callable[[int], Done], number: int) -> Done:
    try:
        return do_item(number)
    except ServerError as error:
        if tools.is_later(error) or isinstance(error, JobFilesLost):
            raise Halt(error) from error
        raise


def _do_item(tools: Tools, job: Job, tracker: Tracker, number: int) -> Done:
    found = _find_done(tools, job, number)
    if found is None:
        on_progress = partial(tracker.note, number)
        work = Work(job.id, tracker.token, on_progress, job.order.priority)
        with logging_as(job.id):
            audio = _read_input(tools, job, number)
            done, encoded = convert_item(tools.convert, job.order.items[number], audio, work)
        _keep_done(tools, job, number, done, encoded)
    else:
        done = found[0]
    tracker.finish(number)
    return done


def _read_input(tools: Tools, job: Job, number: int) -> bytes:
    if not job.order.items[number].has_recording:
        return b""
    try:
        return tools.files.path(job.id, input_name(number)).read_bytes()
    except FileNotFoundError:
        raise JobFilesLost("The job's recordings are gone.") from None


def _keep_done(tools: Tools, job: Job, number: int, done: Done, encoded: bytes) -> None:
    """The audio first: a note about it means that it is there."""
    file = f"audio-{number}-{job.fence}"
    tools.files.write(job.id, file, lambda out: out.write(encoded))
    note = json.dumps({"done": asdict(done), "file": file}).encode()
    tools.files.write(job.id, f"done-{number}-{job.fence}.json", lambda out: out.write(note))


def _find_done(tools: Tools, job: Job, number: int) -> tuple[Done, str] | None:
    """What an item became, now or before, and the file of its audio."""
    names = tools.files.names(job.id)
    start = f"done-{number}-"
    notes = sorted(name for name in names if name.startswith(start) and name.endswith(".json"))
    if not notes:
        return None
    note = json.loads(tools.files.path(job.id, notes[0]).read_bytes())
    done = {**note["done"], "warnings": tuple(note["done"]["warnings"])}
    return Done(**done), note["file"]


def _single_result(tools: Tools, job: Job, done: Done) -> Result:
    from rvc_core.audio import AUDIO_FORMATS

    found = _find_done(tools, job, 0)
    assert found is not None
    facts = {
        name: value
        for name, value in asdict(done).items()
        if name not in {"name", "status", "file", "error"}
    }
    media_type = AUDIO_FORMATS[job.order.items[0].audio_format]
    size_bytes = tools.files.path(job.id, found[1]).stat().st_size
    return Result(found[1], media_type, size_bytes, facts)


class Tracker:
    """How far the items of a job are; tells who waits, and the database now and then.

    A job that is no longer its owner's is cancelled.
    """

    def __init__(self, tools: Tools, job: Job, token: Token) -> None:
        self.token = token
        self._tools = tools
        self._job = job
        self._lock = threading.Lock()
        self._shares = [0.0 if item.fault is None else 1.0 for item in job.order.items]
        self._noted = time.monotonic()

    def note(self, number: int, progress: Progress) -> None:
        """An item has come so far."""
        self._set(number, share_of(progress), progress)

    def finish(self, number: int) -> None:
        """An item is done."""
        self._set(number, 1.0, Progress("done", 1, 1))

    def _set(self, number: int, share: float, progress: Progress) -> None:
        with self._lock:
            self._shares[number] = max(self._shares[number], share)
            whole = sum(self._shares) / len(self._shares)
            is_due = time.monotonic() - self._noted >= NOTE_S
            self._noted = time.monotonic() if is_due else self._noted
        step = Step(whole, progress.stage, number, progress.done, progress.total)
        self._tools.changes.tell(self._job.id, step)
        if is_due and not self._tools.store.note_progress(self._job, whole, progress.stage):
            self.token.cancel()
