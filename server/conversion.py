"""Conversions on one device: in this process, or in the one that has the device to itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.rvc import ConversionModels, RvcEngine
from gpu.errors import GpuError
from gpu.force import ForceResult
from rvc_core.errors import CoreError
from rvc_core.token import Token
from server.canary import Trial, try_voice
from server.devices import MIB, gpu_builder
from server.errors import ServerError
from server.leases import Leases, Waits, Wish
from server.models import ModelRegistry
from server.records import ConversionTask, Converted, Loaded, LoadTask, ResultPart
from server.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rvc_core.audio import Audio
    from rvc_core.converter import Part
    from rvc_core.run import Progress
    from rvc_core.voice import VoiceFacts

logger = logging.getLogger(__name__)

MOVE_S = 60.0  # for conversions that came meanwhile to end, before a voice goes to host memory


class DeviceConverter:
    """Leases the models that a conversion needs and runs it; safe to call from any thread."""

    def __init__(self, settings: Settings, leases: Leases, engine: RvcEngine) -> None:
        leases.drop_caches = engine.indexes.clear
        self.leases = leases
        self.engine = engine
        self.registry = ModelRegistry(settings.voices_dir, settings.indexes_dir)

    def convert(
        self,
        task: ConversionTask,
        token: Token,
        on_report: Callable[[Progress | ResultPart], None] | None = None,
    ) -> Converted:
        """Convert one recording."""
        # Content encoder, then F0, then the voice: whoever has the voice waits for no more
        # models, so requests cannot wait for each other in a circle.
        waits = Waits()
        shared = Wish(task.request_id, waits, token, task.is_batch)
        own = replace(shared, keep_alive_s=task.keep_alive_s)
        self.leases.set_pinned(task.entry.name, task.is_pinned)  # a new process has not heard of it
        self.leases.forget_all_but(self.registry.voices())
        content_model = self.engine.content(self.facts(task.entry.path, task.entry.identity))
        voice = self.engine.voice(
            task.entry.name, self.registry.content_hash(task.entry), task.entry.path
        )
        with ExitStack() as stack:
            hold = stack.enter_context
            content = hold(self.leases.shared(content_model, shared))
            f0_model = self.engine.f0(task.f0_method) if task.f0_method else None
            f0 = hold(self.leases.shared(f0_model, shared)) if f0_model else None
            session = hold(self.leases.voice(task.entry.name, voice, own))
            gpu = self.leases.gpu
            make_room = partial(gpu.make_room, voice.id)
            models = ConversionModels(session, content, f0, task.index, make_room)
            convert = partial(self.engine.convert, models, task.audio, task.options, token)
            on_part = self._part_reporter(task, waits, on_report)
            done = gpu.work_with(voice.id, partial(convert, on_report, on_part))
        return Converted(done, self.leases.device, waits.state, waits.queue_s, waits.load_s)

    def _part_reporter(
        self,
        task: ConversionTask,
        waits: Waits,
        on_report: Callable[[ResultPart], None] | None,
    ) -> Callable[[Part], None] | None:
        if on_report is None or not task.streams:
            return None
        name, device = task.entry.name, self.leases.device

        def report(part: Part) -> None:
            on_report(ResultPart(part, name, device, waits.state, waits.queue_s))

        return report

    def load(self, task: LoadTask, token: Token) -> Loaded:
        """Bring a voice to this device, or to host memory, and say what became of it."""
        name, waits = task.entry.name, Waits()
        self.leases.set_pinned(name, task.is_pinned)
        voice = self.engine.voice(name, self.registry.content_hash(task.entry), task.entry.path)
        with self.leases.voice(name, voice, Wish(task.request_id, waits, token)) as session:
            n_bytes = session.nbytes
        if task.to_host:
            self.leases.gpu.force_offload(voice.id, min(token.remaining_s(), MOVE_S))
        state = self.leases.states().get(name, "unloaded")
        device = {"ready": self.leases.device, "offloaded": "cpu"}.get(state)
        seconds = waits.queue_s + waits.load_s
        return Loaded(name, state, device, n_bytes, seconds, waits.state)

    def f0_curve(self, audio: Audio, method: str) -> NDArray[np.float64]:
        """The pitch of `audio` in Hz on a 10 ms grid, 0 where it is unvoiced."""
        with self.leases.shared(self.engine.f0(method), Wish("f0_curve", Waits())) as estimator:
            return self.engine.f0_curve(estimator, audio)

    def facts(self, path: Path, identity: object) -> VoiceFacts:
        """What a voice's file says of it; raise its `CoreError`, if any."""
        return self.engine.describe(path, identity)

    def open(self) -> None:
        """Open the device, which imports torch; raise `DeviceUnavailable` if it is not there."""
        _ = self.leases.gpu

    def warm_up(self) -> str | None:
        """Load what every conversion needs: the content encoders and the default F0 estimator.

        The answer is what went wrong, for people.
        """
        try:
            for model in self.engine.content_models():
                with self.leases.shared(model, Wish("warm-up", Waits())):
                    pass
            self.f0_curve(self.engine.silence(), self.engine.default_f0_method())
        except (ServerError, CoreError, GpuError) as error:
            return error.message
        return None

    def force(
        self, action: str, voice: str | None, timeout_s: float, cancel: bool = False
    ) -> dict[str, Any]:
        """Offload or release one voice, or all models but the pinned ones.

        With `cancel`, the conversions that use them are ended first.
        """
        model_id = None if voice is None else self.leases.model_id(voice)
        if not self.leases.is_open or (voice is not None and model_id is None):
            return ForceResult().to_dict()
        gpu = self.leases.gpu
        move = gpu.force_offload if action == "offload" else gpu.force_release
        return move(model_id, timeout_s, cancel).to_dict()

    def try_voice(self) -> Trial:
        """See whether a voice that is on the device still works."""
        return try_voice(self)

    def status(self) -> dict[str, Any] | None:
        """The device, its models and this process's host memory; None while it was never used."""
        if not self.leases.is_open:
            return None
        status = self.leases.gpu.get_status()
        return {**status["devices"][0], "host": status["host"]}

    def close(self) -> None:
        """Let all models go."""
        self.leases.close()


def open_converter(settings: Settings, device: str, n_at_once: int) -> DeviceConverter:
    """A converter for `device`; opening it imports nothing heavy, its first use does."""
    leases = Leases(settings, gpu_builder(settings, device, n_at_once))
    engine = RvcEngine(settings.models_dir, settings.index_cache_mb * MIB)
    return DeviceConverter(settings, leases, engine)
