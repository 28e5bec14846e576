"""Several recordings in one go: voices side by side, and a zip of what came of it."""

from __future__ import annotations

import json
import logging
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO

from rvc_core.errors import Cancelled, DeadlineExceeded
from server.errors import Draining
from server.jobs.items import Done
from server.jobs.records import Item
from server.jobs.shapes import INTERNAL, NAMED, error_shape, fault_of

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
STOPPERS = (Cancelled, DeadlineExceeded, Draining)  # these end the whole, not one item

DoItem = Callable[[int], Done]


class Halt(Exception):
    """Raised by `do_item` to end the whole batch for the reason inside."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def convert_all(items: Sequence[Item], do_item: DoItem, n_at_once: int) -> list[Done]:
    """What became of each item; `do_item` converts the one of that number.

    Items of one voice come one after the other, those of several side by side. An item that
    fails is no reason to stop; the end of the whole is: then its error is raised.
    """
    voices: dict[str | None, list[int]] = {}
    for number, item in enumerate(items):
        voices.setdefault(item.voice, []).append(number)
    done: dict[int, Done] = {}
    stop = threading.Event()

    def one_voice(numbers: list[int]) -> None:
        for number in numbers:
            if stop.is_set():
                return
            try:
                done[number] = _try(items[number], number, do_item)
            except BaseException:
                stop.set()
                raise

    with ThreadPoolExecutor(max(1, min(n_at_once, len(voices))), "batch") as pool:
        started = [pool.submit(one_voice, numbers) for numbers in voices.values()]
    for future in started:
        error = future.exception()
        if error is not None:
            raise error.reason if isinstance(error, Halt) else error
    return [done[number] for number in range(len(items))]


def write_zip(
    file: IO[bytes], done: Sequence[Done], content: Callable[[int], bytes | Path]
) -> None:
    """Write the converted files and a manifest of all items; audio is not compressed."""
    now = time.gmtime()[:6]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        manifest = {"items": [asdict(one) for one in done]}
        text = json.dumps(manifest, ensure_ascii=False, indent=2)
        archive.writestr(zipfile.ZipInfo(MANIFEST, now), text)
        for number, one in enumerate(done):
            if one.file is not None:
                given = content(number)
                data = given.read_bytes() if isinstance(given, Path) else given
                archive.writestr(zipfile.ZipInfo(one.file, now), data)


def _try(item: Item, number: int, do_item: DoItem) -> Done:
    if item.fault is not None:
        return Done(item.name, "error", error=error_shape(item.fault))
    try:
        return do_item(number)
    except (*STOPPERS, Halt):
        raise
    except NAMED as error:
        return Done(item.name, "error", error=error_shape(fault_of(error)))
    except Exception:
        logger.exception("Item %r of a batch failed.", item.name)
        return Done(item.name, "error", error=error_shape(INTERNAL))
