"""The verbs of the server; every door calls them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from rvc_core.errors import Cancelled
from rvc_core.token import Token
from server.audience import Audience
from server.catalogue import Catalogue
from server.conversion import DeviceConverter
from server.devices import list_devices
from server.errors import Draining, ModelInUse
from server.fleet import Fleet, OpenLanes
from server.gpu_metrics import FleetCollector
from server.health import Health
from server.jobs.jobs import Jobs
from server.lanes import open_lanes, open_local
from server.metrics import Journey, Metrics
from server.operations import Operations
from server.placement import Priority
from server.recordings import check_source, read_recording
from server.records import ConversionTask, Loaded, LoadRequest, LoadTask, ResultPart
from server.records import ConvertRequest as ConvertRequest
from server.records import ConvertResult as ConvertResult
from server.records import ReadyState as ReadyState
from server.records import VoiceInfo as VoiceInfo
from server.settings import Settings
from server.voices.desk import VoiceDesk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gpu_manager import GPUResourceManager
    from rvc_core.audio import Audio
    from rvc_core.run import Progress

logger = logging.getLogger(__name__)

STAGES = ("queue", "load", "feature", "f0", "synth", "total")
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
        self.catalogue = Catalogue(settings, local, self._fleet)
        self.desk = VoiceDesk(local, settings, self.unload)
        self.metrics = metrics or Metrics(CollectorRegistry())
        self.metrics.registry.register(FleetCollector(self._fleet, self.registry.voices))
        self.operations = Operations(settings, self._fleet, self.registry)
        self.health = Health(settings, self._fleet, self.engine, self.registry, self.metrics)
        local.leases.on_pressure = self._admission.set_pressure
        self.jobs = Jobs(settings, self.convert, self._n_at_once, self.metrics.registry)

    @property
    def gpu(self) -> GPUResourceManager:
        """The manager of this process's models."""
        return self.leases.gpu

    def convert(
        self,
        request: ConvertRequest,
        token: Token,
        on_progress: Callable[[Progress], None] | None = None,
        on_part: Callable[[ResultPart], None] | None = None,
    ) -> ConvertResult:
        """Convert one recording; raise a typed error when it cannot be done or `token` ends."""
        audience = Audience(on_progress, on_part)
        with token.governing():
            return self.metrics.observe(partial(self._convert, request, token, audience), token)

    def reserve(self) -> AbstractContextManager[None]:
        """Keep room for a conversion that is yet to be read; raise `QueueFull` or `Draining`."""
        return self._admission.reserve(self.metrics.note_refused)

    def f0_curve(self, audio: Audio) -> NDArray[np.float64]:
        """The pitch of `audio` in Hz on a 10 ms grid, 0 where it is unvoiced; for people to see."""
        return self._local.f0_curve(audio, self.engine.curve_method())

    def voices(self) -> list[VoiceInfo]:
        """All voices on disk, those whose file cannot be used too."""
        return self.catalogue.voices()

    def default_voice(self) -> str | None:
        """The voice of requests that name none."""
        return self.catalogue.default()

    def gpu_status(self) -> dict[str, Any]:
        """All devices with their models, workers and queues, as plain values for JSON."""
        return self._fleet.status()

    def offload(
        self, voice: str | None = None, timeout_s: float = 10.0, cancel: bool = False
    ) -> dict[str, Any]:
        """Move a voice, or all models that are not pinned, to host memory on every device.

        `cancel` ends the conversions that use them.
        """
        return self._force("offload", voice, timeout_s, cancel)

    def release(
        self, voice: str | None = None, timeout_s: float = 10.0, cancel: bool = False
    ) -> dict[str, Any]:
        """Drop a voice, or all models that are not pinned, from every device and from memory."""
        return self._force("release", voice, timeout_s, cancel)

    def load(self, wanted: LoadRequest, token: Token) -> Loaded:
        """Bring a voice to a device, or to host memory; raise what a conversion with it would."""
        entry = self.registry.find(wanted.voice)
        self.catalogue.describe(entry)  # is it a voice?
        if wanted.pinned is not None:
            self._fleet.set_pinned(entry.name, wanted.pinned)
        pinned = self.leases.is_pinned(entry.name)
        task = LoadTask(entry, wanted.to_host, wanted.request_id, pinned)
        return self._fleet.load(task, token)

    def unload(self, voice: str, force: bool = False) -> None:
        """Have all devices forget a voice; raise `ModelInUse` if one has it in use, or pinned.

        `force` unpins it and ends the conversions that use it.
        """
        name = self.registry.find(voice).name
        if force:
            self._fleet.set_pinned(name, False)
        elif self.leases.is_pinned(name):
            raise ModelInUse(f"The voice {name!r} is pinned.", param="model")
        moved = self._fleet.force("release", name, GIVE_UP_S if force else 0.0, cancel=force)
        if moved["skipped"]:
            raise ModelInUse(f"The voice {name!r} is in use.", param="model")

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
            self.health.canary.start()
        if self._admission.is_closed:
            return
        for problem in self._fleet.problems():
            logger.error("A device is not ready: %s", problem)
        if self._fleet.is_local:
            self._read_ahead()
            self.engine.warm_up()
        self.jobs.start()

    def ready(self, voice: str | None = None) -> ReadyState:
        """Whether a conversion would be served now, with `voice` if given."""
        return self.health.ready(voice)

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
        self.jobs.stop()
        self._admission.close()
        was_busy = self._admission.n_inside > 0
        if not self._admission.wait_empty(timeout_s):
            logger.warning("%d conversions did not end in time.", self._admission.n_inside)
            self._admission.cancel_all()
            self._admission.wait_empty(GIVE_UP_S)
        self.jobs.wait_idle(GIVE_UP_S)
        return was_busy

    def close(self) -> None:
        """Let all models go; conversions fail from now on."""
        self.health.canary.stop()
        self._admission.close()
        self.jobs.close()
        self._fleet.close()
        self._local.close()

    # What the verbs are made of.

    def _convert(
        self,
        request: ConvertRequest,
        token: Token,
        audience: Audience,
        journey: Journey,
    ) -> ConvertResult:
        started = time.perf_counter()
        check_source(request, self.settings)
        try:
            with self._admission.admit(token):
                task = replace(self._prepare(request, token), streams=audience.wants_parts)
                hear = audience.follow(journey)
                done = self._fleet.convert(task, token, request.priority, hear, journey)
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

    def _n_at_once(self) -> int:
        return len(self.devices) * self.settings.concurrent_conversions

    def _read_ahead(self) -> None:
        from rvc_core import audio, content  # noqa: F401 - every request needs them

        self.voices()

    def _prepare(self, request: ConvertRequest, token: Token) -> ConversionTask:
        entry = self.registry.choose(request.voice, self.settings.default_voice)
        facts = self.catalogue.describe(entry)
        uses_f0 = facts.config.uses_f0
        index = entry.index if request.index is None else self.registry.find_index(request.index)
        self.engine.content(facts)  # is it there?
        return ConversionTask(
            entry=entry,
            audio=read_recording(request, self.settings, token),
            options=request.options,
            request_id=request.request_id,
            index=index,
            f0_method=self.engine.f0_method(request.options.f0_method) if uses_f0 else None,
            is_batch=request.priority is Priority.BATCH,
            keep_alive_s=request.keep_alive_s,
            is_pinned=self.leases.is_pinned(entry.name),
        )

    def _force(
        self, action: str, voice: str | None, timeout_s: float, cancel: bool
    ) -> dict[str, Any]:
        name = None if voice is None else self.registry.find(voice).name
        return self._fleet.force(action, name, timeout_s, cancel)


def build_services(settings: Settings, metrics: Metrics | None = None) -> Services:
    """Services over the real engine and the devices that the settings ask for."""
    devices = list_devices(settings)
    local = open_local(settings, devices)
    return Services(settings, local, partial(open_lanes, settings, local, devices), metrics)
