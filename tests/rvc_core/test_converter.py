"""The pipeline on a tiny voice: lengths, silence, seeds, failures, threads."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvc_core.audio import Audio
from rvc_core.chunks import GROWING_TIMING
from rvc_core.converter import Conversion, VoiceConverter
from rvc_core.errors import (
    Cancelled,
    ContentEncoderMismatch,
    EmptyAudio,
    InvalidOption,
    NonFiniteAudio,
    NonFiniteOutput,
    SpeakerOutOfRange,
)
from rvc_core.options import ConversionOptions
from rvc_core.run import Progress
from rvc_core.synthesizer import Synthesizer
from rvc_core.token import Token
from rvc_core.voice import Voice
from tests.rvc_core.tiny import RATES, FakeContentEncoder, FakeF0Estimator, TinyVoice, tone


def convert(voice: Voice, source: Audio, token: Token | None = None, **options: Any) -> Conversion:
    converter = VoiceConverter(voice, FakeContentEncoder(voice.facts.content))
    return converter.convert(source, ConversionOptions(**options), FakeF0Estimator(), token)


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return TinyVoice().load(tmp_path_factory.mktemp("voice"))


@pytest.mark.parametrize("sample_rate", RATES)
def test_the_result_lasts_exactly_as_long_as_the_recording(
    sample_rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 lengths at each of five rates; lengths do not depend on what the network computes."""
    voice = TinyVoice(sample_rate).load(tmp_path)
    hop = voice.config.hop_length
    monkeypatch.setattr(Synthesizer, "latent", lambda _, content, *rest: content.T[None])
    monkeypatch.setattr(
        Synthesizer, "decode", lambda _, latent, *rest: torch.ones(latent.shape[2] * hop)
    )
    lengths = random.Random(sample_rate)
    for _ in range(40):
        rate = lengths.choice([8_000, 16_000, 22_050, 44_100, 48_000])
        n_samples = round((180 * rate) ** lengths.random())  # log-uniform, 1 sample to 3 min
        source = Audio(np.full(n_samples, 0.1, np.float32), rate)
        result = convert(voice, source, rms_mix_rate=1.0, source_noise=0.0).audio
        assert result.sample_rate == sample_rate
        assert len(result.samples) == round(Fraction(n_samples * sample_rate, rate))
        assert not len(result.samples) or result.samples.min() > 0.9  # no gap, no padding


@pytest.mark.parametrize("sample_rate", RATES)
def test_a_real_network_gives_the_exact_length_too(sample_rate: int, tmp_path: Path) -> None:
    voice = TinyVoice(sample_rate).load(tmp_path)
    result = convert(voice, tone(1.2345, 44_100))
    assert len(result.audio.samples) == round(Fraction(54_441 * sample_rate, 44_100))


@pytest.mark.parametrize("n_samples", [1, 18, 19, 399, 400, 1_599, 1_600])
def test_recordings_below_a_tenth_of_a_second_convert(n_samples: int, voice: Voice) -> None:
    result = convert(voice, tone(n_samples / 16_000), output_sample_rate=16_000)
    assert len(result.audio.samples) == n_samples


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
def test_resample_sr_sets_the_rate_and_keeps_the_duration(rate: int, voice: Voice) -> None:
    audio = convert(voice, tone(1.25), output_sample_rate=rate).audio
    assert (audio.sample_rate, len(audio.samples)) == (rate, rate * 5 // 4)


def test_silence_in_is_silence_out(voice: Voice) -> None:
    result = convert(voice, Audio(np.zeros(24_000, np.float32), 16_000))
    assert np.abs(result.audio.samples).max() == 0
    assert not result.source_f0.any()


@pytest.mark.parametrize("unvoiced", ["keep", "interpolate", "protect"])
def test_a_wholly_unvoiced_recording_converts(unvoiced: str, voice: Voice) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 5e-5
    result = convert(voice, Audio(noise, 16_000), unvoiced=unvoiced)
    assert np.isfinite(result.audio.samples).all()
    assert np.abs(result.audio.samples).max() < 1e-2


def test_an_empty_recording_is_refused(voice: Voice) -> None:
    with pytest.raises(EmptyAudio):
        convert(voice, Audio(np.zeros(0, np.float32), 16_000))


def test_samples_that_are_no_numbers_are_refused(voice: Voice) -> None:
    with pytest.raises(NonFiniteAudio):
        convert(voice, Audio(np.array([0.0, np.nan], np.float32), 16_000))


def test_a_speaker_that_the_voice_lacks_is_refused_before_anything_runs(voice: Voice) -> None:
    with pytest.raises(SpeakerOutOfRange, match="0 to 1"):
        convert(voice, tone(1), speaker_id=2)


def test_speakers_sound_different(voice: Voice) -> None:
    first, second = (convert(voice, tone(1), speaker_id=i).audio.samples for i in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_the_same_seed_gives_the_same_samples(voice: Voice) -> None:
    once, again, other = (convert(voice, tone(1), seed=s).audio.samples for s in (7, 7, 8))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_no_noise_makes_the_seed_irrelevant(voice: Voice) -> None:
    one, two = (
        convert(voice, tone(1), seed=seed, noise_scale=0.0, source_noise=0.0).audio.samples
        for seed in (1, 2)
    )
    assert np.array_equal(one, two)


def test_the_defaults_of_a_voice_fill_unset_options(tmp_path: Path) -> None:
    plain = TinyVoice().load(tmp_path)
    calm = TinyVoice(extras={"defaults": {"noise_scale": 0.0}}).load(tmp_path, "calm")
    expected = convert(plain, tone(1), noise_scale=0.0).audio.samples
    assert np.array_equal(convert(calm, tone(1)).audio.samples, expected)
    assert not np.array_equal(convert(plain, tone(1)).audio.samples, expected)


def test_a_content_encoder_that_the_voice_was_not_trained_on_is_refused(voice: Voice) -> None:
    with pytest.raises(ContentEncoderMismatch, match="hubert"):
        VoiceConverter(voice, FakeContentEncoder("whisper-tiny.en:2+4"))


def test_a_voice_with_f0_needs_an_estimator(voice: Voice) -> None:
    with pytest.raises(InvalidOption, match="F0"):
        VoiceConverter(voice, FakeContentEncoder()).convert(tone(1), ConversionOptions())


def test_a_voice_without_f0_warns_of_a_transposition(tmp_path: Path) -> None:
    voice = TinyVoice(uses_f0=False).load(tmp_path)
    assert "f0_up_key" in convert(voice, tone(1), semitones=5).warnings[0]
    assert convert(voice, tone(1)).warnings == ()


def test_long_recordings_join_without_a_step(voice: Voice) -> None:
    """Pieces share phase and noise, so a cut recording is nearly the uncut one."""
    source, limit_s = tone(20), GROWING_TIMING.limit_s
    kept = source.samples[: (limit_s - 1) * 16_000]
    whole = convert(voice, Audio(kept, 16_000), rms_mix_rate=1)
    cut = convert(voice, source, rms_mix_rate=1)
    inside = slice(0, (limit_s - 2) * 40_000)
    difference = np.abs(whole.audio.samples[inside] - cut.audio.samples[inside])
    assert difference.max() < 0.05 * np.abs(whole.audio.samples).max()


def test_progress_runs_through_the_stages(voice: Voice) -> None:
    seen: list[Progress] = []
    converter = VoiceConverter(voice, FakeContentEncoder())
    converter.convert(tone(15), ConversionOptions(), FakeF0Estimator(), on_progress=seen.append)
    assert seen == [
        Progress("f0", 0, 1),
        Progress("f0", 1, 1),
        Progress("synth", 0, 2),
        Progress("synth", 1, 2),
        Progress("synth", 2, 2),
    ]


def test_cancelling_ends_the_work_between_pieces(voice: Voice) -> None:
    token = Token()
    made = 0

    def cancel_after_the_first(progress: Progress) -> None:
        nonlocal made
        made = progress.done
        if progress == Progress("synth", 1, 2):
            token.cancel()

    converter = VoiceConverter(voice, FakeContentEncoder())
    with pytest.raises(Cancelled):
        converter.convert(
            tone(15), ConversionOptions(), FakeF0Estimator(), token, cancel_after_the_first
        )
    assert made == 1


def test_timings_name_the_stages(voice: Voice) -> None:
    timings = convert(voice, tone(1)).timings
    assert timings.keys() == {"f0", "feature", "synth", "total"}
    assert timings["total"] >= timings["f0"] + timings["feature"] + timings["synth"]


def test_an_overflow_in_16_bit_is_computed_again_in_float32(tmp_path: Path) -> None:
    exact = TinyVoice().load(tmp_path)
    fast = TinyVoice().load(tmp_path)
    for loud in (exact, fast):
        loud.synthesizer.dec.conv_pre.weight.mul_(1e5)
        loud.synthesizer.dec.conv_post.weight.mul_(1e-5)
    fast.fast_dtype = torch.float16
    expected = convert(exact, tone(1)).audio.samples
    assert np.array_equal(convert(fast, tone(1), precision="fast").audio.samples, expected)


def test_fast_precision_is_close_to_exact(tmp_path: Path) -> None:
    voice = TinyVoice().load(tmp_path)
    exact = convert(voice, tone(1)).audio.samples
    voice.fast_dtype = torch.bfloat16
    fast = convert(voice, tone(1), precision="fast").audio.samples
    assert not np.array_equal(fast, exact)
    assert np.abs(fast - exact).mean() < 0.1 * np.abs(exact).mean()


def test_a_voice_that_gives_no_numbers_is_an_error(tmp_path: Path) -> None:
    voice = TinyVoice().load(tmp_path)
    voice.synthesizer.dec.conv_post.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteOutput, match="tiny"):
        convert(voice, tone(1))


def test_two_voices_at_once_do_not_influence_each_other(tmp_path: Path) -> None:
    voices = [TinyVoice(seed=seed).load(tmp_path, f"v{seed}") for seed in (1, 2)]
    jobs = [(voice, tone(1 + n / 7, hertz=100 + 20 * n)) for n in range(4) for voice in voices]
    serial = [convert(voice, source).audio.samples.tobytes() for voice, source in jobs]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda job: convert(*job).audio.samples.tobytes(), jobs))
    assert parallel == serial


def test_official_results_are_shorter_as_upstream_makes_them(voice: Voice) -> None:
    audio = convert(voice, tone(3), compatibility="official").audio
    assert len(audio.samples) == 3 * 40_000 - 20 * 40  # the last 20 ms are lost


def test_loudnorm_brings_the_result_to_its_level(voice: Voice) -> None:
    from torchaudio.functional import loudness

    audio = convert(voice, tone(3), loudnorm=True).audio
    measured = loudness(torch.from_numpy(audio.samples)[None], audio.sample_rate)
    assert float(measured) == pytest.approx(-16, abs=0.2)
