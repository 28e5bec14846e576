"""Results of Official RVC (July 2026, CPU, float32, all noise zero) against the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rvc_core.cli import main
from tests.parity import recipe
from tests.parity.conftest import ParityFiles, load_cases

CASES = load_cases()["cases"]
MOST_LSB = 8
LEAST_SNR_DB = 75.0


@pytest.mark.parametrize("name", CASES)
def test_equals_official_rvc(name: str, parity_files: ParityFiles, tmp_path: Path) -> None:
    case = CASES[name]
    output = tmp_path / "out.wav"
    assert main(_arguments(case, parity_files, output)) == 0

    ours, rate = soundfile.read(output, dtype="int16")
    assert rate == case["sample_rate"]
    assert len(ours) == case["samples"]
    official, ours = _same_excerpts(np.load(recipe.DATA / "goldens" / f"{name}.npz"), ours)
    difference = official.astype(np.float64) - ours
    assert np.abs(difference).max() <= MOST_LSB
    noise = (difference**2).sum()
    assert noise == 0 or 10 * np.log10((official.astype(np.float64) ** 2).sum() / noise) >= (
        LEAST_SNR_DB
    )


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
