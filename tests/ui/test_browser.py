"""What people see and do, in a real browser."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from rvc_core.audio import read_audio
from rvc_core.errors import AudioTooLong
from tests.ui.conftest import OpenPage
from tests.ui.fakes import FakeServices, voice

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

pytestmark = pytest.mark.browser

SOON_MS = 20_000
FIRST_CONVERSION_MS = 90_000  # models load, on a busy machine


def is_uploaded_file(answer: Response) -> bool:
    """Whether the player fetches what the page has uploaded: from then on it can be converted."""
    return "/file=" in answer.url


def upload(page: Page, recording: Path) -> None:
    with page.expect_response(is_uploaded_file, timeout=SOON_MS):
        page.locator("#recording input[type=file]").set_input_files(recording)
    page.locator("#recording .waveform-container").wait_for(timeout=SOON_MS)


def convert(page: Page, recording: Path, timeout_ms: float = SOON_MS) -> None:
    upload(page, recording)
    page.locator("#convert").click()
    page.locator("#status .good").wait_for(timeout=timeout_ms)


def right_edges(page: Page) -> dict[str, float]:
    """How far to the right each named part of the page reaches."""
    edges = """() => Object.fromEntries([...document.querySelectorAll("main [id], main button")]
        .map((part) => [part.id || part.className, part.getBoundingClientRect().right]))"""
    return dict(page.evaluate(edges))


def test_a_recording_is_converted_played_compared_and_downloaded(
    real_url: str, open_page: OpenPage, recording: Path
) -> None:
    page = open_page(real_url)
    assert page.title() == "Voice Server"
    convert(page, recording, FIRST_CONVERSION_MS)

    page.locator("#result .play-pause-button").click()
    page.wait_for_function("window.played.some(a => a.duration > 0 && a.currentTime > 0)")
    curves = page.locator("#figure svg path[data-series]")
    assert [curve.get_attribute("data-series") for curve in curves.all()] == ["source", "result"]
    assert all("L" in (curve.get_attribute("d") or "") for curve in curves.all())
    with page.expect_download() as waiting:
        page.locator("#download").click()
    source, result = soundfile.info(recording), soundfile.info(waiting.value.path())
    assert waiting.value.suggested_filename == f"{recording.stem}-demo.wav"
    assert (result.format, result.subtype, result.samplerate) == ("WAV", "PCM_16", 22_050)
    assert result.frames == round(source.frames * 22_050 / source.samplerate)


def test_a_recording_from_the_microphone_is_converted(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage
) -> None:
    page = open_page(fake_url, permissions=["microphone"])
    page.get_by_role("button", name="Record audio").click()
    page.locator("#recording .record-button").click()
    page.locator("#recording time").filter(has_text="0:01").wait_for(timeout=SOON_MS)
    with page.expect_response(is_uploaded_file, timeout=SOON_MS):
        page.locator("#recording .stop-button").click()
    page.locator("#convert").click()
    page.locator("#status .good").wait_for(timeout=SOON_MS)
    assert read_audio(fake_services.requests[0].audio).duration_s > 0.5


def test_an_error_is_friendly_and_the_next_conversion_works(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    fake_services.error = AudioTooLong("The recording has 9 s; allowed are 5 s.")
    page = open_page(fake_url)
    upload(page, recording)
    page.locator("#convert").click()
    page.locator("#status [role=alert]").wait_for(timeout=SOON_MS)
    assert "Cut it into shorter parts." in page.locator("#status").inner_text()
    assert "audio_too_long" in page.locator("#status").inner_text()
    assert "Cut it into shorter parts." in page.locator(".toast-body").inner_text()

    page.locator("#convert").click()
    page.locator("#status .good").wait_for(timeout=SOON_MS)


def test_a_defect_is_told_without_its_traceback(
    fake_services: FakeServices,
    fake_url: str,
    open_page: OpenPage,
    recording: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_services.error = ZeroDivisionError("secret detail")
    page = open_page(fake_url)
    upload(page, recording)
    page.locator("#convert").click()
    page.locator("#status [role=alert]").wait_for(timeout=SOON_MS)
    assert "internal_error" in page.locator("#status").inner_text()
    assert "secret detail" not in page.content()
    assert "secret detail" in caplog.text


def test_convert_without_a_recording_asks_for_one(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage
) -> None:
    page = open_page(fake_url)
    page.locator("#convert").click()
    page.get_by_text("There is no recording yet").first.wait_for(timeout=SOON_MS)
    assert fake_services.requests == []


def test_a_chinese_browser_gets_a_chinese_page(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    page = open_page(fake_url, locale="zh-CN")
    convert(page, recording)
    shown = page.locator("body").inner_text()
    for text in (
        "原始录音",
        "目标声音",
        "变调（半音）",
        "跟随音高",
        "开始转换",
        "完成：",
        "下载 WAV",
    ):
        assert text in shown
    assert "Pitch shift" not in shown


def test_there_is_nothing_to_play_or_download_before_a_conversion(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage
) -> None:
    page = open_page(fake_url)
    page.get_by_text("The result appears here").wait_for(timeout=SOON_MS)
    assert not page.locator("#result").is_visible()
    assert not page.locator("#download").is_visible()


def test_a_phone_needs_no_sideways_scrolling(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    page = open_page(fake_url, viewport={"width": 390, "height": 844})
    page.locator("#more-options button").first.click()
    convert(page, recording)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    edges = right_edges(page)
    assert {"stop", "theme", "figure", "download", "option-seed"} <= set(edges)
    assert {name: x for name, x in edges.items() if x > 390} == {}


def test_stop_ends_a_running_conversion(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    fake_services.holds = True
    page = open_page(fake_url)
    upload(page, recording)
    page.locator("#convert").click()
    page.get_by_text("Speaking in the new voice").wait_for(timeout=SOON_MS)
    page.locator("#stop").click()
    page.get_by_text("Stopped.").wait_for(timeout=SOON_MS)
    assert fake_services.ended.is_set()
    assert page.locator("#convert").is_enabled()


def test_a_closed_tab_ends_its_conversion(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    fake_services.holds = True
    page = open_page(fake_url)
    upload(page, recording)
    page.locator("#convert").click()
    page.get_by_text("Speaking in the new voice").wait_for(timeout=SOON_MS)
    page.close()
    assert fake_services.ended.wait(SOON_MS / 1000)


def test_options_reach_the_conversion(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    page = open_page(fake_url)
    page.locator("#option-semitones input[type=number]").fill("7")
    page.locator("#option-semitones input[type=number]").blur()
    convert(page, recording)
    request = fake_services.requests[0]
    assert (request.voice, request.options.semitones) == ("demo", 7)
    assert request.options.noise_scale is None
    assert request.audio == recording.read_bytes()


@pytest.mark.parametrize("audio_format", ["flac", "mp3"])
def test_the_result_can_be_saved_in_another_format(
    fake_services: FakeServices,
    fake_url: str,
    open_page: OpenPage,
    recording: Path,
    audio_format: str,
) -> None:
    page = open_page(fake_url)
    convert(page, recording)
    page.locator(f"#format input[value={audio_format}]").check()
    page.get_by_role("button", name=f"Download {audio_format.upper()}").wait_for(timeout=SOON_MS)
    with page.expect_download() as waiting:
        page.locator("#download").click()
    data = waiting.value.path().read_bytes()
    assert waiting.value.suggested_filename.endswith(f"-demo.{audio_format}")
    assert soundfile.info(io.BytesIO(data)).format == audio_format.upper()


def test_the_card_follows_the_voice_chosen(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage
) -> None:
    fake_services.listed = [voice("demo"), voice("choir", card={}, speakers=5, index=True)]
    page = open_page(fake_url)
    page.locator("#voice input").click()
    page.get_by_role("option", name="choir").click()
    page.get_by_text("5 speakers").wait_for(timeout=SOON_MS)


def test_a_voice_added_since_is_there_after_a_reload(
    fake_services: FakeServices, fake_url: str, open_page: OpenPage, recording: Path
) -> None:
    fake_services.listed = []
    page = open_page(fake_url)
    page.get_by_text("No voice is installed yet").wait_for(timeout=SOON_MS)
    fake_services.listed = [voice("fresh", card={})]
    page.reload()
    page.get_by_text("follows pitch").wait_for(timeout=SOON_MS)
    convert(page, recording)
    assert fake_services.requests[0].voice == "fresh"
