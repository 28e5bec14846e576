from __future__ import annotations

import numpy as np
import pytest

from rvc_core.run import Progress
from server.services import ConvertResult
from tests.ui.fakes import sine, voice
from ui import parts


def result(**timings: float) -> ConvertResult:
    return ConvertResult(
        audio=sine(0.1),
        voice="demo",
        device="cpu",
        state_at_arrival="ready",
        timings=timings,
        source_f0=np.zeros(0, np.float32),
        warnings=("clipped <here>",),
    )


def test_a_card_says_what_the_voice_is() -> None:
    card = parts.voice_card(voice(speakers=5, index=True, sample_rate=40_000), "en")
    for fact in ("40 kHz", "RVC v2", "follows pitch", "5 speakers", "with index"):
        assert fact in card


def test_a_card_shows_notice_origin_and_licence() -> None:
    card = parts.voice_card(voice(), "en")
    for text in ("not for commercial use", "Made for this test.", "MIT."):
        assert text in card


def test_what_a_file_states_is_escaped() -> None:
    hostile = dict.fromkeys(("name", "origin", "licence", "notice"), "<script>")
    assert "<script>" not in parts.voice_card(voice(card=hostile), "en")


def test_a_voice_that_cannot_be_used_says_why() -> None:
    assert "no key &#x27;weight&#x27;" in parts.voice_card(voice(error="no key 'weight'"), "en")


def test_without_a_voice_the_page_says_how_to_get_one() -> None:
    assert "python -m demo_voice" in parts.no_voice("zh")


@pytest.mark.parametrize(
    ("progress", "text", "percent"),
    [
        (Progress("f0", 0, 1), "Reading the melody", 0),
        (Progress("feature", 1, 4), "Reading the words", 25),
        (Progress("never heard of", 1, 2), "Waiting for a free place", 50),
        (Progress("synth", 9, 8), "Speaking in the new voice", 100),
    ],
)
def test_progress_names_its_stage(progress: Progress, text: str, percent: int) -> None:
    html = parts.running(progress, 1.0, "en")
    assert text in html
    assert f'aria-valuenow="{percent}"' in html


@pytest.mark.parametrize("progress", [None, Progress("f0", 0, 0)])
def test_progress_of_unknown_length_shows_life(progress: Progress | None) -> None:
    assert "endless" in parts.running(progress, 1.0, "en")


def test_a_failure_says_what_to_do_and_its_code() -> None:
    html = parts.failed("queue_full", "en")
    assert "Try again in a moment." in html
    assert "<code>queue_full</code>" in html


def test_only_stages_that_took_time_are_chips() -> None:
    html = parts.details(result(queue=0.0, load=0.001, synth=0.5, total=0.6), "en")
    assert html.count("<li>") == 3  # voice, total and the device
    assert "0.50 s" in html


def test_remarks_are_shown_and_escaped() -> None:
    assert "clipped &lt;here&gt;" in parts.details(result(), "en")
