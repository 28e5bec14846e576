"""What the convert page does when people press its buttons."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from rvc_core.audio import Audio, encode_audio, read_audio
from rvc_core.errors import Cancelled
from rvc_core.token import Token
from server.services import ConvertRequest, ConvertResult
from ui import charts, parts
from ui.controls import read_options
from ui.error_text import UNKNOWN, error_text
from ui.page import Page
from ui.text import language_of, say
from ui.work import Background, Visitors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rvc_core.run import Progress
    from server.services import Services

logger = logging.getLogger(__name__)

TICK_S = 0.2  # between two looks at the work; a closed tab is noticed at the next
Updates = dict[Any, Any]


class PageError(Exception):
    """A request that the page itself refuses; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Wish:
    """What a visitor asked for when pressing Convert."""

    recording: str | None
    voice: str | None
    audio_format: str
    values: tuple[Any, ...]
    language: str


@dataclass(frozen=True)
class Outcome:
    """A conversion and the recording it came from."""

    source: Audio
    result: ConvertResult


class Handlers:
    """The page's handlers; those that take long are generators, which a closed tab ends.

    Files are yielded as `gr.update(value=...)` throughout: Gradio sends the difference between
    two yields, and a plain file after a skipped output arrives as a mixture of both.
    """

    def __init__(self, services: Services, page: Page) -> None:
        self._services = services
        self._page = page
        self._visitors = Visitors()

    def refresh(self, chosen: str | None, request: gr.Request) -> tuple[Any, str, str]:
        """The voices as they are now, the card of the one chosen, and an empty result."""
        language = _language(request)
        empty = parts.empty_result(language)
        voices = {voice.id: voice for voice in self._services.voices()}
        if not voices:
            none = gr.update(choices=[], value=None, interactive=False)
            return none, parts.no_voice(language), empty
        wanted = [
            chosen,
            self._services.default_voice(),
            *(v.id for v in voices.values() if v.error is None),
        ]
        choice = next((name for name in wanted if name in voices), next(iter(voices)))
        listed = [(parts.voice_name(voice), voice.id) for voice in voices.values()]
        dropdown = gr.update(choices=listed, value=choice, interactive=True)
        return dropdown, parts.voice_card(voices[choice], language), empty

    def show_card(self, chosen: str | None, request: gr.Request) -> str:
        """The card of the voice chosen."""
        found = [voice for voice in self._services.voices() if voice.id == chosen]
        language = _language(request)
        return parts.voice_card(found[0], language) if found else parts.no_voice(language)

    def convert(
        self,
        recording: str | None,
        voice: str | None,
        audio_format: str,
        request: gr.Request,
        *values: Any,
    ) -> Iterator[Updates]:
        """Convert, showing each stage; Stop, a closed tab and the deadline end the work."""
        wish = Wish(recording, voice, audio_format, values, _language(request))
        timeout_s = self._services.settings.max_request_seconds
        yield self._begin(wish.language)
        with self._visitors.running(_visitor(request), timeout_s) as token:
            latest: deque[Progress] = deque(maxlen=1)
            work = Background(lambda: self._work(wish, token, latest))
            for elapsed_s in work.ticks(TICK_S):
                yield {
                    self._page.status: _progress(latest, token, elapsed_s, wish.language),
                    self._page.stop: gr.update(interactive=not token.cancelled),
                }
            if work.error is not None:
                yield from self._fail(work.error, wish.language)
            else:
                yield from self._show(work.result(), wish)

    def stop(self, request: gr.Request) -> None:
        """End the visitor's conversion at its next check.

        Only the conversion itself says so on the page: two answers could overtake each other.
        """
        self._visitors.stop(_visitor(request))

    def change_format(
        self, result: str | None, audio_format: str, request: gr.Request
    ) -> Iterator[Any]:
        """Offer the result in another format."""
        language = _language(request)
        if result is None:
            yield gr.skip()
            return
        try:
            wav = _read_upload(result)
        except PageError as error:
            raise _toast(error.code, language) from None
        data = encode_audio(read_audio(wav), audio_format)
        with _temporary_file(data, f"{Path(result).stem}.{audio_format}") as path:
            yield _offer(path, language)

    def _begin(self, language: str) -> Updates:
        page = self._page
        return {
            page.convert: gr.update(interactive=False),
            page.stop: gr.update(interactive=True),
            page.status: parts.busy("waiting", 0.0, language),
            page.result: gr.update(value=None),
            page.figure: "",
            page.details: "",  # while it is empty, the style sheet hides player and download
        }

    def _at_rest(self, status: str) -> Updates:
        page = self._page
        return {
            page.convert: gr.update(interactive=True),
            page.stop: gr.update(interactive=False),
            page.status: status,
        }

    def _work(self, wish: Wish, token: Token, latest: deque[Progress]) -> Outcome:
        data = _read_upload(wish.recording)
        request = ConvertRequest(
            audio=data,
            voice=wish.voice,
            options=read_options(wish.values),
            request_id=uuid.uuid4().hex,
        )
        result = self._services.convert(request, token, latest.append)
        return Outcome(read_audio(data), result)

    def _fail(self, error: BaseException, language: str) -> Iterator[Updates]:
        if isinstance(error, Cancelled):
            yield {
                **self._at_rest(parts.stopped(language)),
                self._page.figure: parts.empty_result(language),
            }
            return
        code = getattr(error, "code", UNKNOWN)
        if code == UNKNOWN:
            logger.error("A conversion in the browser failed", exc_info=error)
        yield self._at_rest(parts.failed(code, language))
        raise _toast(code, language)

    def _show(self, outcome: Outcome, wish: Wish) -> Iterator[Updates]:
        """Give the sound first, then the pitch curves, which take a moment."""
        page, result, language = self._page, outcome.result, wish.language
        stem = f"{Path(wish.recording or '').stem}-{result.voice}"
        series = _series(outcome, None, language)
        wav, saved = (encode_audio(result.audio, name) for name in ("wav", wish.audio_format))
        with (
            _temporary_file(wav, f"{stem}.wav") as listen,
            _temporary_file(saved, f"{stem}.{wish.audio_format}") as save,
        ):
            yield {
                page.stop: gr.update(interactive=False),
                page.status: parts.busy("drawing", None, language),
                page.result: gr.update(value=listen),
                page.figure: charts.comparison(series, language, with_pitch=False),
                page.details: parts.details(result, language),
                page.download: _offer(save, language),
            }
        work = Background(lambda: self._curves(outcome))
        for _ in work.ticks(TICK_S):
            yield {page.status: gr.skip()}  # lets a closed tab end this
        if work.error is None:
            drawn = charts.comparison(_series(outcome, work.result(), language), language)
        else:
            logger.error("The pitch curves could not be drawn", exc_info=work.error)
            drawn = charts.comparison(series, language, with_pitch=False)
            drawn += parts.note(say("no_curves", language), language)
        done = parts.finished(result.audio.duration_s, result.timings["total"], language)
        yield {**self._at_rest(done), page.figure: drawn}

    def _curves(self, outcome: Outcome) -> list[NDArray[np.float32]]:
        curve_of = self._services.f0_curve
        known = outcome.result.source_f0
        # A voice that does not follow pitch leaves the recording's unheard.
        of_source = known if len(known) else curve_of(outcome.source)
        return [f0.astype(np.float32) for f0 in (of_source, curve_of(outcome.result.audio))]


def _series(
    outcome: Outcome, curves: list[NDArray[np.float32]] | None, language: str
) -> list[charts.Series]:
    audios = {"source": outcome.source, "result": outcome.result.audio}
    names = {"source": say("recording", language), "result": say("result", language)}
    f0s = curves or [np.zeros(0, np.float32)] * len(audios)
    return [
        charts.Series(key, names[key], audio.samples, audio.sample_rate, f0)
        for (key, audio), f0 in zip(audios.items(), f0s, strict=True)
    ]


def _progress(latest: deque[Progress], token: Token, elapsed_s: float, language: str) -> str:
    if token.cancelled:
        return parts.busy("stopping", elapsed_s, language)
    return parts.running(latest[-1] if latest else None, elapsed_s, language)


def _toast(code: str, language: str) -> gr.Error:
    text = error_text(code, language)
    return gr.Error(text, title=say("failed", language), print_exception=False)


def _read_upload(path: str | None) -> bytes:
    if path is None:
        raise PageError("recording_required")
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:  # files of visitors are deleted after a while
        raise PageError("recording_gone") from None


@contextmanager
def _temporary_file(data: bytes, name: str) -> Iterator[str]:
    """A file that exists for the time of the block; Gradio copies what it is given."""
    with tempfile.TemporaryDirectory(prefix="voice-server-") as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield str(path)


def _offer(path: str, language: str) -> Any:
    audio_format = Path(path).suffix.removeprefix(".").upper()
    return gr.update(value=path, label=say("download_as", language, audio_format=audio_format))


def _language(request: gr.Request) -> str:
    return language_of(request.headers.get("accept-language"))


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)
