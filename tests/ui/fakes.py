"""Services without models: a conversion gives a sine of the recording's length."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc_core.audio import Audio, read_audio
from rvc_core.run import Progress
from rvc_core.token import Token
from server.services import ConvertRequest, ConvertResult, VoiceInfo
from server.settings import Settings

RATE = 22_050
TONE_HZ = 180.0


def sine(duration_s: float, hz: float = TONE_HZ, rate: int = RATE) -> Audio:
    """A steady tone."""
    times = np.arange(round(duration_s * rate)) / rate
    return Audio((0.4 * np.sin(2 * np.pi * hz * times)).astype(np.float32), rate)


def half_voiced(audio: Audio, hz: float) -> NDArray[np.float32]:
    """A pitch curve that glides by a fifth, with a gap in its middle."""
    n_frames = int(audio.duration_s * 100)
    f0 = np.geomspace(hz, hz * 1.5, n_frames).astype(np.float32)
    f0[n_frames * 2 // 5 : n_frames * 3 // 5] = 0
    return f0


def voice(name: str = "demo", **facts: object) -> VoiceInfo:
    """A voice as the list shows it."""
    known: dict[str, object] = {
        "engine": "rvc",
        "kind": "voice",
        "sample_rate": RATE,
        "version": "v2",
        "f0": True,
        "speakers": 1,
        "content": "hubert",
        "index": False,
        "bytes": 26_500_000,
        "state": "unloaded",
        "device": None,
        "pinned": False,
        "card": {
            "name": "Demo voice",
            "origin": "Made for this test.",
            "licence": "MIT.",
            "notice": "Evaluation and testing, not for commercial use.",
        },
    }
    return VoiceInfo(id=name, **{**known, **facts})  # type: ignore[arg-type]


class FakeServices:
    """What the page needs of the services; `error` is raised by the next conversion."""

    def __init__(self, outputs_dir: Path, voices: list[VoiceInfo] | None = None) -> None:
        self.settings = Settings(outputs_dir=outputs_dir)
        self.reset()
        if voices is not None:
            self.listed = voices

    def reset(self) -> None:
        """Be as new."""
        self.listed = [voice()]
        self.error: Exception | None = None
        self.holds = False  # conversions run until they are stopped
        self.ended = threading.Event()
        self.requests: list[ConvertRequest] = []

    def voices(self) -> list[VoiceInfo]:
        """The voices given."""
        return self.listed

    def default_voice(self) -> str | None:
        """The first voice."""
        return self.listed[0].id if self.listed else None

    def f0_curve(self, audio: Audio) -> NDArray[np.float32]:
        """Half of the frames are voiced."""
        return half_voiced(audio, TONE_HZ)

    def convert(
        self, request: ConvertRequest, token: Token, on_progress: Callable[[Progress], None]
    ) -> ConvertResult:
        """A tone as long as the recording."""
        self.requests.append(request)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        source = read_audio(request.audio)
        on_progress(Progress("synth", 1, 3))
        try:
            while self.holds:
                token.check()
                threading.Event().wait(0.01)
        finally:
            self.ended.set()
        return ConvertResult(
            audio=sine(source.duration_s),
            voice=request.voice or "demo",
            device="cpu",
            state_at_arrival="ready",
            timings={"queue": 0.0, "load": 0.0, "f0": 0.2, "synth": 0.5, "total": 0.7},
            source_f0=half_voiced(source, 110.0),
            warnings=(),
        )
