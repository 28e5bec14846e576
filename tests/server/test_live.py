"""Requests, good and bad, against a real server with real networks."""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile
import torch

from rvc_core.audio import Audio, encode_audio
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.live import serving, write_index, write_models

RATE = 16_000
RECORDING = by_soundfile(sine(0.5, RATE, 150.0), RATE, "WAV")


@dataclass(frozen=True)
class Live:
    url: str
    models: Path

    def convert(self, recording: bytes = RECORDING, **fields: Any) -> requests.Response:
        data = {"model": "one", "index_rate": "0", **fields}
        files = {"audio": ("a.wav", recording)}
        return requests.post(f"{self.url}/api/v1/convert", data=data, files=files, timeout=60)


@pytest.fixture(scope="module")
def live(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = write_models(models_dir, tmp_path_factory.mktemp("live") / "models")
    with serving(models) as url:
        yield Live(url, models)


def silence_of_two_hours() -> bytes:
    file, minute = io.BytesIO(), np.zeros(60 * 8000, np.int16)
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC") as flac:
        for _ in range(120):
            flac.write(minute)
    return file.getvalue()


def truncated_mp3() -> bytes:
    whole = encode_audio(Audio(sine(2, RATE), RATE), "mp3")
    return whole[: len(whole) // 2]


def with_a_nan() -> bytes:
    samples = sine(0.5, RATE)
    samples[100] = np.nan
    return by_soundfile(samples, RATE, "WAV", "FLOAT")


class Payload:
    """What unpickling of runs a command."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self._command,)


def check_refusal(answer: requests.Response, status: int, code: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"] and "\n" not in error["message"]


@pytest.mark.parametrize("voice", ["demo", "one", "plain"])
def test_the_answer_lasts_as_long_as_the_recording(live: Live, voice: str) -> None:
    answer = live.convert(model=voice)
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert len(samples) == round(0.5 * rate)
    assert np.abs(samples).max() > 0.001


@pytest.mark.parametrize(
    ("recording", "status", "code"),
    [
        (lambda: b"", 400, "empty_audio"),
        (lambda: b"Dear diary, " * 500, 415, "undecodable_audio"),
        (truncated_mp3, 415, "undecodable_audio"),
        (silence_of_two_hours, 413, "audio_too_long"),
        (with_a_nan, 400, "non_finite_audio"),
    ],
    ids=["empty", "text", "truncated mp3", "two hours", "NaN"],
)
def test_a_bad_recording_is_refused_and_the_next_one_converted(
    live: Live, recording: Any, status: int, code: str
) -> None:
    check_refusal(live.convert(recording()), status, code)
    assert live.convert().status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "nobody"}, 404, "voice_not_found"),
        ({"spk_id": "2"}, 400, "speaker_out_of_range"),
        ({"f0_method": "rmvpe"}, 400, "missing_weights"),
        ({"f0_up_key": "nan"}, 400, "invalid_option"),
    ],
)
def test_a_bad_field_is_refused_and_the_next_request_converted(
    live: Live, fields: dict[str, Any], status: int, code: str
) -> None:
    check_refusal(live.convert(**fields), status, code)
    assert live.convert().status_code == 200


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))]
)
def test_a_voice_with_a_payload_is_refused_and_the_payload_not_run(live: Live, write: Any) -> None:
    trace, path = live.models / "payload-was-run", live.models / "voices" / "evil.pth"
    write({"weight": Payload(f"touch '{trace}'"), "config": []}, path)
    try:
        for _ in range(2):
            check_refusal(live.convert(model="evil"), 400, "unsafe_checkpoint")
        listed = requests.get(f"{live.url}/api/v1/models", timeout=60).json()["models"]
        assert [v["id"] for v in listed if v["error"]] == ["evil"]
    finally:
        path.unlink()
    assert not trace.exists()
    assert live.convert().status_code == 200


def test_simultaneous_requests_with_different_voices_do_not_touch_each_other(live: Live) -> None:
    jobs: list[dict[str, Any]] = [
        {"model": "one", "f0_up_key": "3"},
        {"model": "two", "seed": "5"},
        {"model": "demo"},
        {"model": "plain", "seed": "9"},
        {"model": "one", "f0_up_key": "-4"},
    ]
    alone = [live.convert(**job).content for job in jobs]
    together: dict[int, bytes] = {}

    def work(number: int) -> None:
        together[number] = live.convert(**jobs[number]).content

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [together[number] for number in range(len(jobs))] == alone
    assert len(set(alone)) == len(jobs)


def test_an_index_is_used_paired_or_by_name_and_checked(live: Live) -> None:
    plain = live.convert(model="two", index_rate="1").content
    write_index(live.models / "indexes" / "two.index", 768)
    write_index(live.models / "indexes" / "other.index", 768, n_vectors=9)
    write_index(live.models / "indexes" / "narrow.index", 256)
    paired = live.convert(model="two", index_rate="1").content
    named = live.convert(model="two", index_rate="1", index_path="other").content
    assert len({plain, paired, named}) == 3
    assert live.convert(model="two", index_rate="0").content == plain
    narrow = live.convert(model="two", index_rate="1", index_path="narrow")
    check_refusal(narrow, 400, "index_mismatch")


def test_a_client_that_leaves_stops_the_work(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="server.api")
    long = by_soundfile(sine(60, RATE, 150.0), RATE, "WAV")
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{live.url}/api/v1/convert",
            data={"model": "demo"},
            files={"audio": long},
            timeout=0.3,
        )
    # the voice serves one at a time: this waits for the end of the abandoned conversion
    assert live.convert(model="demo").status_code == 200
    ended = [r.getMessage() for r in caplog.records if "/api/v1/convert" in r.getMessage()]
    assert ended[0].startswith("POST /api/v1/convert 499")
