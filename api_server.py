"""The REST API as a Flask app: its routes, and what happens around each request."""

from __future__ import annotations

from flask import Flask

from server.api.batch import batch_routes
from server.api.context import ApiContext, create_context
from server.api.convert import convert_routes
from server.api.docs_page import add_docs_page, docs_routes
from server.api.door import Door
from server.api.gpu import gpu_routes
from server.api.jobs import job_routes
from server.api.models import model_routes
from server.api.openapi import build_document
from server.api.problems import add_error_handlers
from server.api.route import Route, add_routes
from server.api.stats import stats_routes
from server.api.system import system_routes
from server.api.turnstile import Turnstile
from server.services import Services


def create_app(services: Services) -> Flask:
    """The app over `services`; making it imports neither torch nor gradio."""
    settings = services.settings
    app = Flask("server.api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["services"] = services
    door = app.extensions["door"] = Door(app, services)
    routes = all_routes(create_context(services))
    add_routes(app, [*routes, *docs_routes()])
    add_docs_page(app, build_document(routes, with_key=door.keyring.asks_for_keys))
    add_error_handlers(app)
    work = [path for route in routes if route.name == "convert" for path in route.paths]
    app.wsgi_app = Turnstile(app.wsgi_app, services, door.keyring, work)  # type: ignore[method-assign]
    return app


def all_routes(context: ApiContext) -> list[Route]:
    """Every route that the document describes."""
    return [
        *convert_routes(context),
        *model_routes(context),
        *gpu_routes(context),
        *stats_routes(context),
        *batch_routes(context),
        *job_routes(context),
        *system_routes(context),
    ]
