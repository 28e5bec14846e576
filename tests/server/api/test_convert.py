from __future__ import annotations

import base64
import io
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import soundfile
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_server import create_app
from rvc_core.token import Token
from server.api.context import DisconnectWatcher
from server.services import Services
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import engine_of

PATIENCE_S = 10.0


def post(client: FlaskClient, recording: bytes, accept: str = "*/*", **fields: Any) -> TestResponse:
    data = {"audio": (io.BytesIO(recording), "x.wav"), **fields}
    return client.post("/api/v1/convert", data=data, headers={"Accept": accept})


def test_a_recording_comes_back_as_wav_of_the_same_length(
    client: FlaskClient, recording: bytes
) -> None:
    answer = post(client, recording)
    samples, rate = soundfile.read(io.BytesIO(answer.data))
    assert (answer.status_code, answer.mimetype, rate, len(samples)) == (
        200,
        "audio/wav",
        16_000,
        1600,
    )


def test_the_headers_say_what_was_done(client: FlaskClient, recording: bytes) -> None:
    headers = post(client, recording).headers
    assert headers["X-Audio-Sample-Rate"] == "16000"
    assert headers["X-Audio-Channels"] == "1"
    assert headers["X-Audio-Encoding"] == "pcm_s16le"
    assert (headers["X-Model"], headers["X-Device"]) == ("anna", "cpu")
    assert headers["X-Model-State"] == "unloaded"
    assert headers["X-Queue-Ms"].isdigit()
    stages = [entry.split(";")[0] for entry in headers["Server-Timing"].split(", ")]
    assert stages == ["queue", "load", "feature", "f0", "synth", "total", "encode"]
    assert headers["X-Warnings"] == "Gr%C3%B6%C3%9Fe: all is fake"
    assert headers["Cache-Control"] == "no-store"


def test_the_file_is_named_after_the_request(client: FlaskClient, recording: bytes) -> None:
    data = {"audio": (io.BytesIO(recording), "x.wav"), "response_format": "flac"}
    answer = client.post("/api/v1/convert", data=data, headers={"X-Request-Id": "my-1"})
    assert answer.headers["X-Request-Id"] == "my-1"
    assert answer.headers["Content-Disposition"] == 'inline; filename="my-1.flac"'
    assert answer.data.startswith(b"fLaC")


def test_a_strange_request_id_is_not_echoed(client: FlaskClient, recording: bytes) -> None:
    answer = client.get("/health", headers={"X-Request-Id": "a/../b"})
    assert len(answer.headers["X-Request-Id"]) == 32


def test_json_has_audio_and_timings(client: FlaskClient, recording: bytes) -> None:
    answer = post(client, recording, "application/json").get_json()
    assert set(answer["timings"]) == {"queue", "load", "feature", "f0", "synth", "encode", "total"}
    assert base64.b64decode(answer["audio_base64"]).startswith(b"RIFF")
    assert (answer["model"], answer["sample_rate"], answer["duration_s"]) == ("anna", 16_000, 0.1)
    assert answer["warnings"] == ["Größe: all is fake"]


def test_json_in(client: FlaskClient, recording: bytes) -> None:
    body = {"audio_base64": base64.b64encode(recording).decode(), "model": "anna.pth"}
    answer = client.post("/api/v1/convert", json=body)
    assert answer.data.startswith(b"RIFF")


def test_mp3_states_the_rate_that_it_really_has(client: FlaskClient) -> None:
    recording = by_soundfile(sine(0.1, 40_000), 40_000, "WAV")
    answer = post(client, recording, response_format="mp3")
    assert answer.mimetype == "audio/mpeg"
    assert answer.headers["X-Audio-Sample-Rate"] == "44100"


def test_a_voice_of_any_script_has_a_valid_header(
    client: FlaskClient, fake_models: Path, recording: bytes
) -> None:
    (fake_models / "voices" / "周杰伦.pth").write_bytes(b"x")
    answer = post(client, recording, model="周杰伦")
    assert answer.headers["X-Model"] == "%E5%91%A8%E6%9D%B0%E4%BC%A6"


def test_the_log_has_one_line_for_a_request(
    client: FlaskClient, recording: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="server.api.envelope")
    post(client, recording)
    (record,) = [r for r in caplog.records if r.name == "server.api.envelope"]
    pattern = r"POST /api/v1/convert 200 ms=\d+ queue_ms=\d+ model=anna"
    assert re.fullmatch(pattern, record.getMessage())


def test_a_client_that_leaves_ends_its_conversion(services: Services, recording: bytes) -> None:
    begun, gone = threading.Event(), threading.Event()

    def until_cancelled(token: Token) -> None:
        begun.set()
        gone.set()
        while True:
            token.check()
            threading.Event().wait(0.001)

    engine_of(services).during_convert = until_cancelled
    client = create_app(services).test_client()
    answer = client.post(
        "/api/v1/convert",
        data={"audio": (io.BytesIO(recording), "x.wav"), "timeout_s": PATIENCE_S},
        environ_overrides={"waitress.client_disconnected": gone.is_set},
    )
    assert begun.is_set()
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (499, "cancelled")


def test_only_the_request_whose_client_left_is_cancelled() -> None:
    watcher, gone, stays = DisconnectWatcher(poll_s=0.001), Token(), Token()
    asked = threading.Event()

    def is_gone() -> bool:
        asked.set()
        return False

    with watcher.watch(lambda: True, gone), watcher.watch(is_gone, stays):
        assert asked.wait(PATIENCE_S)
        while not gone.cancelled:
            threading.Event().wait(0.001)
        assert not stays.cancelled
