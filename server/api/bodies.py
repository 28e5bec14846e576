"""Bodies that are JSON: how large and how deep they may be."""

from __future__ import annotations

import json
from typing import Any

from flask import g, request
from pydantic import ValidationError

from rvc_core.errors import InvalidOption
from server.api.route import Route
from server.errors import InvalidRequest

SMALL_BODY_BYTES = 1 << 20
MOST_DEPTH = 32


def bound_body(route: Route | None) -> None:
    """Let only routes that take files have bodies of more than a mebibyte."""
    media_types = () if route is None or route.body is None else route.body.content
    if not any(name.startswith("multipart/") for name in media_types):
        largest = request.max_content_length
        request.max_content_length = min(SMALL_BODY_BYTES, largest or SMALL_BODY_BYTES)


def read_json_object() -> dict[str, Any]:
    """The body, a JSON object; raise `InvalidRequest` if it is none or too deep."""
    try:
        body = json.loads(request.get_data())
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise InvalidRequest("The body is no JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body is JSON, but no object.")
    check_depth(body)
    if request.content_length is not None and request.content_length <= SMALL_BODY_BYTES:
        g.json_body = body  # for the audit log
    return body


def invalid_field(error: ValidationError) -> InvalidOption:
    """What to answer when a body does not fit its model: the first field at fault."""
    first = error.errors()[0]
    name = str(first["loc"][0])[:80] if first["loc"] else None
    return InvalidOption(f"{name or 'The body'}: {first['msg']}.", param=name)


def check_depth(value: Any) -> None:
    """Raise `InvalidRequest` if lists and objects are nested too deeply."""
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise _too_deep()


def _inside(value: Any) -> list[Any]:
    """What is in a list or an object; plain values have no depth."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, (dict, list))]


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body is JSON nested more than {MOST_DEPTH} deep.")
