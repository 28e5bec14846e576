"""Whatever goes wrong on whatever route, the answer has the one body of errors.

The cases are drawn from the table of routes, so a new route is tested by being there.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import api_server
from server.api.context import create_context
from server.api.problems import RETRYABLE, STATUSES
from server.api.route import Access, Route
from server.keys import Key, digest_of
from server.services import Services
from tests.server.fakes import fake_services

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
KEYS = (Key("boss", digest_of("boss")), Key("anna", digest_of("anna"), frozenset({"use"})))
BOSS, ANNA, STRANGER = ({"X-API-Key": name} for name in ("boss", "anna", "nobody"))
VALUE = re.compile(r"<(?:\w+:)?\w+>")
TOO_LARGE = b"x" * ((1 << 20) + 1)


def table() -> list[Route]:
    """All routes; only their facts are used."""
    services = fake_services(Path("nowhere"))
    routes = api_server.all_routes(create_context(services))
    services.close()
    return routes


ROUTES = table()


def cases(routes: Iterable[Route]) -> Any:
    """Each route under each of its addresses."""
    return [pytest.param(r, p, id=f"{r.method} {p}") for r in routes for p in r.paths]


CASES = cases(ROUTES)
GUARDED = cases(r for r in ROUTES if r.access is not Access.PUBLIC)
ADMIN = cases(r for r in ROUTES if r.access is Access.ADMIN)
WITH_BODY = cases(r for r in ROUTES if r.body is not None)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    (models / "voices").mkdir()
    (models / "voices" / "anna.pth").write_bytes(b"anna")
    return models


@pytest.fixture(scope="module")
def services(models: Path) -> Iterator[Services]:
    services = fake_services(models, outputs_dir=models / "out", api_keys=KEYS, max_upload_mb=1)
    yield services
    services.close()


@pytest.fixture(scope="module")
def client(services: Services) -> FlaskClient:
    return api_server.create_app(services).test_client()


@pytest.fixture(scope="module")
def broken(services: Services) -> FlaskClient:
    """An app whose handlers all have a defect."""

    def fail(**_: Any) -> NoReturn:
        raise ZeroDivisionError("secret")

    whole = api_server.all_routes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            api_server,
            "all_routes",
            lambda context: [replace(route, handler=fail) for route in whole(context)],
        )
        return api_server.create_app(services).test_client()


def ask(client: FlaskClient, method: str, path: str, **more: Any) -> TestResponse:
    """Send a request to a route, with a name that nothing has for each value in its path."""
    return client.open(VALUE.sub("nothing", path), method=method, **more)


def check(answer: TestResponse, *statuses: int) -> str:
    """Check that an answer is an error as it should be; return its code."""
    assert answer.status_code in statuses, answer.data
    body = json.loads(answer.data)
    error = body["error"]
    assert set(body) == {"error", "request_id"}
    assert set(error) == {"message", "type", "code", "param", "retryable"}
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert error["code"] in STATUSES
    assert error["retryable"] == (error["code"] in RETRYABLE)
    assert error["message"]
    assert "\n" not in error["message"]
    assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))
    return str(error["code"])


def methods_of(app: Flask, path: str) -> set[str]:
    """What may be asked for at an address, by whichever route."""
    return set(app.url_map.bind("").allowed_methods(VALUE.sub("nothing", path)))


@pytest.mark.parametrize(("route", "path"), CASES)
def test_a_wrong_method(client: FlaskClient, route: Route, path: str) -> None:
    wrong = set(METHODS) - methods_of(client.application, path)
    for method in sorted(wrong):
        answer = ask(client, method, path, headers=BOSS)
        assert check(answer, 405) == "method_not_allowed"
        assert route.method in answer.headers["Allow"]


@pytest.mark.parametrize(("route", "path"), GUARDED)
@pytest.mark.parametrize("headers", [{}, STRANGER], ids=["no key", "wrong key"])
def test_no_key_or_a_wrong_one(
    client: FlaskClient, route: Route, path: str, headers: dict[str, str]
) -> None:
    # Each from an address of its own: after ten wrong keys an address is told to wait.
    address = {"REMOTE_ADDR": f"{route.method} {path}"}
    answer = ask(client, route.method, path, headers=headers, environ_base=address)
    assert check(answer, 401) == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("route", "path"), ADMIN)
def test_a_key_without_the_role(client: FlaskClient, route: Route, path: str) -> None:
    assert check(ask(client, route.method, path, headers=ANNA), 403) == "forbidden"


@pytest.mark.parametrize(("route", "path"), WITH_BODY)
@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"\xff{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "application/json"),
        (b"[]", "application/json"),
        (b"no form", "multipart/form-data; boundary=x"),
        (b"RIFF", "audio/wav"),
        (b"a=b", "text/plain"),
        (b"", ""),
    ],
    ids=["garbage", "deep", "nested", "list", "form", "audio", "text", "nothing"],
)
def test_a_body_that_is_none(
    client: FlaskClient, route: Route, path: str, body: bytes, media_type: str
) -> None:
    assert route.body is not None
    answer = ask(client, route.method, path, headers=BOSS, data=body, content_type=media_type)
    if not (200 <= answer.status_code < 300 and not (body and route.body.required)):
        check(answer, 400, 404, 409, 415)


@pytest.mark.parametrize(("route", "path"), WITH_BODY)
def test_a_body_that_is_too_large(client: FlaskClient, route: Route, path: str) -> None:
    for media_type in ("application/json", "multipart/form-data; boundary=x"):
        answer = ask(
            client, route.method, path, headers=BOSS, data=TOO_LARGE, content_type=media_type
        )
        check(answer, 404, 413, 415)


@pytest.mark.parametrize(("route", "path"), GUARDED)
def test_a_query_parameter_that_is_unknown(client: FlaskClient, route: Route, path: str) -> None:
    answer = ask(client, route.method, f"{path}?no_such_parameter=1", headers=BOSS)
    assert check(answer, 400) == "invalid_option"


@pytest.mark.parametrize(("route", "path"), CASES)
def test_a_defect(broken: FlaskClient, route: Route, path: str) -> None:
    answer = ask(broken, route.method, path, headers=BOSS)
    assert check(answer, 500) == "internal_error"
    assert b"secret" not in answer.data


def test_a_draining_server(models: Path, recording: bytes) -> None:
    services = fake_services(models, outputs_dir=models / "out2")
    client = api_server.create_app(services).test_client()
    services.drain(0)
    for route in ROUTES:
        for path in route.paths:
            answer = ask(client, route.method, path, json={} if route.body else None)
            if answer.status_code >= 300 and path not in ("/ready", "/health"):
                check(answer, 400, 404, 409, 415, 503)
    answer = client.post("/api/v1/convert", data={"audio": (io.BytesIO(recording), "x.wav")})
    assert check(answer, 503) == "draining"
    services.close()
