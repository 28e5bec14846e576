"""Real recordings through the demo voice: the words, the melody and the length survive."""

from __future__ import annotations

import math

import jiwer
import numpy as np
import pytest
from numpy.typing import NDArray

from rvc_core.audio import Audio, resample
from rvc_core.converter import Conversion
from rvc_core.f0 import F0Estimator
from tests.speech.conftest import Convert, Listen, plain_words
from tests.speech.recordings import Recording

pytestmark = pytest.mark.speech

VOICE_RATE = 22_050


def melody(audio: Audio, judge: F0Estimator) -> NDArray[np.floating]:
    """F0 in Hz every 10 ms, 0 = unvoiced."""
    samples = resample(audio.samples, audio.sample_rate, 16_000)
    return judge.estimate(samples, len(samples) // 160)


def correlation(one: NDArray[np.floating], other: NDArray[np.float32]) -> float:
    """Correlation of the logarithms where both are voiced, but for octave errors of the judge.

    Those are frames 9 semitones and more off the usual distance; one in ten is let pass.
    """
    n_frames = min(len(one), len(other))
    voiced = (one[:n_frames] > 0) & (other[:n_frames] > 0)
    assert voiced.sum() > 20
    octaves = np.log2(np.stack([one[:n_frames][voiced], other[:n_frames][voiced]]))
    distance = octaves[1] - octaves[0]
    sound = np.abs(distance - np.median(distance)) < 0.75
    assert sound.mean() > 0.9
    return float(np.corrcoef(octaves[:, sound])[0, 1])


def voiced_median(f0: NDArray[np.floating]) -> float:
    return float(np.median(f0[f0 > 0]))


def test_the_words_survive(
    recordings: list[Recording], conversions: list[Conversion], listen: Listen
) -> None:
    said = [plain_words(recording.words) for recording in recordings]
    heard = [listen(conversion.audio) for conversion in conversions]
    assert len(said) >= 3
    assert jiwer.wer(said, heard) <= 0.2, heard


def test_the_melody_survives(
    recordings: list[Recording], conversions: list[Conversion], swift: F0Estimator
) -> None:
    correlations = [
        correlation(melody(recording.audio, swift), melody(conversion.audio, swift))
        for recording, conversion in zip(recordings, conversions, strict=True)
    ]
    assert np.mean(correlations) >= 0.85, correlations


def test_the_pitch_is_the_voices_own(
    recordings: list[Recording], conversions: list[Conversion], swift: F0Estimator
) -> None:
    for recording, conversion in zip(recordings, conversions, strict=True):
        assert voiced_median(melody(recording.audio, swift)) > 150
        assert 75 < voiced_median(melody(conversion.audio, swift)) < 105


def test_results_last_exactly_as_long(
    recordings: list[Recording], conversions: list[Conversion]
) -> None:
    for recording, conversion in zip(recordings, conversions, strict=True):
        source, result = recording.audio, conversion.audio
        assert result.sample_rate == VOICE_RATE
        expected = round(len(source.samples) * VOICE_RATE / source.sample_rate)
        assert len(result.samples) == expected


def test_the_same_seed_gives_the_same_samples(
    recordings: list[Recording], conversions: list[Conversion], convert: Convert
) -> None:
    again = convert(recordings[0].audio)
    assert np.array_equal(again.audio.samples, conversions[0].audio.samples)


def test_silence_stays_silent(convert: Convert) -> None:
    silence = Audio(np.zeros(24_000, np.float32), 16_000)
    result = convert(silence).audio
    assert len(result.samples) == round(1.5 * VOICE_RATE)
    assert np.abs(result.samples).max() <= 10 ** (-60 / 20)


def test_a_third_of_a_second_is_enough(recordings: list[Recording], convert: Convert) -> None:
    source = recordings[0].audio
    short = Audio(source.samples[8_000:12_800], source.sample_rate)
    result = convert(short).audio
    assert len(result.samples) == math.floor(0.3 * VOICE_RATE + 0.5)
    assert 0.01 < np.abs(result.samples).max() <= 1


@pytest.mark.slow
def test_more_than_a_minute_keeps_words_and_length(
    recordings: list[Recording], convert: Convert, listen: Listen
) -> None:
    spoken = next(r for r in recordings if r.name == "quick_brown_fox")
    length = 65 * spoken.audio.sample_rate
    source = Audio(np.resize(spoken.audio.samples, length), spoken.audio.sample_rate)
    result = convert(source).audio
    assert len(result.samples) == 65 * VOICE_RATE
    for second in (36, 58):  # a whole sentence about a joint of pieces, and one near the end
        first = math.ceil(second / spoken.audio.duration_s) * spoken.audio.duration_s
        start, stop = (round(t * VOICE_RATE) for t in (first, first + spoken.audio.duration_s))
        heard = listen(Audio(result.samples[start:stop], VOICE_RATE))
        assert jiwer.wer(plain_words(spoken.words), heard) <= 0.35, (second, heard)
