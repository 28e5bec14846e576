"""Pieces of the page as HTML: the voice's card, progress, timings; all text is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from ui.error_text import error_text
from ui.text import PAGE, say

if TYPE_CHECKING:
    from rvc_core.run import Progress
    from server.services import ConvertResult, VoiceInfo

TIMED = ("queue", "load", "feature", "f0", "synth", "total")
NEGLIGIBLE_S = 0.005
DEMO_COMMAND = ".venv/bin/python -m demo_voice --models models"


def voice_name(voice: VoiceInfo) -> str:
    """What to call a voice in the list: the name on its card, else its id."""
    return voice.card.get("name") or voice.id


def voice_card(voice: VoiceInfo, language: str) -> str:
    """What the voice is, and what its makers want people to know."""
    if voice.error is not None:
        return (
            f'<div class="vs-card bad"><b>{say("card_broken", language)}</b>'
            f"<p>{escape(voice.error)}</p></div>"
        )
    chips = "".join(f"<li>{escape(fact)}</li>" for fact in _facts(voice, language))
    small_print = _small_print(voice, language)
    return f'<div class="vs-card"><ul class="vs-chips">{chips}</ul>{small_print}</div>'


def _facts(voice: VoiceInfo, language: str) -> Iterable[str]:
    if voice.sample_rate is not None:
        yield say("card_rate", language, khz=voice.sample_rate / 1000)
    if voice.version is not None:
        yield say("card_version", language, version=voice.version)
    yield say("card_f0" if voice.f0 else "card_no_f0", language)
    if voice.speakers is not None:
        key = "card_speaker" if voice.speakers == 1 else "card_speakers"
        yield say(key, language, count=voice.speakers)
    yield say("card_index" if voice.index else "card_no_index", language)


def _small_print(voice: VoiceInfo, language: str) -> str:
    notice = voice.card.get("notice", "")
    details = [voice.card[key] for key in ("origin", "licence") if voice.card.get(key)]
    shown = f'<p class="vs-notice">{escape(notice)}</p>' if notice else ""
    if not details:
        return shown
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in details)
    return (
        f"{shown}<details><summary>{say('card_origin', language)}</summary>{paragraphs}</details>"
    )


def no_voice(language: str) -> str:
    """How to get a first voice."""
    return (
        f'<div class="vs-card bad"><b>{say("no_voice_title", language)}</b>'
        f"<p>{say('no_voice_put', language)}</p><code>{DEMO_COMMAND}</code>"
        f"<p>{say('no_voice_reload', language)}</p></div>"
    )


def empty_result(language: str) -> str:
    """What stands in the place of a result before there is one."""
    return f'<div class="vs-empty"><p>{say("empty", language)}</p></div>'


def running(progress: Progress | None, elapsed_s: float, language: str) -> str:
    """Which stage runs and how far it is; None stands for the time before the first stage."""
    if progress is None:
        return busy("waiting", elapsed_s, language)
    share = progress.done / progress.total if progress.total else None
    key = f"stage_{progress.stage}"
    return busy(key if key in PAGE else "waiting", elapsed_s, language, share)


def busy(key: str, elapsed_s: float | None, language: str, share: float | None = None) -> str:
    """A progress bar with the text `key`; without a `share` (0 to 1) it only shows life."""
    text = say(key, language)
    clock = "" if elapsed_s is None else say("seconds", language, seconds=elapsed_s)
    percent = None if share is None else round(100 * min(1.0, share))
    bar = "<i></i>" if percent is None else f'<i style="width:{percent}%"></i>'
    state = " endless" if percent is None else f'" aria-valuenow="{percent}'
    return (
        f'<div class="vs-status"><div class="vs-line"><span>{text}</span>'
        f'<span aria-hidden="true">{clock}</span></div>'
        f'<div role="progressbar" aria-label="{text}" class="vs-bar{state}">{bar}</div></div>'
    )


def finished(audio_s: float, spent_s: float, language: str) -> str:
    """That it is done, and how long it took."""
    text = say("done", language, audio=audio_s, spent=spent_s)
    return f'<div class="vs-status good" role="status">{text}</div>'


def stopped(language: str) -> str:
    """That the visitor stopped it."""
    return f'<div class="vs-status" role="status">{say("stopped", language)}</div>'


def failed(code: str, language: str) -> str:
    """Why there is no result and what to do next, with the code for who is asked about it."""
    return (
        f'<div class="vs-status bad" role="alert"><b>{say("failed", language)}</b>'
        f"<p>{escape(error_text(code, language))}</p>"
        f"<small>{say('error_code', language)}: <code>{escape(code)}</code></small></div>"
    )


def details(result: ConvertResult, language: str) -> str:
    """Stage timings as chips, the device, and what the conversion had to remark."""
    chips = "".join(
        f"<li><span>{say(f'time_{stage}', language)}</span> "
        f"<b>{say('seconds_fine', language, seconds=result.timings[stage])}</b></li>"
        for stage in TIMED
        if result.timings.get(stage, 0.0) >= NEGLIGIBLE_S
    )
    notes = "".join(note(text, language) for text in result.warnings)
    return (
        f'<ul class="vs-chips" aria-label="{say("timings", language)}">{chips}'
        f"<li>{escape(result.device)}</li></ul>{notes}"
    )


def note(text: str, language: str) -> str:
    """A remark under the result."""
    return f'<p class="vs-notice"><b>{say("warning", language)}:</b> {escape(text)}</p>'
