"""The REST API as a Flask app: its routes, and what happens around each request."""

from __future__ import annotations

import logging
import re
import time
import uuid
from urllib.parse import quote

from flask import Flask, Response, g, request

from server.api.context import ApiContext, create_context
from server.api.convert import convert_routes
from server.api.docs_page import POLICY, add_docs_page, docs_routes
from server.api.gpu import gpu_routes
from server.api.models import model_routes
from server.api.openapi import build_document
from server.api.problems import add_error_handlers
from server.api.route import Access, Route, add_routes, route_of
from server.api.system import system_routes
from server.keys import Keyring, require_admin
from server.logs import REQUEST_ID
from server.services import Services

logger = logging.getLogger(__name__)

PUBLIC_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PROBES = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds
GUARDED = ("/api/",)  # what is not there is not told to strangers


def create_app(services: Services) -> Flask:
    """The app over `services`; making it imports neither torch nor gradio."""
    settings = services.settings
    app = Flask("server.api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["services"] = services
    keyring = Keyring(settings.keys, is_open=not settings.is_loopback)
    routes = all_routes(create_context(services))
    add_routes(app, [*routes, *docs_routes()])
    add_docs_page(app, build_document(routes, with_key=keyring.asks_for_keys))
    app.before_request(_begin)
    app.before_request(lambda: _check_caller(app, keyring))
    app.after_request(_finish)
    add_error_handlers(app)
    return app


def all_routes(context: ApiContext) -> list[Route]:
    """Every route that the document describes."""
    return [
        *convert_routes(context),
        *model_routes(context),
        *gpu_routes(context),
        *system_routes(context),
    ]


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if PUBLIC_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.started = time.perf_counter()
    g.log_fields = {}
    REQUEST_ID.set(g.request_id)


def _check_caller(app: Flask, keyring: Keyring) -> None:
    route = route_of(app, request.endpoint)
    access = route.access if route is not None else Access.PUBLIC
    if access is Access.PUBLIC and (route or not request.path.startswith(GUARDED)):
        return
    headers = request.headers
    g.caller = keyring.identify(headers.get("Authorization", ""), headers.get("X-API-Key", ""))
    if access is Access.ADMIN:
        require_admin(g.caller, keyring.asks_for_keys)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = POLICY
    fields = "".join(f" {name}={value}" for name, value in g.log_fields.items())
    logger.log(
        logging.DEBUG if request.path in PROBES else logging.INFO,
        "%s %s %d ms=%.0f%s",
        request.method,
        quote(request.path, safe="/"),
        response.status_code,
        (time.perf_counter() - g.started) * 1000,
        fields,
    )
    REQUEST_ID.set("-")
    return response
