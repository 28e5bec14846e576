"""From an HTTP request, form or JSON, to the typed request that the services take."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict

from gpu.state import NEVER
from rvc_core.errors import InvalidOption
from rvc_core.options import OPTION_SPECS, ConversionOptions
from server.api.bodies import read_json_object
from server.errors import InvalidRequest, UnsupportedMediaType
from server.placement import Priority
from server.services import ConvertRequest

AUDIO_FIELDS = ("audio", "audio_file", "file")
VOICE_FIELDS = ("model", "voice")
FORMATS = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
}
TRUTHS = {True: True, False: False, "true": True, "1": True, "false": False, "0": False}
OPTIONS = {spec.api: spec for spec in OPTION_SPECS}
TEXT_FIELDS = (
    *(*VOICE_FIELDS, "audio_url", "index_path", "response_format", "timeout_s", "keep_alive"),
    *("stream", *OPTIONS),
)


@dataclass(frozen=True)
class ConvertCall:
    """A request to convert and how its answer is to look."""

    request: ConvertRequest
    audio_format: str
    as_json: bool
    timeout_s: float
    streams: bool = False


@dataclass(frozen=True)
class CallLimits:
    """The longest that a request may take, and that a voice may stay for it, in seconds."""

    request_s: float
    keep_alive_s: float


def read_convert_call(request: Request, request_id: str, limits: CallLimits) -> ConvertCall:
    """Check everything but the audio itself; raise a typed error that names the field."""
    for name in request.args.keys() - {"async"}:
        raise InvalidOption(f"{name} is in the query; send it as a field.", param=name)
    fields, audio = _read_json(request) if request.is_json else _read_form(request)
    return call_from(fields, audio, request, request_id, limits)


def call_from(
    fields: Mapping[str, Any], audio: bytes, request: Request, request_id: str, limits: CallLimits
) -> ConvertCall:
    """Check fields whose names are known; the headers of `request` count too."""
    voice = _one_of(fields, VOICE_FIELDS)
    url = _text("audio_url", fields.get("audio_url"))
    if audio and url is not None:
        raise InvalidRequest("Send the recording or its address, not both.", param="audio_url")
    options = {name: value for name, value in fields.items() if name in OPTIONS}
    return ConvertCall(
        request=ConvertRequest(
            audio=audio,
            voice=_text("model", voice),
            options=ConversionOptions.from_api(options),
            request_id=request_id,
            index=_text("index_path", fields.get("index_path")),
            priority=_priority(request),
            keep_alive_s=_keep_alive(fields.get("keep_alive"), limits.keep_alive_s),
            audio_url=url,
        ),
        audio_format=_audio_format(fields.get("response_format"), request),
        as_json=_wants_json(request),
        timeout_s=_timeout(fields.get("timeout_s"), request, limits.request_s),
        streams=_streams(fields.get("stream", False), request),
    )


def _read_form(request: Request) -> tuple[dict[str, Any], bytes]:
    if request.content_type and request.mimetype not in _FORM_TYPES:
        raise UnsupportedMediaType(
            f"The body is {request.mimetype:.80}; send multipart/form-data or application/json.",
            param="Content-Type",
        )
    _refuse_unknown(request.form, TEXT_FIELDS, request.files)
    _refuse_unknown(request.files, AUDIO_FIELDS, {})
    fields = {name: value for name, value in request.form.items() if value != ""}
    uploads = [request.files[name] for name in AUDIO_FIELDS if name in request.files]
    if not uploads and "audio_url" in fields:
        return fields, b""
    if len(uploads) != 1:
        raise InvalidRequest("Send one recording, as the file field 'audio'.", param="audio")
    return fields, uploads[0].read()


_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


def _refuse_unknown(
    given: MultiDict[str, Any], known: tuple[str, ...], files: Mapping[str, Any]
) -> None:
    for name, value in given.items():
        if name in AUDIO_FIELDS and name not in known:
            if value == "":  # a form whose file was not chosen
                continue
            raise InvalidRequest(f"{name} is text; send it as a file.", param=name)
        if name not in known:
            raise _unknown(name)
        if len(given.getlist(name)) > 1 or name in files:
            raise InvalidOption(f"{name} is given more than once.", param=name)


def _unknown(name: str) -> InvalidOption:
    known = ", ".join(sorted(TEXT_FIELDS))
    return InvalidOption(f"There is no field {name!r:.80}; there are {known}.", param=name[:80])


def _read_json(request: Request) -> tuple[dict[str, Any], bytes]:
    body = read_json_object()
    fields = {name: value for name, value in body.items() if value is not None}
    encoded = fields.pop("audio_base64", None)
    for name in fields:
        if name not in TEXT_FIELDS:
            raise _unknown(name)
    if encoded is None and fields.get("audio_url"):
        return fields, b""
    if not isinstance(encoded, str):
        raise InvalidRequest("Send the recording as base64 text.", param="audio_base64")
    try:
        return fields, base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("audio_base64 is no base64.", param="audio_base64") from None


def _one_of(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    given = [name for name in names if name in fields]
    if len(given) > 1:
        raise InvalidOption(f"{given[0]} and {given[1]} mean the same; give one.", param=given[1])
    return fields[given[0]] if given else None


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidOption(f"{name} is {value!r:.60}; it must be text.", param=name)
    return value or None


def _audio_format(given: Any, request: Request) -> str:
    if given is None:
        by_type = {media_type: name for name, media_type in FORMATS.items()}
        accepted = request.accept_mimetypes.best_match(list(by_type), default="audio/wav")
        return by_type[accepted]
    if not isinstance(given, str) or given not in FORMATS:
        raise InvalidOption(
            f"response_format is {given!r:.60}; allowed is one of {', '.join(FORMATS)}.",
            param="response_format",
        )
    return given


def _wants_json(request: Request) -> bool:
    answers = [*FORMATS.values(), "application/json"]
    return request.accept_mimetypes.best_match(answers) == "application/json"


def _streams(given: Any, request: Request) -> bool:
    known = given.lower() if isinstance(given, str) else given
    if isinstance(given, (str, bool)) and known in TRUTHS:
        streams = TRUTHS[known]
    else:
        raise InvalidOption(f"stream is {given!r:.60}; allowed is true or false.", param="stream")
    if streams and _wants_json(request):
        raise InvalidOption("A stream is audio; Accept asks for application/json.", param="stream")
    return streams


def _timeout(given: Any, request: Request, max_request_s: float) -> float:
    header = request.headers.get("X-Timeout-Ms")
    name, text, unit = ("timeout_s", given, 1) if header is None else ("X-Timeout-Ms", header, 1000)
    if text is None:
        return max_request_s
    try:
        timeout_s = float(text) / unit
    except (TypeError, ValueError, OverflowError):
        timeout_s = math.nan
    if isinstance(text, bool) or not timeout_s > 0:  # NaN too
        raise InvalidOption(f"{name} is {text!r:.60}; it must be above 0.", param=name)
    return min(timeout_s, max_request_s)


def _priority(request: Request) -> Priority:
    given = request.headers.get("X-Priority", Priority.INTERACTIVE.value)
    try:
        return Priority(given.lower())
    except ValueError:
        allowed = " or ".join(priority.value for priority in Priority)
        raise InvalidOption(
            f"X-Priority is {given!r:.60}; allowed is {allowed}.", param="X-Priority"
        ) from None


def _keep_alive(given: Any, longest_s: float) -> float | None:
    if given is None:
        return None
    try:
        seconds = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (0 <= seconds <= longest_s or seconds == NEVER):
        raise InvalidOption(
            f"keep_alive is {given!r:.60}; it must be 0 to {longest_s:g} seconds, or -1.",
            param="keep_alive",
        )
    return seconds
