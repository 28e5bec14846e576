"""An engine without networks, for tests of what is around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.rvc import ConversionModels, LoadableModel, RvcEngine
from gpu_manager import GPUResourceManager
from rvc_core.audio import Audio
from rvc_core.converter import Conversion, Part
from rvc_core.errors import InvalidCheckpoint, SpeakerOutOfRange
from rvc_core.options import ConversionOptions
from rvc_core.run import Progress
from rvc_core.token import Token
from rvc_core.voice import VoiceFacts
from server.conversion import DeviceConverter
from server.lanes import LocalLane
from server.leases import Leases
from server.services import Services
from server.settings import Settings
from tests.rvc_core.tiny import TinyVoice


class FakeModel:
    """Something to lease."""

    nbytes = 1000

    def __init__(self, name: str) -> None:
        self.name = name

    def to(self, device: str) -> None:
        """Moving it changes nothing."""


class FakeEngine(RvcEngine):
    """Turns a recording upside down; files that start with "broken" are no voices."""

    def __init__(self, models_dir: Path) -> None:
        super().__init__(models_dir)
        self.loaded: list[str] = []
        self.during_convert: Callable[[Token], None] = lambda token: token.check()
        self.between_parts: Callable[[], None] = lambda: None

    def describe(self, path: Path, identity: object) -> VoiceFacts:
        if path.read_bytes().startswith(b"broken"):
            raise InvalidCheckpoint(f"{path.name} is no voice.")
        return VoiceFacts(path.stem, TinyVoice().config(), "fake", card={"licence": "none"})

    def voice(self, name: str, content_hash: str, path: Path) -> LoadableModel:
        return self._model(f"voice:{name}@{content_hash}")

    def content_encoders(self) -> dict[str, Path]:
        return {"fake": Path("fake")}

    def content_models(self) -> list[LoadableModel]:
        return [self._model("content:fake")]

    def content(self, facts: VoiceFacts) -> LoadableModel:
        return self._model("content:fake")

    def f0(self, method: str) -> LoadableModel:
        return self._model(f"f0:{method}")

    def f0_curve(self, estimator: Any, audio: Audio) -> NDArray[np.float64]:
        return np.full(max(1, round(audio.duration_s * 100)), 110.0)

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def convert(
        self,
        models: ConversionModels,
        source: Audio,
        options: ConversionOptions,
        token: Token,
        on_progress: Any = None,
        on_part: Any = None,
    ) -> Conversion:
        if options.speaker_id > 1:
            raise SpeakerOutOfRange("spk_id is too large.", param="spk_id")
        if on_progress is not None:
            on_progress(Progress("f0", 0, 1))
        self.during_convert(token)
        audio = Audio(-source.samples, source.sample_rate)
        warnings = ("Größe: all is fake",)
        if on_part is not None:
            self.give_parts(audio, warnings, on_part)
        timings = {"feature": 0.1, "f0": 0.2, "synth": 0.3, "total": 0.6}
        return Conversion(audio, timings, np.zeros(3, np.float32), warnings)

    def give_parts(self, audio: Audio, warnings: tuple[str, ...], on_part: Any) -> None:
        """Give the result in two parts; `between_parts` is called between them."""
        half = len(audio.samples) // 2
        for samples in (audio.samples[:half], audio.samples[half:]):
            on_part(Part(samples, audio.sample_rate, len(audio.samples), warnings))
            self.between_parts()

    def _model(self, id: str) -> LoadableModel:
        def load(device: str) -> FakeModel:
            self.loaded.append(id)
            return FakeModel(id)

        return LoadableModel(id, load)


def fake_services(models_dir: Path, **settings: Any) -> Services:
    """Services over a `FakeEngine` and a real manager whose timers stand still."""
    chosen = Settings(models_dir=models_dir, **settings)
    return services_on(chosen, lambda: GPUResourceManager("cpu", reaper=False))


def services_on(settings: Settings, build_gpu: Callable[[], GPUResourceManager]) -> Services:
    """Services over a `FakeEngine` in this process."""
    if settings.job_db is None:  # never the jobs of whoever runs the tests
        settings = replace(settings, job_db=settings.models_dir / "jobs.sqlite3")
    engine = FakeEngine(settings.models_dir)
    local = DeviceConverter(settings, Leases(settings, build_gpu), engine)
    lane = LocalLane(local, settings.concurrent_conversions)
    return Services(settings, local, lambda changed: [lane])


def engine_of(services: Services) -> FakeEngine:
    """The fake engine inside."""
    assert isinstance(services.engine, FakeEngine)
    return services.engine
