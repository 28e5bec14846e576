"""POST /api/v1/convert/batch."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import soundfile
from flask.testing import FlaskClient
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from api_server import create_app
from rvc_core.token import Token
from server.errors import QueueFull
from server.services import Services
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import engine_of, fake_services

BATCH = "/api/v1/convert/batch"
Manifest = list[dict[str, Any]]


@pytest.fixture
def client(services: Services, fake_models: Path) -> FlaskClient:
    (fake_models / "voices" / "bea.pth").write_bytes(b"bea")
    services.warm_up()
    return create_app(services).test_client()


def post(client: FlaskClient, *recordings: bytes, **fields: Any) -> TestResponse:
    """Send files 0.wav, 1.wav and so on as `files[]`."""
    files = [(io.BytesIO(data), f"{number}.wav") for number, data in enumerate(recordings)]
    return client.post(BATCH, data={"model": "anna", **fields, "files[]": files})


def post_items(client: FlaskClient, *items: Any, **more: Any) -> TestResponse:
    return client.post(BATCH, json={"items": list(items), **more})


def opened(answer: Response) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest's items and the files of an answer."""
    assert answer.status_code == 200, answer.data
    assert answer.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(files.pop("manifest.json"))["items"], files


def encoded(recording: bytes) -> str:
    return base64.b64encode(recording).decode()


def test_all_files_are_converted(client: FlaskClient, recording: bytes) -> None:
    items, files = opened(post(client, recording, recording))
    assert sorted(files) == ["0.wav", "1.wav"]
    assert len(soundfile.read(io.BytesIO(files["1.wav"]))[0]) == 1600
    assert [(one["name"], one["status"], one["file"]) for one in items] == [
        ("0", "ok", "0.wav"),
        ("1", "ok", "1.wav"),
    ]
    assert (items[0]["model"], items[0]["sample_rate"], items[0]["duration_s"]) == (
        "anna",
        16_000,
        0.1,
    )
    assert items[0]["warnings"] == ["Größe: all is fake"]
    assert set(items[0]["timings"]) >= {"queue", "synth", "encode", "total"}


def test_one_bad_item_does_not_fail_the_rest(client: FlaskClient, recording: bytes) -> None:
    items, files = opened(post(client, recording, b"no audio", recording))
    assert sorted(files) == ["0.wav", "2.wav"]
    assert items[1]["error"]["code"] == "undecodable_audio"
    assert set(items[1]["error"]) == {"message", "type", "code", "param", "retryable"}


@pytest.mark.parametrize("field", ["files", "audio", "file"])
def test_other_names_of_the_field(client: FlaskClient, recording: bytes, field: str) -> None:
    files = [(io.BytesIO(recording), "a.wav"), (io.BytesIO(recording), "a.wav")]
    _, found = opened(client.post(BATCH, data={"model": "anna", field: files}))
    assert sorted(found) == ["a-2.wav", "a.wav"]


def test_items_have_voices_options_formats_and_names_of_their_own(
    client: FlaskClient, recording: bytes
) -> None:
    items = [
        {"file": "one.wav", "model": "anna", "name": "first"},
        {"file": "other", "voice": "bea", "response_format": "flac", "f0_up_key": 3},
    ]
    data = {
        "items": json.dumps(items),
        "x": (io.BytesIO(recording), "one.wav"),
        "other": (io.BytesIO(recording), "two.wav"),
    }
    told, files = opened(client.post(BATCH, data=data))
    assert [one["model"] for one in told] == ["anna", "bea"]
    assert sorted(files) == ["first.wav", "other.flac"]
    assert files["other.flac"].startswith(b"fLaC")


def test_items_in_json(client: FlaskClient, recording: bytes) -> None:
    item = {"audio_base64": encoded(recording), "name": "a"}
    told, files = opened(post_items(client, item, {**item, "model": "bea"}, model="anna"))
    assert [one["model"] for one in told] == ["anna", "bea"]
    assert sorted(files) == ["a-2.wav", "a.wav"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"model": "nobody"}, "voice_not_found"),
        ({"f0_up_key": "x"}, "invalid_option"),
        ({"nonsense": 1}, "invalid_option"),
        ({"timeout_s": 1}, "invalid_option"),
        ({"audio_base64": "?"}, "invalid_request"),
        ({"file": "nowhere"}, "invalid_request"),
        ({"audio_base64": None}, "invalid_request"),
    ],
)
def test_an_item_at_fault_is_told_in_the_manifest(
    client: FlaskClient, recording: bytes, fault: dict[str, Any], code: str
) -> None:
    good = {"audio_base64": encoded(recording), "model": "anna"}
    told, files = opened(post_items(client, {**good, **fault}, good))
    assert [one["status"] for one in told] == ["error", "ok"]
    assert told[0]["error"]["code"] == code
    assert list(files) == ["item-2.wav"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"f0_up_key": "x"}, 400, "f0_up_key"),
        ({"nonsense": "x"}, 400, "nonsense"),
        ({"items": "[}"}, 400, "items"),
        ({"items": "[1]"}, 400, "items"),
        ({"items": "{}"}, 400, "items"),
        ({"items": "[]"}, 400, "items"),
        ({"items": '[{"file": "1.wav"}]'}, 400, "items"),
        ({"async": "perhaps"}, 400, "async"),
        ({"stream": "true"}, 400, "stream"),
    ],
)
def test_what_concerns_all_fails_all(
    client: FlaskClient, recording: bytes, fields: dict[str, str], status: int, param: str
) -> None:
    answer = post(client, recording, **fields)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize("n", [0, 65])
def test_a_batch_has_1_to_64_items(client: FlaskClient, recording: bytes, n: int) -> None:
    answer = post(client, *[recording] * n)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "items")


def fetched(client: FlaskClient, answer: TestResponse) -> tuple[Manifest, dict[str, bytes]]:
    """What a batch that became a job gives."""
    assert answer.status_code == 202, answer.text
    job = client.get(answer.headers["Location"] + "?wait=20").get_json()
    assert (job["type"], job["state"]) == ("batch", "succeeded")
    with client.get(job["links"]["result"]) as result:
        return opened(result)


def test_more_than_8_items_become_a_job(client: FlaskClient, recording: bytes) -> None:
    items, files = fetched(client, post(client, *[recording] * 9))
    assert (len(items), len(files)) == (9, 9)


def test_more_than_120_seconds_become_a_job(client: FlaskClient) -> None:
    minute = by_soundfile(sine(60.1, 8_000), 8_000, "WAV")
    item = {"audio_base64": encoded(minute), "model": "anna"}
    assert len(fetched(client, post_items(client, item, item))[1]) == 2


def test_up_to_120_seconds_are_answered_at_once(client: FlaskClient) -> None:
    minute = by_soundfile(sine(59.9, 8_000), 8_000, "WAV")
    item = {"audio_base64": encoded(minute), "model": "anna"}
    assert len(opened(post_items(client, item, item))[1]) == 2


@pytest.mark.parametrize(("query", "field"), [("?async=1", {}), ("", {"async": "true"})])
def test_a_batch_becomes_a_job_on_request(
    client: FlaskClient, recording: bytes, query: str, field: dict[str, str]
) -> None:
    data = {"files[]": [(io.BytesIO(recording), "x.wav")], "model": "anna", **field}
    items, _ = fetched(client, client.post(BATCH + query, data=data))
    assert len(items) == 1


def test_a_full_server_is_told_when_nothing_was_done(client: FlaskClient, recording: bytes) -> None:
    def refuse(token: Token) -> None:
        raise QueueFull("Full.", retry_after_s=7)

    engine_of(client.application.extensions["services"]).during_convert = refuse
    answer = post(client, recording, recording)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")


def test_a_batch_that_has_begun_waits_for_room(
    client: FlaskClient, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.api.batch.PAUSE_S", 0.0)
    turns = iter([None, QueueFull("Full."), QueueFull("Full."), None])

    def sometimes(token: Token) -> None:
        error = next(turns)
        if error is not None:
            raise error

    engine_of(client.application.extensions["services"]).during_convert = sometimes
    items, _ = opened(post(client, recording, recording))
    assert [one["status"] for one in items] == ["ok", "ok"]


def test_the_time_allowed_is_that_of_all_items(client: FlaskClient, recording: bytes) -> None:
    answer = post(client, recording, timeout_s="0.000001")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (504, "deadline_exceeded")


def test_a_client_that_leaves_ends_the_batch(client: FlaskClient, recording: bytes) -> None:
    begun: list[Token] = []

    def until_cancelled(token: Token) -> None:
        begun.append(token)
        while not token.cancelled:
            pass
        token.check()

    engine_of(client.application.extensions["services"]).during_convert = until_cancelled
    files = [(io.BytesIO(recording), "x.wav"), (io.BytesIO(recording), "y.wav")]
    answer = client.post(
        BATCH,
        data={"files[]": files, "model": "anna"},
        environ_overrides={"waitress.client_disconnected": lambda: bool(begun)},
    )
    assert (answer.status_code, len(begun)) == (499, 1)


def test_no_voice_named_and_none_alone(client: FlaskClient, recording: bytes) -> None:
    told, files = opened(post_items(client, {"audio_base64": encoded(recording)}))
    assert (told[0]["error"]["code"], files) == ("voice_required", {})


def test_addresses_are_refused_where_they_are_off(fake_models: Path) -> None:
    services = fake_services(fake_models)
    client = create_app(services).test_client()
    answer = post_items(client, {"audio_url": "https://example.org/x.wav"})
    assert opened(answer)[0][0]["error"]["code"] == "feature_disabled"
    services.close()
