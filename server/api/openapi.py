"""The OpenAPI document, drawn from the routes and from the models of bodies and answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from server import VERSION
from server.api.route import (
    VALUE_IN_PATH,
    Access,
    Answer,
    Body,
    Content,
    Json,
    Parameter,
    Route,
    shown_path,
)
from server.api.schemas import ErrorBody

PATH_VALUES = {
    "model_id": "The voice's name.",
    "job_id": "The job's id.",
}
COMMON_HEADERS = (
    Parameter(
        "X-Request-Id",
        "Name of the request, up to 64 of A-Z a-z 0-9 . _ -; else one is made.",
        "header",
    ),
)
FAILURES = {
    400: "Something in the request is not usable; the body names it.",
    401: "The API key is missing or wrong.",
    403: "The caller's key, or the way the server is set up, does not allow it.",
    404: "There is no such thing.",
    409: "The state of things does not allow it now.",
    410: "It is gone: its files have been removed.",
    413: "The body is too large or the audio too long.",
    415: "The audio cannot be decoded, or the body is of another type.",
    429: "The caller asks for more than its key allows; Retry-After says when to come back.",
    500: "The server failed.",
    503: "Not now: too many wait, the server stops, or the device is short of memory.",
    504: "The time allowed is over.",
    507: "The disk or the space allowed is full.",
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
SCHEMAS = "#/components/schemas/{model}"


def build_document(routes: Sequence[Route], with_key: bool) -> Json:
    """The OpenAPI 3.1 document; `with_key` says that callers need an API key."""
    paths: Json = {}
    for route in routes:
        for number, path in enumerate(route.paths):
            address = shown_path(path)
            operation = _operation(route, path, with_key)
            if number:
                operation["operationId"] += re.sub(r"\W+", "_", path)
                operation["deprecated"] = True
            paths.setdefault(address, {})[route.method.lower()] = operation
    components: Json = {"schemas": _schemas(routes)}
    if with_key:
        components["securitySchemes"] = SECURITY
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Voice server",
            "version": VERSION,
            "description": "Converts recordings into other voices.",
        },
        "paths": paths,
        "components": components,
    }


def _operation(route: Route, path: str, with_key: bool) -> Json:
    guarded = with_key and route.access is not Access.PUBLIC
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *(_path_value(name) for name in VALUE_IN_PATH.findall(path)),
            *(_parameter(one) for one in (*route.parameters, *COMMON_HEADERS)),
        ],
        "responses": {
            **{str(answer.status): _answer(answer) for answer in route.answers},
            **_failures(sorted(_statuses(route, guarded))),
        },
    }
    if route.description:
        operation["description"] = route.description
    if route.body is not None:
        operation["requestBody"] = _body(route.body)
    if guarded:
        operation["security"] = [{scheme: []} for scheme in SECURITY]
    return operation


def _statuses(route: Route, guarded: bool) -> set[int]:
    always = {500} if route.access is Access.PUBLIC else {400, 429, 500}
    by_key = {401} if guarded else set()
    by_role = {403} if route.access is Access.ADMIN else set()
    described = {answer.status for answer in route.answers}
    return ({*route.failures} | always | by_key | by_role) - described


def _path_value(name: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": PATH_VALUES[name],
        "schema": schema,
    }


def _parameter(one: Parameter) -> Json:
    return {"name": one.name, "in": one.place, "description": one.help, "schema": one.schema}


def _body(body: Body) -> Json:
    content = _content(body.content)
    if body.example is not None:
        content["application/json"]["example"] = body.example
    return {"required": body.required, "content": content}


def _answer(answer: Answer) -> Json:
    described: Json = {"description": answer.description}
    if answer.content:
        described["content"] = _content(answer.content)
    if answer.headers:
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in answer.headers.items()
        }
    if answer.links:
        described["links"] = dict(answer.links)
    return described


def _failures(statuses: Iterable[int]) -> Json:
    body = {"application/json": {"schema": _ref(ErrorBody)}}
    return {str(status): {"description": FAILURES[status], "content": body} for status in statuses}


def _content(content: Content) -> Json:
    return {
        media_type: {"schema": shape if isinstance(shape, dict) else _ref(shape)}
        for media_type, shape in content.items()
    }


def _schemas(routes: Sequence[Route]) -> Json:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
        (ErrorBody, "serialization"): None
    }
    for route in routes:
        for model in _models(route.body.content if route.body else {}):
            wanted[model, "validation"] = None
        for answer in route.answers:
            for model in _models(answer.content):
                wanted[model, "serialization"] = None
    _, definitions = models_json_schema(list(wanted), ref_template=SCHEMAS)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _models(content: Content) -> list[type[BaseModel]]:
    return [shape for shape in content.values() if not isinstance(shape, dict)]


def _ref(model: type) -> Json:
    return {"$ref": SCHEMAS.format(model=model.__name__)}
