from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request

from rvc_core.errors import CoreError
from server.api.requests import CallLimits, ConvertCall, read_convert_call
from server.errors import ServerError
from server.placement import Priority

MAX_S = 600.0


def read(**more: Any) -> ConvertCall:
    with Flask(__name__).test_request_context("/", method="POST", **more):
        return read_convert_call(request, "id", CallLimits(MAX_S, 60.0))


def read_form(fields: dict[str, Any] | None = None, **more: Any) -> ConvertCall:
    audio = {"audio": (io.BytesIO(b"sound"), "a.wav")}
    return read(data=audio | (fields or {}), content_type="multipart/form-data", **more)


def read_json(body: Any, **more: Any) -> ConvertCall:
    return read(data=json.dumps(body), content_type="application/json", **more)


def refusal_of(call: Callable[[], Any]) -> CoreError | ServerError:
    """The error that the call raises."""
    try:
        call()
    except (CoreError, ServerError) as error:
        return error
    pytest.fail("It was not refused.")


ENCODED = base64.b64encode(b"sound").decode()


def test_a_form_is_read() -> None:
    call = read_form({"model": "anna", "f0_up_key": "3", "loudnorm": "true", "index_path": "x"})
    assert call.request.audio == b"sound"
    assert (call.request.voice, call.request.index) == ("anna", "x")
    assert (call.request.options.semitones, call.request.options.loudnorm) == (3.0, True)
    assert (call.audio_format, call.as_json, call.timeout_s) == ("wav", False, MAX_S)


def test_json_is_read() -> None:
    call = read_json({"audio_base64": ENCODED[:4] + "\n" + ENCODED[4:], "voice": "anna", "seed": 7})
    assert call.request.audio == b"sound"
    assert (call.request.voice, call.request.options.seed) == ("anna", 7)


@pytest.mark.parametrize("name", ["audio", "audio_file", "file"])
def test_the_recording_has_three_names(name: str) -> None:
    data = {name: (io.BytesIO(b"sound"), "a.wav")}
    assert read(data=data, content_type="multipart/form-data").request.audio == b"sound"


def test_an_empty_form_field_and_a_json_null_count_as_not_given() -> None:
    assert read_form({"noise_scale": "", "model": ""}).request.options.noise_scale is None
    assert read_json({"audio_base64": ENCODED, "seed": None}).request.options.seed == 0


@pytest.mark.parametrize(
    ("accept", "audio_format", "as_json"),
    [
        ("*/*", "wav", False),
        ("audio/flac", "flac", False),
        ("audio/mpeg, */*;q=0.1", "mp3", False),
        ("application/json", "wav", True),
        ("text/html", "wav", False),
    ],
)
def test_accept_chooses_the_answer(accept: str, audio_format: str, as_json: bool) -> None:
    call = read_form(headers={"Accept": accept})
    assert (call.audio_format, call.as_json) == (audio_format, as_json)


def test_the_field_wins_over_accept() -> None:
    call = read_form({"response_format": "mp3"}, headers={"Accept": "audio/flac"})
    assert call.audio_format == "mp3"


@pytest.mark.parametrize(
    ("fields", "headers", "timeout_s"),
    [
        ({"timeout_s": "2.5"}, {}, 2.5),
        ({"timeout_s": "9999"}, {}, MAX_S),
        ({"timeout_s": "9"}, {"X-Timeout-Ms": "1500"}, 1.5),
    ],
)
def test_the_time_allowed(
    fields: dict[str, str], headers: dict[str, str], timeout_s: float
) -> None:
    assert read_form(fields, headers=headers).timeout_s == timeout_s


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, None), ("0", 0.0), ("-1", -1.0), ("59.5", 59.5)]
)
def test_how_long_the_voice_stays(given: str | None, seconds: float | None) -> None:
    fields = {} if given is None else {"keep_alive": given}
    assert read_form(fields).request.keep_alive_s == seconds


@pytest.mark.parametrize(
    ("headers", "priority"),
    [
        ({}, Priority.INTERACTIVE),
        ({"X-Priority": "interactive"}, Priority.INTERACTIVE),
        ({"X-Priority": "Batch"}, Priority.BATCH),
    ],
)
def test_who_goes_first(headers: dict[str, str], priority: Priority) -> None:
    assert read_form({}, headers=headers).request.priority is priority


def test_another_priority_is_refused() -> None:
    error = refusal_of(lambda: read_form({}, headers={"X-Priority": "urgent"}))
    assert (error.param, "interactive or batch" in error.message) == ("X-Priority", True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"f0_up": "3"}, "f0_up"),
        ({"f0_up_key": "99"}, "f0_up_key"),
        ({"semitones": "1"}, "semitones"),
        ({"model": "a", "voice": "b"}, "voice"),
        ({"seed": ["1", "2"]}, "seed"),
        ({"response_format": "aiff"}, "response_format"),
        ({"stream": "maybe"}, "stream"),
        ({"timeout_s": "0"}, "timeout_s"),
        ({"timeout_s": "nan"}, "timeout_s"),
        ({"timeout_s": "soon"}, "timeout_s"),
        ({"keep_alive": "-2"}, "keep_alive"),
        ({"keep_alive": "60.1"}, "keep_alive"),
        ({"keep_alive": "nan"}, "keep_alive"),
        ({"keep_alive": "ever"}, "keep_alive"),
        ({"audio_base64": ENCODED}, "audio_base64"),
        ({"file": "text"}, "file"),
        ({"file": (io.BytesIO(b"second"), "b.wav")}, "audio"),
        ({"picture": (io.BytesIO(b"x"), "b.png")}, "picture"),
    ],
)
def test_a_wrong_form_field_is_named(fields: dict[str, Any], param: str) -> None:
    error = refusal_of(lambda: read_form(fields))
    assert error.param == param
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "audio_base64"),
        ({"audio_base64": "§"}, "audio_base64"),
        ({"audio_base64": "abc"}, "audio_base64"),
        ({"audio_base64": 5}, "audio_base64"),
        ({"audio_base64": ENCODED, "model": 5}, "model"),
        ({"audio_base64": ENCODED, "model": ["a"]}, "model"),
        ({"audio_base64": ENCODED, "index_path": {}}, "index_path"),
        ({"audio_base64": ENCODED, "f0_up_key": [1]}, "f0_up_key"),
        ({"audio_base64": ENCODED, "f0_up_key": 10**400}, "f0_up_key"),
        ({"audio_base64": ENCODED, "timeout_s": True}, "timeout_s"),
        ({"audio_base64": ENCODED, "timeout_s": 10**400}, "timeout_s"),
        ({"audio_base64": ENCODED, "response_format": ["wav"]}, "response_format"),
        ({"audio_base64": ENCODED, "audio": "x"}, "audio"),
        ({"audio_base64": ENCODED, "": "x"}, ""),
    ],
)
def test_a_wrong_json_key_is_named(body: dict[str, Any], param: str) -> None:
    assert refusal_of(lambda: read_json(body)).param == param


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe{}", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ServerError, match="The body is"):
        read(data=data, content_type="application/json")


def test_options_in_the_query_are_refused_not_ignored() -> None:
    with pytest.raises(CoreError, match="f0_up_key is in the query"):
        read_form(query_string={"f0_up_key": "3"})


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "invalid_request"),
        ({"data": b"RIFF", "content_type": "audio/wav"}, "unsupported_media_type"),
        ({"data": b"--", "content_type": "multipart/form-data"}, "invalid_request"),
        ({"data": {"model": "a"}}, "invalid_request"),
    ],
)
def test_a_body_without_a_recording_is_refused(more: dict[str, Any], code: str) -> None:
    with pytest.raises(ServerError) as caught:
        read(**more)
    assert caught.value.code == code


def test_an_address_may_stand_for_the_recording() -> None:
    url = "https://voices.example/a.wav"
    for call in (read(data={"audio_url": url}), read_json({"audio_url": url})):
        assert (call.request.audio_url, call.request.audio) == (url, b"")
    assert read_form({"audio_url": ""}).request.audio_url is None


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: read_form({"audio_url": "https://a"}), "invalid_request"),
        (lambda: read_json({"audio_url": "https://a", "audio_base64": "AAAA"}), "invalid_request"),
        (lambda: read_json({"audio_url": ""}), "invalid_request"),
        (lambda: read_json({"audio_url": 5}), "invalid_option"),
        (lambda: read_json({"audio_url": "https://a", "audio_base64": 5}), "invalid_request"),
    ],
)
def test_a_recording_and_its_address_exclude_each_other(
    call: Callable[[], ConvertCall], code: str
) -> None:
    assert refusal_of(call).code == code
