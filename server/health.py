"""Whether conversions would be served now, and what stands against it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rvc_core.errors import CoreError
from server.canary import Canary
from server.records import ReadyState
from server.settings import Settings

if TYPE_CHECKING:
    from engines.rvc import RvcEngine
    from server.fleet import Fleet
    from server.metrics import Metrics
    from server.models import ModelRegistry

DISK_S = 10.0  # for so long a look at the disk holds good
PROBE_BYTES = b"\0" * 4096


class Disk:
    """Tells whether files can be written to a folder, looking now and then."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._looked_at: float | None = None
        self._problem: str | None = None

    def problem(self) -> str | None:
        """What keeps files from being written, for people."""
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= DISK_S:
            self._problem, self._looked_at = self._look(), now
        return self._problem

    def _look(self) -> str | None:
        if not self._folder.exists():
            parent = next(path for path in self._folder.absolute().parents if path.exists())
            can_be_made = os.access(parent, os.W_OK)
            return None if can_be_made else f"{self._folder} is not there and cannot be made."
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                file.write(PROBE_BYTES)
        except OSError as error:
            return f"{self._folder} cannot be written: {error.strerror}."
        return None


class Health:
    """What /ready tells; `canary` runs from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        engine: RvcEngine,
        registry: ModelRegistry,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._engine = engine
        self._registry = registry
        self.disk = Disk(settings.outputs_dir)
        self.canary = Canary(
            settings.canary_seconds,
            lambda: fleet.admission.n_inside,
            lambda: {i: tally.completed for i, tally in metrics.tally.view().devices.items()},
            fleet.try_voices,
        )

    def ready(self, voice: str | None = None) -> ReadyState:
        """Whether a conversion would be served now, with `voice` if given.

        One good device is enough; what is wrong with the others is told all the same. A voice
        need not be loaded. Raises `VoiceNotFound`.
        """
        bad = self._fleet.problems(self.canary.problems())
        against, notes = ([], bad) if self._fleet.is_served(self.canary.problems()) else (bad, [])
        if self._fleet.admission.is_closed:
            against.append("The server is shutting down.")
        if not self._engine.content_encoders():
            folder = self._settings.models_dir / "content"
            against.append(f"No content encoder is in {folder}.")
        disk = self.disk.problem()
        if disk is not None:
            against.append(disk)
        if not self._registry.voices():
            notes.append(f"No voice is in {self._settings.voices_dir}.")
        against += self._against(voice)
        return ReadyState(not against, (*against, *notes))

    def _against(self, voice: str | None) -> list[str]:
        if voice is None:
            return []
        entry = self._registry.find(voice)
        try:
            self._engine.content(self._engine.describe(entry.path, entry.identity))
        except CoreError as error:
            return [error.message]
        state, _ = self._fleet.states().get(entry.name, ("unloaded", None))
        return [f"{entry.name} could not be loaded."] if state == "failed" else []
