from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from api_server import all_routes, create_app
from rvc_core.options import OPTION_SPECS
from server.api.context import create_context
from server.api.openapi import build_document
from server.api.route import Json, Route, route_of
from server.services import Services

LEFT_OUT = {"/", "/docs"}  # they lead to the page


@pytest.fixture
def routes(services: Services) -> list[Route]:
    return all_routes(create_context(services))


@pytest.fixture
def document(routes: list[Route]) -> Json:
    return build_document(routes, with_key=False)


def fields_of(document: dict[str, Any], media_type: str) -> dict[str, Any]:
    body = document["paths"]["/api/v1/convert"]["post"]["requestBody"]["content"]
    properties: dict[str, Any] = body[media_type]["schema"]["properties"]
    return properties


@pytest.mark.parametrize("with_key", [False, True])
def test_the_document_is_valid_openapi(routes: list[Route], with_key: bool) -> None:
    validate(build_document(routes, with_key))


def test_what_is_served_is_valid_openapi_3_1(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert document["openapi"] == "3.1.0"
    assert "swagger" not in document
    validate(document)


def test_every_route_is_described(services: Services, document: Json) -> None:
    app = create_app(services)
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), route.method.lower())
        for rule in app.url_map.iter_rules()
        if (route := route_of(app, rule.endpoint)) and rule.rule not in LEFT_OUT
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == served


def test_names_of_operations_are_unique(document: Json) -> None:
    names = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(set(names)) == len(names)


def test_only_guarded_routes_ask_for_a_key(routes: list[Route]) -> None:
    paths = build_document(routes, with_key=True)["paths"]
    assert "security" not in paths["/health"]["get"]
    assert paths["/metrics"]["get"]["security"] == [{"bearer": []}, {"api_key": []}]
    assert "401" in paths["/metrics"]["get"]["responses"]


@pytest.mark.parametrize("media_type", ["multipart/form-data", "application/json"])
def test_every_option_is_described_with_its_range(document: Json, media_type: str) -> None:
    fields = fields_of(document, media_type)
    for spec in OPTION_SPECS:
        described = fields[spec.api]
        assert described["description"] == spec.help
        assert described.get("default") == (None if spec.optional else spec.default)
        if spec.choices:
            assert described["enum"] == list(spec.choices)
    assert (fields["protect"]["minimum"], fields["protect"]["maximum"]) == (0, 0.5)


def test_a_range_with_a_value_beside_it_is_exact(document: Json) -> None:
    described = fields_of(document, "application/json")["resample_sr"]
    assert (described["minimum"], described["maximum"]) == (0, 192_000)
    assert described["not"] == {"exclusiveMinimum": 0, "exclusiveMaximum": 8_000}


def test_the_page_asks_nobody_else(client: FlaskClient) -> None:
    page = client.get("/apidocs/").get_data(as_text=True)
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", page) == []
    assert '"queryConfigEnabled": false' in page
    assert "auth_config = {}" in page
    for asset in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        with client.get(asset) as answer:
            assert answer.status_code == 200, asset


def test_the_page_comes_with_a_policy(client: FlaskClient) -> None:
    policy = client.get("/apidocs/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "media-src 'self' blob:" in policy
