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
from rvc_core.errors import CoreError
from rvc_core.token import Token
from server.devices import MIB, gpu_builder
from server.errors import ServerError
from server.leases import Leases, Waits, Wish
from server.models import ModelRegistry
from server.records import ConversionTask, Converted
from server.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rvc_core.audio import Audio
    from rvc_core.run import Progress
    from rvc_core.voice import VoiceFacts

logger = logging.getLogger(__name__)


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
        on_progress: Callable[[Progress], None] | None = None,
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
            done = gpu.work_with(voice.id, partial(convert, on_progress))
        return Converted(done, self.leases.device, waits.state, waits.queue_s, waits.load_s)

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

    def force(self, action: str, voice: str | None, timeout_s: float) -> dict[str, Any]:
        """Offload or release one voice, or all models but the pinned ones."""
        model_id = None if voice is None else self.leases.model_id(voice)
        if not self.leases.is_open or (voice is not None and model_id is None):
            return {"offloaded": [], "released": [], "skipped": [], "freed_bytes": 0}
        gpu = self.leases.gpu
        move = gpu.force_offload if action == "offload" else gpu.force_release
        return move(model_id, timeout_s).to_dict()

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
