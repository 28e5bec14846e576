"""Answers that begin before they are finished, on a real server over a fake engine."""

from __future__ import annotations

import http.client
import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from flask.testing import FlaskClient

from rvc_core.audio import read_audio
from rvc_core.errors import NonFiniteOutput
from rvc_core.token import Token
from server import waitress_server
from server.services import Services
from tests.gpu.fakes import until
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import engine_of, fake_services
from tests.server.live import running

PATIENCE_S = 10.0
SECONDS = 4.0


@pytest.fixture
def long_recording() -> bytes:
    return by_soundfile(sine(SECONDS, 16_000), 16_000, "WAV")


@contextmanager
def served(models: Path, **settings: Any) -> Iterator[tuple[str, Services]]:
    services = fake_services(models, **{"waitress_threads": 20, **settings})
    with running(services) as url:
        yield url, services


def is_served(url: str, recording: bytes, **fields: str) -> bool:
    with post(url, recording, **fields) as answer:
        return answer.status_code == 200


def require(happened: bool) -> None:
    assert happened


def post(url: str, recording: bytes, **fields: str) -> requests.Response:
    files = {"audio": ("a.wav", recording)}
    return requests.post(
        f"{url}/api/v1/convert", files=files, data=fields, stream=True, timeout=PATIENCE_S
    )


@contextmanager
def held_after_the_first_part(services: Services) -> Iterator[threading.Event]:
    """The fake engine waits between the parts until the event is set."""
    go_on = threading.Event()
    engine_of(services).between_parts = lambda: require(go_on.wait(PATIENCE_S))
    try:
        yield go_on
    finally:
        go_on.set()


def sample(services: Services, name: str, **labels: str) -> float:
    return services.metrics.registry.get_sample_value(name, labels) or 0.0


def running_now(services: Services) -> int:
    return sum(device["queue"]["running"] for device in services.gpu_status()["devices"])


@contextmanager
def asking(url: str, recording: bytes, **fields: str) -> Iterator[http.client.HTTPConnection]:
    """A connection on which a request was sent and nothing is read yet."""
    files = {"audio": ("a.wav", recording)}
    prepared = requests.Request("POST", url, files=files, data=fields).prepare()
    assert isinstance(prepared.body, bytes)
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
    with closing(connection):
        connection.request("POST", "/api/v1/convert", prepared.body, dict(prepared.headers))
        yield connection


@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3"])
def test_a_stream_has_the_bytes_of_the_file(
    audio_format: str, fake_models: Path, long_recording: bytes
) -> None:
    with served(fake_models) as (url, _):
        whole = post(url, long_recording, response_format=audio_format)
        stream = post(url, long_recording, response_format=audio_format, stream="true")
        assert stream.content == whole.content


def test_a_stream_in_ogg_has_the_samples_of_the_file(
    fake_models: Path, long_recording: bytes
) -> None:
    with served(fake_models) as (url, _):
        whole = post(url, long_recording, response_format="ogg").content
        stream = post(url, long_recording, response_format="ogg", stream="true").content
    np.testing.assert_array_equal(read_audio(stream).samples, read_audio(whole).samples)


@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "ogg"])
def test_the_answer_begins_while_the_rest_is_being_made(
    audio_format: str, fake_models: Path, long_recording: bytes
) -> None:
    with served(fake_models) as (url, services), held_after_the_first_part(services) as go_on:
        answer = post(url, long_recording, response_format=audio_format, stream="true")
        chunks = answer.iter_content(256)
        first = next(chunks)
        assert not go_on.is_set()
        go_on.set()
        assert read_audio(first + b"".join(chunks)).duration_s == pytest.approx(SECONDS, abs=0.01)


def test_headers_tell_what_is_known_when_the_stream_begins(
    fake_models: Path, long_recording: bytes
) -> None:
    with served(fake_models) as (url, _):
        headers = post(url, long_recording, stream="true").headers
    assert headers["X-Audio-Sample-Rate"] == "16000"
    assert headers["X-Audio-Encoding"] == "pcm_s16le"
    assert headers["X-Model"] == "anna"
    assert headers["X-Model-State"] == "unloaded"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Warnings"].startswith("Gr%C3%B6%C3%9Fe")
    assert int(headers["X-Queue-Ms"]) >= 0
    assert "Server-Timing" not in headers


def test_a_streamed_wav_states_its_length(fake_models: Path, long_recording: bytes) -> None:
    with served(fake_models) as (url, _):
        answer = post(url, long_recording, stream="true")
        assert int(answer.headers["Content-Length"]) == 44 + 2 * 64_000 == len(answer.content)


def test_what_fails_before_the_first_byte_is_an_ordinary_error(
    fake_models: Path, long_recording: bytes
) -> None:
    with served(fake_models) as (url, services):
        answer = post(url, long_recording, stream="true", spk_id="9")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "speaker_out_of_range"
        assert sample(services, "voice_stream_truncated_total") == 0


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_what_fails_later_cuts_the_answer_short(
    audio_format: str, fake_models: Path, long_recording: bytes
) -> None:
    def fail() -> None:
        raise NonFiniteOutput("The voice gave NaN.")

    with served(fake_models) as (url, services):
        engine_of(services).between_parts = fail
        fields = {"stream": "true", "response_format": audio_format}
        with (
            asking(url, long_recording, **fields) as connection,
            connection.getresponse() as answer,
        ):
            assert answer.status == 200
            with pytest.raises(http.client.IncompleteRead):
                answer.read()
        until(lambda: sample(services, "voice_stream_truncated_total") == 1)
        assert sample(services, "voice_conversions_total", outcome="failed") == 1


def test_a_client_that_leaves_ends_its_conversion(fake_models: Path, long_recording: bytes) -> None:
    ended = threading.Event()

    def wait_for_the_end(token: Token) -> None:
        until(lambda: token.cancelled)
        ended.set()
        token.check()

    with served(fake_models) as (url, services):
        engine_of(services).during_convert = wait_for_the_end
        with asking(url, long_recording, stream="true"):
            until(lambda: running_now(services) == 1)
        assert ended.wait(PATIENCE_S)
        until(lambda: sample(services, "voice_cancel_seconds_count") == 1)
        assert sample(services, "voice_cancelled_total", stage="run") == 1
        assert running_now(services) == 0


def test_a_reader_that_stalls_does_not_hold_the_device(fake_models: Path) -> None:
    recording = by_soundfile(sine(300.0, 16_000), 16_000, "WAV")  # more than sockets take
    with served(fake_models) as (url, services), asking(url, recording, stream="true") as slow:
        until(lambda: sample(services, "voice_conversions_total", outcome="done") == 1)
        assert running_now(services) == 0
        with slow.getresponse() as answer:
            assert len(answer.read()) == 44 + 2 * 16_000 * 300


def test_a_reader_that_stalls_for_long_is_cut_off(
    fake_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waitress_server, "STALLED_S", 0.2)
    recording = by_soundfile(sine(300.0, 16_000), 16_000, "WAV")
    with (
        served(fake_models, waitress_threads=4) as (url, services),  # one stream at a time
        asking(url, recording, stream="true") as stalled,
    ):
        until(lambda: sample(services, "voice_conversions_total", outcome="done") == 1)
        until(lambda: is_served(url, recording, stream="true"))
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stalled.getresponse().read()


def test_stalled_readers_leave_room_for_everybody_else(fake_models: Path, recording: bytes) -> None:
    """Twenty threads: four of them may stream."""
    endless = by_soundfile(sine(300.0, 16_000), 16_000, "WAV")
    with served(fake_models) as (url, services), ExitStack() as stalled:
        for _ in range(4):
            stalled.enter_context(asking(url, endless, stream="true"))
        until(lambda: sample(services, "voice_conversions_total", outcome="done") == 4)
        with post(url, recording, stream="true") as refused:
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
            assert int(refused.headers["Retry-After"]) >= 1
        assert requests.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200
        assert all(is_served(url, recording) for _ in range(8))
        stalled.close()
        until(lambda: is_served(url, recording, stream="true"))


def test_a_stream_is_no_json(client: FlaskClient, recording: bytes) -> None:
    data = {"audio": (io.BytesIO(recording), "a.wav"), "stream": "true"}
    answer = client.post("/api/v1/convert", data=data, headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert answer.get_json()["error"]["param"] == "stream"


def test_streams_are_measured(fake_models: Path, long_recording: bytes) -> None:
    with served(fake_models) as (url, services):
        n_bytes = len(post(url, long_recording, stream="true").content)
        until(lambda: sample(services, "voice_stream_bytes_total") == n_bytes)
        assert sample(services, "voice_ttfb_seconds_count", engine="rvc") == 1
        assert sample(services, "voice_encode_seconds_count", format="wav") == 1
