"""The verbs of the server; every door calls them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from rvc_core.errors import Cancelled, CoreError
from rvc_core.library import VoiceEntry
from rvc_core.token import Token
from server.conversion import DeviceConverter
from server.devices import list_devices
from server.errors import Draining
from server.fleet import Fleet, OpenLanes
from server.gpu_metrics import FleetCollector
from server.lanes import open_lanes, open_local
from server.metrics import Journey, Metrics
from server.placement import Priority
from server.records import ConversionTask
from server.records import ConvertRequest as ConvertRequest
from server.records import ConvertResult as ConvertResult
from server.records import ReadyState as ReadyState
from server.records import VoiceInfo as VoiceInfo
from server.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gpu_manager import GPUResourceManager
    from rvc_core.audio import Audio
    from rvc_core.run import Progress
    from rvc_core.voice import VoiceFacts

logger = logging.getLogger(__name__)

STAGES = ("queue", "load", "feature", "f0", "synth", "total")
UNUSED = ("unloaded", None)
GIVE_UP_S = 5.0  # for cancelled work to notice


class Services:
    """Converts, lists voices and knows how the server is; safe to call from any thread.

    `local` is the converter of this process: it serves pitch curves, and conversions where it is
    one of the lanes. `metrics` are this instance's alone; without them it has its own registry.
    """

    def __init__(
        self,
        settings: Settings,
        local: DeviceConverter,
        open_lanes: OpenLanes,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings
        self.leases = local.leases
        self.engine = local.engine
        self.registry = local.registry
        self.warmed = threading.Event()
        self._local = local
        self._fleet = Fleet(settings, open_lanes)
        self._admission = self._fleet.admission
        self.metrics = metrics or Metrics(CollectorRegistry())
        self.metrics.registry.register(FleetCollector(self._fleet, self.registry.voices))
        local.leases.on_pressure = self._admission.set_pressure

    @property
    def gpu(self) -> GPUResourceManager:
        """The manager of this process's models."""
        return self.leases.gpu

    def convert(
        self,
        request: ConvertRequest,
        token: Token,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ConvertResult:
        """Convert one recording; raise a typed error when it cannot be done or `token` ends."""
        return self.metrics.observe(partial(self._convert, request, token, on_progress))

    def f0_curve(self, audio: Audio) -> NDArray[np.float64]:
        """The pitch of `audio` in Hz on a 10 ms grid, 0 where it is unvoiced; for people to see."""
        return self._local.f0_curve(audio, self.engine.curve_method())

    def voices(self) -> list[VoiceInfo]:
        """All voices on disk, those whose file cannot be used too."""
        entries = self.registry.voices()
        self.leases.forget_all_but(entries)
        states = self._fleet.states()
        return [self._voice_info(e, *states.get(e.name, UNUSED)) for e in entries.values()]

    def default_voice(self) -> str | None:
        """The voice of requests that name none."""
        if self.settings.default_voice:
            return self.settings.default_voice
        names = list(self.registry.voices())
        return names[0] if len(names) == 1 else None

    def gpu_status(self) -> dict[str, Any]:
        """All devices with their models, workers and queues, as plain values for JSON."""
        return self._fleet.status()

    def offload(self, voice: str | None = None, timeout_s: float = 10.0) -> dict[str, Any]:
        """Move a voice, or all models that are not pinned, to host memory on every device."""
        return self._force("offload", voice, timeout_s)

    def release(self, voice: str | None = None, timeout_s: float = 10.0) -> dict[str, Any]:
        """Drop a voice, or all models that are not pinned, from every device and from memory."""
        return self._force("release", voice, timeout_s)

    def set_pinned(self, voice: str, pinned: bool) -> None:
        """Keep a voice on its devices once it is there, or no longer; raise `VoiceNotFound`."""
        name = self.registry.find(voice).name
        self._fleet.set_pinned(name, pinned)

    def warm_up(self) -> None:
        """Load what every conversion needs: the content encoders and the default F0 estimator.

        Once that is done the server is ready. What makes first calls slow is read before it where
        workers do the loading meanwhile, and else after it.
        """
        try:
            if not self._fleet.is_local:
                self._read_ahead()
            self._fleet.warm_up()
        finally:
            self.warmed.set()
        if self._admission.is_closed:
            return
        for problem in self._fleet.problems():
            logger.error("A device is not ready: %s", problem)
        if self._fleet.is_local:
            self._read_ahead()
            self.engine.warm_up()

    def ready(self) -> ReadyState:
        """Whether a conversion would be served now; one good device is enough."""
        problems = self._fleet.problems()
        against, notes = ([], problems) if self._fleet.is_served else (problems, [])
        if self._admission.is_closed:
            against.append("The server is shutting down.")
        if not self.engine.content_encoders():
            against.append(f"No content encoder is in {self.settings.models_dir / 'content'}.")
        if not self.registry.voices():
            notes.append(f"No voice is in {self.settings.voices_dir}.")
        return ReadyState(not against, (*against, *notes))

    @property
    def devices(self) -> list[str]:
        """The devices that convert."""
        return self._fleet.devices

    def is_alive(self) -> bool:
        """Whether the loops that everything depends on still turn."""
        return self.leases.is_alive()

    def drain(self, timeout_s: float) -> bool:
        """Refuse new work, let running work end for `timeout_s`, then cancel it.

        The answer says whether there was work.
        """
        self._admission.close()
        was_busy = self._admission.n_inside > 0
        if not self._admission.wait_empty(timeout_s):
            logger.warning("%d conversions did not end in time.", self._admission.n_inside)
            self._admission.cancel_all()
            self._admission.wait_empty(GIVE_UP_S)
        return was_busy

    def close(self) -> None:
        """Let all models go; conversions fail from now on."""
        self._admission.close()
        self._fleet.close()
        self._local.close()

    # What the verbs are made of.

    def _convert(
        self,
        request: ConvertRequest,
        token: Token,
        on_progress: Callable[[Progress], None] | None,
        journey: Journey,
    ) -> ConvertResult:
        started = time.perf_counter()
        try:
            with self._admission.admit(token):
                task = self._prepare(request)
                done = self._fleet.convert(task, token, request.priority, on_progress, journey)
        except Cancelled:
            if self._admission.is_closed:
                raise Draining("The server is shutting down.", retry_after_s=10) from None
            raise
        conversion = done.conversion
        timings = {
            **{stage: conversion.timings.get(stage, 0.0) for stage in STAGES},
            "queue": journey.waited_s + done.queue_s,
            "load": done.load_s,
            "total": time.perf_counter() - started,
        }
        return ConvertResult(
            audio=conversion.audio,
            voice=task.entry.name,
            device=done.device,
            state_at_arrival=done.state_at_arrival,
            timings=timings,
            source_f0=conversion.source_f0,
            warnings=conversion.warnings,
        )

    def _read_ahead(self) -> None:
        from rvc_core import audio, content  # noqa: F401 - every request needs them

        self.voices()

    def _prepare(self, request: ConvertRequest) -> ConversionTask:
        from rvc_core.audio import read_audio

        entry = self.registry.choose(request.voice, self.settings.default_voice)
        facts = self._facts(entry)
        uses_f0 = facts.config.uses_f0
        index = entry.index if request.index is None else self.registry.find_index(request.index)
        self.engine.content(facts)  # is it there?
        return ConversionTask(
            entry=entry,
            audio=read_audio(request.audio, self.settings.max_audio_seconds),
            options=request.options,
            request_id=request.request_id,
            index=index,
            f0_method=self.engine.f0_method(request.options.f0_method) if uses_f0 else None,
            is_batch=request.priority is Priority.BATCH,
            keep_alive_s=request.keep_alive_s,
            is_pinned=self.leases.is_pinned(entry.name),
        )

    def _force(self, action: str, voice: str | None, timeout_s: float) -> dict[str, Any]:
        name = None if voice is None else self.registry.find(voice).name
        return self._fleet.force(action, name, timeout_s)

    def _facts(self, entry: VoiceEntry) -> VoiceFacts:
        return self.engine.describe(entry.path, entry.identity)

    def _voice_info(self, entry: VoiceEntry, state: str, device: str | None) -> VoiceInfo:
        facts, problem = None, None
        try:
            facts = self._facts(entry)
        except CoreError as error:
            problem = error.message
        return VoiceInfo(
            id=entry.name,
            engine="rvc",
            kind="voice",
            sample_rate=facts.config.sample_rate if facts else None,
            version=facts.version if facts else None,
            f0=facts.config.uses_f0 if facts else None,
            speakers=facts.config.n_speakers if facts else None,
            content=facts.content if facts else None,
            index=entry.index is not None,
            bytes=entry.size,
            state=state,
            device=device,
            pinned=self.leases.is_pinned(entry.name),
            card=facts.card if facts else {},
            error=problem,
        )


def build_services(settings: Settings, metrics: Metrics | None = None) -> Services:
    """Services over the real engine and the devices that the settings ask for."""
    devices = list_devices(settings)
    local = open_local(settings, devices)
    return Services(settings, local, partial(open_lanes, settings, local, devices), metrics)
