from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_server import create_app
from server.services import Services
from tests.gpu.fakes import in_thread, until
from tests.server.calls import convert, converting
from tests.server.fakes import fake_services
from tests.server.voices.made import index_bytes, inspect_here, tree, voice_bytes, zip_bytes

MODELS = "/api/v1/models"
INSPECT = "/api/v1/inspect"


@pytest.fixture
def client(services: Services) -> FlaskClient:
    services.desk.inspect = inspect_here
    return create_app(services).test_client()


def send(client: FlaskClient, *files: tuple[str, bytes], path: str = MODELS, **fields: str) -> Any:
    sent = [(io.BytesIO(content), name) for name, content in files]
    return client.post(path, data={"file": sent, **fields})


def code(answer: TestResponse) -> tuple[int, str]:
    body = answer.get_json()
    return answer.status_code, body["error"]["code"]


def test_a_voice_is_added_and_found_where_the_answer_says(
    client: FlaskClient, tmp_path: Path
) -> None:
    files = [("x.pth", voice_bytes(n_speakers=1)), ("x.index", index_bytes(tmp_path))]
    answer = send(client, *files, name="周 杰伦")
    assert answer.status_code == 201
    report = answer.get_json()
    assert report["summary"] == "v2, 40 kHz, with F0, one speaker, index fits."
    assert report["index"]["vectors"] == 64
    assert set(report) == {
        *("name", "summary", "version", "sample_rate", "f0", "speakers", "content"),
        *("index", "bytes", "notes", "warnings"),
    }
    found = client.get(answer.headers["Location"]).get_json()
    assert (found["id"], found["index"], found["state"]) == ("周 杰伦", True, "unloaded")


def test_a_voice_that_is_only_inspected_is_not_there(
    client: FlaskClient, fake_models: Path
) -> None:
    before = tree(fake_models)
    answer = send(client, ("b.zip", zip_bytes({"b.pth": voice_bytes()})), path=INSPECT)
    assert (answer.status_code, answer.get_json()["name"]) == (200, "b")
    assert "Location" not in answer.headers
    assert tree(fake_models) == before


def test_a_name_that_is_taken_needs_overwrite(client: FlaskClient) -> None:
    voice = ("anna.pth", voice_bytes())
    assert code(send(client, voice)) == (409, "voice_exists")
    assert code(send(client, voice, overwrite="false")) == (409, "voice_exists")
    assert send(client, voice, overwrite="true").status_code == 201


@pytest.mark.parametrize(
    ("data", "status", "param"),
    [
        ({}, 400, "file"),
        ({"file": "text"}, 400, "file"),
        ({"audio": (io.BytesIO(b"x"), "x.pth")}, 400, "audio"),
        ({"name": (io.BytesIO(b"x"), "x.pth")}, 400, "name"),
        ({"nonsense": "1"}, 400, "nonsense"),
        ({"file": (io.BytesIO(b"x"), "x.pth"), "overwrite": "maybe"}, 400, "overwrite"),
        ({"file": (io.BytesIO(b"x"), "x.pth"), "name": ["a", "b"]}, 400, "name"),
        ({"file": (io.BytesIO(b"x"), "x.pth"), "name": "../x"}, 400, "name"),
        ({"file": (io.BytesIO(b"x"), "x.exe")}, 415, "file"),
    ],
)
def test_a_form_that_is_wrong_names_the_field(
    client: FlaskClient, data: dict[str, Any], status: int, param: str
) -> None:
    answer = client.post(MODELS, data=data, content_type="multipart/form-data; boundary=x")
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)


def test_another_body_is_refused(client: FlaskClient) -> None:
    assert code(client.post(MODELS, json={"name": "x"})) == (415, "unsupported_media_type")
    assert code(client.post(MODELS)) == (415, "unsupported_media_type")


def test_one_voice_is_shown(client: FlaskClient) -> None:
    shown = client.get(MODELS + "/anna").get_json()
    assert shown in client.get(MODELS).get_json()["models"]
    assert (shown["id"], shown["last_used"], shown["ttl"]) == ("anna", None, None)
    assert code(client.get(MODELS + "/nobody")) == (404, "voice_not_found")


def test_voices_of_an_engine_are_listed(client: FlaskClient) -> None:
    def ids(query: str) -> list[str]:
        return [voice["id"] for voice in client.get(MODELS + query).get_json()["models"]]

    assert ids("") == ids("?engine=rvc") == ["anna"]
    assert ids("?engine=llasa") == []


def test_a_voice_in_memory_says_since_when_and_for_how_long(
    client: FlaskClient, services: Services, recording: bytes
) -> None:
    convert(services, recording)
    shown = client.get(MODELS + "/anna").get_json()
    assert (shown["state"], shown["device"]) == ("ready", "cpu")
    assert shown["last_used"] > 1.6e9
    assert 0 < shown["ttl"] <= services.settings.gpu_idle_timeout


def test_a_voice_is_renamed(client: FlaskClient) -> None:
    answer = client.patch(MODELS + "/anna", json={"name": "berta"})
    assert (answer.status_code, answer.get_json()["id"]) == (200, "berta")
    assert client.get(MODELS + "/anna").status_code == 404
    assert code(client.patch(MODELS + "/berta", json={"name": "a/b"})) == (400, "invalid_option")
    assert code(client.patch(MODELS + "/berta", json={"x": 1})) == (400, "invalid_option")
    assert code(client.patch(MODELS + "/nobody", json={"name": "c"})) == (404, "voice_not_found")


def test_a_voice_is_removed(client: FlaskClient, fake_models: Path) -> None:
    answer = client.delete(MODELS + "/anna")
    assert (answer.status_code, answer.data) == (204, b"")
    assert tree(fake_models / "voices") == {}
    assert code(client.delete(MODELS + "/anna")) == (404, "voice_not_found")


def test_a_voice_in_use_is_neither_removed_renamed_nor_unloaded(
    client: FlaskClient, services: Services, recording: bytes
) -> None:
    with converting(services, recording):
        assert code(client.delete(MODELS + "/anna")) == (409, "model_in_use")
        renamed = client.patch(MODELS + "/anna", json={"name": "b"})
        assert code(renamed) == (409, "model_in_use")
        assert code(client.post(MODELS + "/anna/unload")) == (409, "model_in_use")


def test_a_voice_is_loaded_before_it_is_asked_for(client: FlaskClient) -> None:
    answer = client.post(MODELS + "/anna/load").get_json()
    assert answer.pop("seconds") >= 0
    assert answer == {
        "id": "anna",
        "state": "ready",
        "device": "cpu",
        "bytes": 1000,
        "pinned": False,
        "state_at_arrival": "unloaded",
    }
    again = client.post(MODELS + "/anna/load", json={"target": "gpu"}).get_json()
    assert again["state_at_arrival"] == "ready"


def test_a_voice_is_loaded_into_host_memory(client: FlaskClient) -> None:
    answer = client.post(MODELS + "/anna/load", json={"target": "cpu"}).get_json()
    assert (answer["state"], answer["device"]) == ("offloaded", "cpu")
    assert client.get(MODELS + "/anna").get_json()["state"] == "offloaded"


def test_loading_may_pin_and_unpin(client: FlaskClient, services: Services) -> None:
    assert client.post(MODELS + "/anna/load", json={"pin": True}).get_json()["pinned"]
    assert client.post(MODELS + "/anna/load", json={}).get_json()["pinned"]
    assert services.release()["skipped"]
    assert not client.post(MODELS + "/anna/load", json={"pin": False}).get_json()["pinned"]
    assert "anna" in str(services.release()["released"])


@pytest.mark.parametrize("body", [{"target": "tpu"}, {"pin": "x"}, {"nonsense": 1}])
def test_a_wrong_order_to_load_names_the_field(client: FlaskClient, body: dict[str, Any]) -> None:
    answer = client.post(MODELS + "/anna/load", json=body)
    assert code(answer) == (400, "invalid_option")
    assert answer.get_json()["error"]["param"] == next(iter(body))


def test_what_is_no_voice_is_not_loaded(client: FlaskClient, fake_models: Path) -> None:
    (fake_models / "voices" / "bad.pth").write_bytes(b"broken")
    assert code(client.post(MODELS + "/bad/load")) == (400, "invalid_checkpoint")
    assert code(client.post(MODELS + "/nobody/load")) == (404, "voice_not_found")


def test_a_voice_is_unloaded(client: FlaskClient) -> None:
    client.post(MODELS + "/anna/load")
    answer = client.post(MODELS + "/anna/unload")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "unloaded")
    assert client.post(MODELS + "/anna/unload").status_code == 200  # it is not there already


def test_a_pinned_voice_is_unloaded_by_force_alone(client: FlaskClient) -> None:
    client.post(MODELS + "/anna/load", json={"pin": True})
    assert code(client.post(MODELS + "/anna/unload")) == (409, "model_in_use")
    answer = client.post(MODELS + "/anna/unload", json={"force": True}).get_json()
    assert (answer["state"], answer["pinned"]) == ("unloaded", False)


def test_force_ends_the_conversions_that_use_the_voice(
    client: FlaskClient, services: Services, recording: bytes
) -> None:
    answers = list[int]()

    def unload() -> None:
        answer = client.post(MODELS + "/anna/unload", json={"force": True})
        answers.append(answer.status_code)

    with converting(services, recording) as token:
        thread = in_thread(unload)
        until(lambda: token.cancelled)
    thread.join(10)
    assert answers == [200]


def test_a_voice_is_pinned_and_let_go(client: FlaskClient) -> None:
    assert client.post(MODELS + "/anna/pin", json={"pinned": True}).get_json()["pinned"]
    assert code(client.delete(MODELS + "/anna")) == (409, "model_in_use")
    assert not client.post(MODELS + "/anna/pin", json={"pinned": False}).get_json()["pinned"]
    assert code(client.post(MODELS + "/anna/pin", json={})) == (400, "invalid_option")
    assert code(client.post(MODELS + "/nobody/pin", json={"pinned": True}))[0] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", INSPECT), ("POST", MODELS)]
    + [(method, f"{MODELS}/anna") for method in ("PATCH", "DELETE")]
    + [("POST", f"{MODELS}/anna/{verb}") for verb in ("load", "unload", "pin")],
)
def test_changes_are_for_administrators(fake_models: Path, method: str, path: str) -> None:
    services = fake_services(fake_models, bind_host="0.0.0.0")
    client = create_app(services).test_client()
    assert code(client.open(path, method=method)) == (403, "forbidden")
    assert client.get(MODELS + "/anna").status_code == 200
    services.close()
