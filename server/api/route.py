"""What a route is: its addresses, who may use it, what it does and how the document shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flask import Flask
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

Json = dict[str, Any]
Content = Mapping[str, type[BaseModel] | Json]  # by media type: a model, or a schema as it is
EXTENSION = "routes"  # under this name an app keeps its routes by endpoint
VALUE_IN_PATH = re.compile(r"<(?:\w+:)?(\w+)>")


class Access(Enum):
    """Who may use a route: anybody, callers with a key, or administrators."""

    PUBLIC = "public"
    USE = "use"
    ADMIN = "admin"


@dataclass(frozen=True)
class Parameter:
    """A value in the query or a header; those in the path are described by `PATH_VALUES`."""

    name: str
    help: str
    place: str = "query"
    schema: Json = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Body:
    """What a route reads; `example` is for JSON."""

    content: Content
    required: bool = True
    example: Json | None = None


@dataclass(frozen=True)
class Answer:
    """What a route answers when all is well."""

    description: str
    content: Content = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One thing that callers can ask for.

    `paths` are in Flask's spelling: the address, then those that callers of other servers use.
    `failures` are the statuses that are not a matter of course (401, 403, 429 and 500 are).
    """

    name: str
    method: str
    paths: tuple[str, ...]
    handler: Callable[..., ResponseReturnValue]
    summary: str
    tag: str
    answers: tuple[Answer, ...]
    failures: tuple[int, ...] = ()
    access: Access = Access.USE
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None


def json_of(model: type[BaseModel]) -> Content:
    """The content of a body that is JSON."""
    return {"application/json": model}


def shown_path(path: str) -> str:
    """A path in Flask's spelling as OpenAPI spells it: with {name} for values."""
    return VALUE_IN_PATH.sub(r"{\1}", path)


def add_routes(app: Flask, routes: Iterable[Route]) -> None:
    """Serve `routes`; `route_of` finds them again."""
    known: dict[str, Route] = app.extensions.setdefault(EXTENSION, {})
    for route in routes:
        for path in route.paths:
            endpoint = f"{route.method} {path}".replace(".", "_")  # a dot means a blueprint
            app.add_url_rule(path, endpoint, route.handler, methods=[route.method])
            known[endpoint] = route


def route_of(app: Flask, endpoint: str | None) -> Route | None:
    """The route that a request has reached, if it is one of ours."""
    known: dict[str, Route] = app.extensions[EXTENSION]
    return known.get(endpoint or "")
