"""Results part by part: what comes when, and what becomes of it when memory runs out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rvc_core.chunks import SHORTER_TIMINGS
from rvc_core.converter import Part, VoiceConverter
from rvc_core.errors import OutOfMemory
from rvc_core.options import ConversionOptions
from rvc_core.run import Progress
from rvc_core.synthesizer import Synthesizer
from rvc_core.voice import Voice
from tests.rvc_core.test_converter import convert
from tests.rvc_core.tiny import FakeContentEncoder, FakeF0Estimator, TinyVoice, tone


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return TinyVoice().load(tmp_path_factory.mktemp("voice"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output_sample_rate": 16_000},
        {"rms_mix_rate": 1.0},
        {"loudnorm": True},
        {"compatibility": "official"},
    ],
)
def test_the_parts_put_together_are_the_result(options: dict[str, Any], voice: Voice) -> None:
    parts: list[Part] = []
    converter = VoiceConverter(voice, FakeContentEncoder())
    settled = ConversionOptions(**options)
    result = converter.convert(tone(20), settled, FakeF0Estimator(), on_part=parts.append).audio
    assert np.array_equal(np.concatenate([part.samples for part in parts]), result.samples)
    assert {part.n_total for part in parts} == {len(result.samples)}
    assert {part.sample_rate for part in parts} == {result.sample_rate}


def test_the_first_part_comes_before_the_second_piece_is_made(voice: Voice) -> None:
    order: list[object] = []
    converter = VoiceConverter(voice, FakeContentEncoder())
    converter.convert(
        *(tone(30), ConversionOptions(), FakeF0Estimator()),
        on_progress=order.append,
        on_part=lambda part: order.append(len(part.samples) / part.sample_rate),
    )
    begun = order.index(Progress("synth", 0, 3))
    assert order[begun + 1] == pytest.approx(4.5, abs=1.5)  # seconds of the first part
    assert order[begun + 2] == Progress("synth", 1, 3)


@pytest.mark.parametrize("options", [{"loudnorm": True}, {"compatibility": "official"}])
def test_what_depends_on_the_whole_comes_in_one_part(options: dict[str, Any], voice: Voice) -> None:
    parts: list[Part] = []
    converter = VoiceConverter(voice, FakeContentEncoder())
    settled = ConversionOptions(**options)
    converter.convert(tone(20), settled, FakeF0Estimator(), on_part=parts.append)
    assert len(parts) == 1


def test_out_of_memory_is_tried_again_in_shorter_pieces(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = run_out_of_memory_above(13, monkeypatch)
    result = convert(voice, tone(40))
    assert len(result.audio.samples) == 40 * 40_000
    assert max(frames) > 13 * 100 >= frames[-1]


def test_running_out_of_memory_late_keeps_what_was_given_before(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest in shorter pieces joins what was sent, and nothing is sent twice."""
    source, parts = tone(40), list[Part]()
    expected = convert(voice, source, rms_mix_rate=1).audio.samples
    run_out_of_memory_above(13, monkeypatch)
    converter = VoiceConverter(voice, FakeContentEncoder())
    options = ConversionOptions(rms_mix_rate=1)
    converter.convert(source, options, FakeF0Estimator(), on_part=parts.append)
    given = np.concatenate([part.samples for part in parts])
    assert np.abs(given - expected).max() < 0.05 * np.abs(expected).max()


def run_out_of_memory_above(seconds: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Refuse longer pieces; the answer fills with how many frames were tried each time."""
    latent, frames = Synthesizer.latent, list[int]()

    def small_device(network: Synthesizer, content: torch.Tensor, *rest: Any) -> torch.Tensor:
        frames.append(len(content))
        if len(content) > seconds * 100:
            raise torch.OutOfMemoryError
        return latent(network, content, *rest)

    monkeypatch.setattr(Synthesizer, "latent", small_device)
    return frames


def test_out_of_memory_is_tried_again_as_it_was_once_there_is_room(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = Synthesizer.latent
    idle_models, frames = [100], list[int]()

    def full_device(network: Synthesizer, content: torch.Tensor, *rest: Any) -> torch.Tensor:
        frames.append(len(content))
        if idle_models:
            raise torch.OutOfMemoryError
        return latent(network, content, *rest)

    monkeypatch.setattr(Synthesizer, "latent", full_device)
    converter = VoiceConverter(voice, FakeContentEncoder(), make_room=idle_models.pop)
    converter.convert(tone(10), ConversionOptions(), FakeF0Estimator())
    assert len(frames) == 2
    assert frames[0] == frames[1]


def test_a_device_too_small_for_any_piece_is_an_error(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_device(*arguments: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Synthesizer, "latent", no_device)
    with pytest.raises(OutOfMemory, match=f"{SHORTER_TIMINGS[-1].aims[0].length_s} s"):
        convert(voice, tone(1))
