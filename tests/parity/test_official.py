"""Results of Official RVC (July 2026, CPU, float32, all noise zero) against the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from rvc_core import (
    ConversionOptions,
    VoiceConverter,
    load_content_encoder,
    load_index,
    load_voice,
    read_audio,
)
from rvc_core.cli import main
from rvc_core.loudness import to_pcm16
from tests.parity import recipe
from tests.parity.conftest import ParityFiles, load_cases

CASES = load_cases()["cases"]
MOST_LSB = 8
LEAST_SNR_DB = 75.0
# FCPE's float32 rounding (0.0007 cents rms) adds up in the sine's phase over a piece of 38 s. Here
# official RVC itself, run again, misses its stored result by 27 LSB and 66.0 dB; we by 21 and 68.0.
# A CPU of another kind than the one it was stored on is the likely cause. The limits stay.
MISSED = {"cut_70s": pytest.mark.xfail(reason="FCPE's rounding differs here", strict=False)}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MISSED.get(n, ())) for n in CASES])
def test_equals_official_rvc(name: str, parity_files: ParityFiles, tmp_path: Path) -> None:
    case = CASES[name]
    output = tmp_path / "out.wav"
    assert main(_arguments(case, parity_files, output)) == 0

    ours, rate = soundfile.read(output, dtype="int16")
    assert rate == case["sample_rate"]
    assert len(ours) == case["samples"]
    official, ours = _same_excerpts(np.load(recipe.DATA / "goldens" / f"{name}.npz"), ours)
    largest, snr_db = _difference(official, ours)
    assert largest <= MOST_LSB
    assert snr_db >= LEAST_SNR_DB


class _StoredPitch:
    """Gives the curve that official RVC found."""

    name = "stored"
    extra_frames = 0
    nbytes = 0

    def __init__(self, f0: Any) -> None:
        self._f0 = f0.ravel().astype(np.float64)

    def estimate(self, samples: Any, n_frames: int) -> npt.NDArray[np.float64]:
        """F0 (n_frames,)."""
        return np.asarray(self._f0[:n_frames])

    def to(self, device: str) -> None:
        """Nothing to move."""


def test_cuts_and_joints_equal_official_rvc_on_its_own_pitch_curve(
    parity_files: ParityFiles,
) -> None:
    case = CASES["cut_70s"]
    golden = np.load(recipe.DATA / "goldens" / "cut_70s.npz")
    options = ConversionOptions.from_api(
        {**case["options"], "compatibility": "official", "noise_scale": 0, "source_noise": 0}
    )
    converter = VoiceConverter(
        load_voice(parity_files.voice(case["voice"])),
        load_content_encoder(parity_files.hubert),
        load_index(parity_files.index("v2")),
    )
    source = read_audio(parity_files.clip(case["clip"]))
    audio = converter.convert(source, options, _StoredPitch(golden["f0"])).audio
    largest, snr_db = _difference(*_same_excerpts(golden, to_pcm16(audio.samples)))
    assert largest <= MOST_LSB
    assert snr_db >= LEAST_SNR_DB


def _difference(official: Any, ours: Any) -> tuple[float, float]:
    """Largest difference in LSB, and signal to difference in dB."""
    signal = official.astype(np.float64)
    difference = signal - ours
    noise = (difference**2).sum()
    snr_db = 10 * np.log10((signal**2).sum() / noise) if noise else np.inf
    return float(np.abs(difference).max()), float(snr_db)


def _arguments(case: dict[str, Any], files: ParityFiles, output: Path) -> list[str]:
    options = [
        part
        for name, value in case["options"].items()
        for part in ("--" + name.replace("_", "-"), str(value))
    ]
    voice = ["--voice", str(files.voice(case["voice"]))]
    weights = ["--content-encoder", str(files.hubert), "--rmvpe", str(files.rmvpe)]
    if case["options"]["index_rate"]:
        weights += ["--index", str(files.index(case["voice"][:2]))]
    silent = ["--noise-scale", "0", "--source-noise", "0"]
    official = ["--compatibility", "official", "--precision", "exact"]
    clip = str(files.clip(case["clip"]))
    return ["convert", clip, "-o", str(output), *voice, *weights, *options, *silent, *official]


def _same_excerpts(golden: Any, ours: Any) -> tuple[Any, Any]:
    """Long results are stored as excerpts only."""
    if "starts" not in golden:
        return golden["pcm"], ours
    length = golden["pcm"].shape[1]
    return golden["pcm"], np.stack([ours[start : start + length] for start in golden["starts"]])
