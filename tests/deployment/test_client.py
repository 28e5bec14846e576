"""The client people copy: against answers made here, and against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployment.client import ApiError, VoiceClient, main
from server.keys import Key, digest_of
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import fake_services
from tests.server.live import running

RECORDING = by_soundfile(sine(0.1, 16_000), 16_000, "WAV")


def refusal(status: int, code: str, retryable: bool, **headers: str) -> httpx.Response:
    error = {"code": code, "message": "No.", "param": None, "retryable": retryable}
    return httpx.Response(status, json={"error": error, "request_id": "r"}, headers=headers)


class Server:
    """Gives its answers in turn, and notes the pauses between the questions."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.pauses: list[float] = []
        self.asked: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **more: Any) -> VoiceClient:
        transport = httpx.MockTransport(self.answer)
        return VoiceClient("http://x", sleep=self.pauses.append, transport=transport, **more)


def voices() -> httpx.Response:
    return httpx.Response(200, json={"models": [{"id": "anna"}]})


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    full = refusal(503, "queue_full", True, **{"Retry-After": "7"})
    limited = refusal(429, "rate_limited", True, **{"Retry-After": "3"})
    server = Server(full, limited, voices())
    assert server.client().voices() == [{"id": "anna"}]
    assert server.pauses == [7.0, 3.0]


def test_without_a_time_the_pauses_grow() -> None:
    busy = [refusal(503, "worker_lost", True) for _ in range(3)]
    server = Server(*busy, voices())
    server.client().voices()
    assert server.pauses == [1.0, 2.0, 4.0]


def test_a_server_that_is_not_up_yet_is_asked_again() -> None:
    server = Server(httpx.ConnectError("refused"), voices())
    assert server.client().voices() == [{"id": "anna"}]


def test_at_last_it_gives_up() -> None:
    server = Server(*(refusal(503, "queue_full", True) for _ in range(2)))
    with pytest.raises(ApiError, match="queue_full") as caught:
        server.client(max_tries=2).voices()
    assert (caught.value.status, caught.value.request_id) == (503, "r")
    assert len(server.pauses) == 1


@pytest.mark.parametrize(
    "answer", [refusal(404, "voice_not_found", False), refusal(503, "device_unavailable", False)]
)
def test_what_will_not_change_is_not_asked_again(answer: httpx.Response) -> None:
    server = Server(answer)
    with pytest.raises(ApiError):
        server.client().voices()
    assert server.pauses == []


def test_a_lost_answer_is_not_asked_for_again() -> None:
    server = Server(httpx.ReadError("cut"))
    with pytest.raises(httpx.ReadError):
        server.client().submit(b"x")
    assert len(server.asked) == 1


def test_another_server_is_told_as_such() -> None:
    server = Server(httpx.Response(500, text="<html>"))
    with pytest.raises(ApiError, match="no_voice_server"):
        server.client().voices()


def test_a_job_is_waited_for_and_its_progress_told() -> None:
    states = [("running", 0.5), ("succeeded", 1.0)]
    jobs = [httpx.Response(200, json={"state": s, "progress": p}) for s, p in states]
    server = Server(*jobs, httpx.Response(200, content=b"audio"))
    shares: list[float] = []
    assert server.client().result("j/1", shares.append).audio == b"audio"
    assert shares == [0.5, 1.0]
    assert server.asked[0].url.raw_path.startswith(b"/api/v1/jobs/j%2F1?wait=")


def test_fields_are_written_as_the_api_reads_them() -> None:
    server = Server(httpx.Response(202, json={"id": "j"}))
    server.client().submit(b"x", "anna", key="k", loudnorm=True, f0_up_key=2)
    body = server.asked[0].content
    assert b'name="loudnorm"\r\n\r\ntrue' in body
    assert b'name="f0_up_key"\r\n\r\n2' in body
    assert server.asked[0].headers["Idempotency-Key"] == "k"


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "anna.pth").write_bytes(b"anna")
    services = fake_services(tmp_path, api_keys=(Key("anna", digest_of("secret")),))
    with running(services) as url:
        yield url
    services.close()


def test_a_real_server_converts(server_url: str) -> None:
    with VoiceClient(server_url, "secret") as client:
        done = client.convert(RECORDING, response_format="flac", f0_up_key=2)
    assert done.audio.startswith(b"fLaC")
    assert (done.voice, done.sample_rate, done.device) == ("anna", 16_000, "cpu")
    assert done.timings_ms["total"] > 0


def test_a_real_server_refuses_a_wrong_key_and_an_unknown_voice(server_url: str) -> None:
    with VoiceClient(server_url, "wrong") as client, pytest.raises(ApiError, match="unauthorized"):
        client.voices()
    with VoiceClient(server_url, "secret") as client, pytest.raises(ApiError) as caught:
        client.convert(RECORDING, "nobody")
    assert (caught.value.code, caught.value.param) == ("voice_not_found", "model")


def test_the_command_line_says_what_the_server_refused(
    server_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOST", server_url)
    monkeypatch.setenv("API_KEY", "wrong")
    assert main(["voices"]) == 1
    assert capsys.readouterr().err.startswith("unauthorized: ")
