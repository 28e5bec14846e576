"""The verbs of the server; every door calls them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.rvc import ConversionModels, LoadableModel, RvcEngine
from gpu.errors import GpuError
from rvc_core.errors import Cancelled, CoreError
from rvc_core.library import VoiceEntry
from rvc_core.token import Token
from server.admission import WaitingRoom
from server.errors import Draining, ServerError
from server.leases import Leases, Waits
from server.models import ModelRegistry
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
    from rvc_core.converter import Conversion
    from rvc_core.run import Progress
    from rvc_core.voice import VoiceFacts

logger = logging.getLogger(__name__)

STAGES = ("queue", "load", "feature", "f0", "synth", "total")
GIVE_UP_S = 5.0  # for cancelled work to notice


class Services:
    """Converts, lists voices and knows how the server is; safe to call from any thread."""

    def __init__(self, settings: Settings, leases: Leases, engine: RvcEngine) -> None:
        self.settings = settings
        self.leases = leases
        self.engine = engine
        self.registry = ModelRegistry(settings.voices_dir, settings.indexes_dir)
        self.warmed = threading.Event()
        self._not_warm: str | None = "The models are loading."
        self._room = WaitingRoom(settings.concurrent_conversions, settings.max_queue_per_gpu)

    @property
    def gpu(self) -> GPUResourceManager:
        """The manager of all models."""
        return self.leases.gpu

    def convert(
        self,
        request: ConvertRequest,
        token: Token,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ConvertResult:
        """Convert one recording; raise a typed error when it cannot be done or `token` ends."""
        started = time.perf_counter()
        waits = Waits()
        try:
            with self._room.admit(token):
                work = self._prepare(request)
                done = self._run(work, token, waits, on_progress)
        except Cancelled:
            if self._room.is_closed:
                raise Draining("The server is shutting down.", retry_after_s=10) from None
            raise
        timings = {
            **{stage: done.timings.get(stage, 0.0) for stage in STAGES},
            "queue": waits.queue_s,
            "load": waits.load_s,
            "total": time.perf_counter() - started,
        }
        return ConvertResult(
            audio=done.audio,
            voice=work.entry.name,
            device=self.leases.device,
            state_at_arrival=waits.state,
            timings=timings,
            source_f0=done.source_f0,
            warnings=done.warnings,
        )

    def f0_curve(self, audio: Audio) -> NDArray[np.float64]:
        """The pitch of `audio` in Hz on a 10 ms grid, 0 where it is unvoiced; for people to see."""
        return self._f0_curve(audio, self.engine.curve_method())

    def voices(self) -> list[VoiceInfo]:
        """All voices on disk, those whose file cannot be used too."""
        entries = self.registry.voices()
        self.leases.forget_all_but(entries)
        states = self.leases.states()
        return [self._voice_info(e, states.get(e.name, "unloaded")) for e in entries.values()]

    def default_voice(self) -> str | None:
        """The voice of requests that name none."""
        if self.settings.default_voice:
            return self.settings.default_voice
        names = list(self.registry.voices())
        return names[0] if len(names) == 1 else None

    def warm_up(self) -> None:
        """Load what every conversion needs: the content encoders and the default F0 estimator.

        Once that is done the server is ready; then it reads what makes first calls slow.
        """
        problem: str | None = "Loading the shared models failed; the log says why."
        try:
            for model in self.engine.content_models():
                with self.leases.shared(model, None, "warm-up", Waits()):
                    pass
            self._f0_curve(self.engine.silence(), self.engine.default_f0_method())
            problem = None
        except (ServerError, CoreError, GpuError) as error:
            problem = error.message
            if not self._room.is_closed:
                logger.error("The shared models cannot be loaded: %s", problem)
        finally:
            self._not_warm = problem
            self.warmed.set()
        if not self._room.is_closed:
            self.voices()
            self.engine.warm_up()

    def ready(self) -> ReadyState:
        """Whether a conversion would be served now."""
        against = [self._not_warm] if self._not_warm else []
        if self._room.is_closed:
            against.append("The server is shutting down.")
        if not self.engine.content_encoders():
            against.append(f"No content encoder is in {self.settings.models_dir / 'content'}.")
        notes = [] if self.registry.voices() else [f"No voice is in {self.settings.voices_dir}."]
        return ReadyState(not against, (*against, *notes))

    def drain(self, timeout_s: float) -> bool:
        """Refuse new work, let running work end for `timeout_s`, then cancel it.

        The answer says whether there was work.
        """
        self._room.close()
        was_busy = self._room.n_inside > 0
        if not self._room.wait_empty(timeout_s):
            logger.warning("%d conversions did not end in time.", self._room.n_inside)
            self._room.cancel_all()
            self._room.wait_empty(GIVE_UP_S)
        return was_busy

    def close(self) -> None:
        """Let all models go; conversions fail from now on."""
        self._room.close()
        self.leases.close()

    def _f0_curve(self, audio: Audio, method: str) -> NDArray[np.float64]:
        model = self.engine.f0(method)
        with self.leases.shared(model, None, "f0_curve", Waits()) as estimator:
            return self.engine.f0_curve(estimator, audio)

    def _prepare(self, request: ConvertRequest) -> _Work:
        from rvc_core.audio import read_audio

        entry = self.registry.choose(request.voice, self.settings.default_voice)
        facts = self._facts(entry)
        method = self.engine.f0_method(request.options.f0_method) if facts.config.uses_f0 else None
        index = entry.index if request.index is None else self.registry.find_index(request.index)
        return _Work(
            request=request,
            entry=entry,
            audio=read_audio(request.audio, self.settings.max_audio_seconds),
            content=self.engine.content(facts),
            f0=self.engine.f0(method) if method else None,
            index=index,
        )

    def _run(
        self,
        work: _Work,
        token: Token,
        waits: Waits,
        on_progress: Callable[[Progress], None] | None,
    ) -> Conversion:
        # Content encoder, then F0, then the voice: whoever has the voice waits for no more
        # models, so requests cannot wait for each other in a circle.
        options, holder = work.request.options, work.request.request_id
        content_hash = self.registry.content_hash(work.entry)
        voice = self.engine.voice(work.entry.name, content_hash, work.entry.path)
        with ExitStack() as stack:
            hold = stack.enter_context
            content = hold(self.leases.shared(work.content, token, holder, waits))
            f0 = hold(self.leases.shared(work.f0, token, holder, waits)) if work.f0 else None
            session = hold(self.leases.voice(work.entry.name, voice, token, holder, waits))
            with waits.queueing():
                hold(self._room.slot(token))
            models = ConversionModels(session, content, f0, work.index)
            return self.engine.convert(models, work.audio, options, token, on_progress)

    def _facts(self, entry: VoiceEntry) -> VoiceFacts:
        return self.engine.describe(entry.path, (entry.path, entry.size, entry.mtime_ns))

    def _voice_info(self, entry: VoiceEntry, state: str) -> VoiceInfo:
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
            device={"ready": self.leases.device, "offloaded": "cpu"}.get(state),
            pinned=False,
            card=facts.card if facts else {},
            error=problem,
        )


@dataclass(frozen=True)
class _Work:
    """A request that was checked as far as it can be without models."""

    request: ConvertRequest
    entry: VoiceEntry
    audio: Audio
    content: LoadableModel
    f0: LoadableModel | None
    index: Path | None


def build_services(settings: Settings) -> Services:
    """Services over the real engine and a manager of the device that the settings ask for."""

    def build_gpu() -> GPUResourceManager:
        from gpu_manager import GPUResourceManager
        from server.devices import open_device

        return GPUResourceManager(open_device(settings.device, settings.threads_per_conversion))

    return Services(settings, Leases(settings, build_gpu), RvcEngine(settings.models_dir))
