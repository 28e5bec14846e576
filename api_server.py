"""The REST API as a Flask app: routes, request ids, key, and the one table of error statuses."""

from __future__ import annotations

import logging
import re
import time
import uuid
from urllib.parse import quote

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from gpu.errors import GpuError
from rvc_core.errors import CoreError
from server.api.context import ApiContext
from server.api.convert import create_convert_routes
from server.api.docs_page import POLICY, add_docs_page
from server.api.gpu import create_gpu_routes
from server.api.models import create_model_routes
from server.api.openapi import build_document
from server.api.schemas import ErrorBody, ErrorDetail
from server.api.system import create_system_routes
from server.errors import ServerError
from server.logs import REQUEST_ID
from server.security import require_key
from server.services import Services

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # logged; nobody reads it
STATUSES = {
    "invalid_request": 400,
    "invalid_option": 400,
    "speaker_out_of_range": 400,
    "invalid_audio": 400,
    "empty_audio": 400,
    "non_finite_audio": 400,
    "invalid_checkpoint": 400,
    "unsafe_checkpoint": 400,
    "training_checkpoint": 400,
    "unsupported_vocoder": 400,
    "invalid_weights": 400,
    "missing_weights": 400,
    "missing_package": 400,
    "content_encoder_mismatch": 400,
    "invalid_index": 400,
    "index_mismatch": 400,
    "index_not_found": 400,
    "voice_required": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "voice_not_found": 404,
    "method_not_allowed": 405,
    "model_in_use": 409,
    "upload_too_large": 413,
    "audio_too_long": 413,
    "undecodable_audio": 415,
    "unsupported_media_type": 415,
    "cancelled": CLIENT_GONE,
    "internal_error": 500,
    "non_finite_output": 500,
    "load_failed": 503,
    "load_backoff": 503,
    "queue_full": 503,
    "draining": 503,
    "device_unavailable": 503,
    "insufficient_memory": 503,
    "insufficient_vram": 503,
    "out_of_memory": 503,
    "worker_lost": 503,
    "worker_busy": 503,
    "deadline_exceeded": 504,
    "wait_expired": 504,
}
DEFECTS = frozenset(  # codes that only a fault of ours can raise: answered as internal_error
    {
        "core_error",
        "gpu_error",
        "model_not_found",
        "invalid_spec",
        "lease_released",
        "illegal_transition",
        "task_failed",
    }
)
RETRYABLE = frozenset(
    {
        *("load_failed", "load_backoff", "queue_full", "draining", "insufficient_vram"),
        *("model_in_use", "out_of_memory", "worker_lost", "worker_busy"),
        *("deadline_exceeded", "wait_expired"),
    }
)
HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "upload_too_large",
    415: "unsupported_media_type",
}
HTTP_MESSAGES = {
    404: "There is no such route; /apidocs/ lists all.",
    405: "The route does not take this method.",
}
PUBLIC_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PROBES = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds
GUARDED = ("/api/", "/info", "/metrics")
ROUTES = (create_convert_routes, create_gpu_routes, create_model_routes, create_system_routes)


def create_app(services: Services) -> Flask:
    """The app over `services`; making it imports neither torch nor gradio."""
    settings = services.settings
    app = Flask("server.api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["services"] = services
    context = ApiContext(services)
    for create_routes in ROUTES:
        app.register_blueprint(create_routes(context))
    add_docs_page(app, build_document(with_key=settings.api_key is not None))
    app.before_request(_begin)
    app.before_request(lambda: _check_key(settings.api_key))
    app.after_request(_finish)
    for kind in (CoreError, GpuError, ServerError):
        app.register_error_handler(kind, _on_named_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_defect)
    return app


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if PUBLIC_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.started = time.perf_counter()
    g.log_fields = {}
    REQUEST_ID.set(g.request_id)


def _check_key(api_key: str | None) -> None:
    if request.path.startswith(GUARDED):
        headers = request.headers
        require_key(headers.get("Authorization", ""), headers.get("X-API-Key", ""), api_key)


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


def _on_named_error(error: CoreError | GpuError | ServerError) -> Response:
    if error.code in DEFECTS:
        return _on_defect(error)
    param = getattr(error, "param", None)
    response = error_response(error.code, error.message, param)
    retry_after_s = getattr(error, "retry_after_s", None)
    if response.status_code == 503:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s or 1)))
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _on_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status == 413:
        message = "The body, or a text field in it, is larger than allowed; see /info."
    else:
        message = HTTP_MESSAGES.get(status) or error.description or error.name
    response = error_response(HTTP_CODES.get(status, "invalid_request"), message, status=status)
    allow = error.get_response().headers.get("Allow")
    if allow is not None:
        response.headers["Allow"] = allow
    return response


def _on_defect(error: Exception) -> Response:
    """The last handler: details go to the log only."""
    logger.error("%s %s failed.", request.method, quote(request.path, safe="/"), exc_info=error)
    message = "The server failed; its log has the details under this request id."
    return error_response("internal_error", message)


def error_response(
    code: str, message: str, param: str | None = None, status: int | None = None
) -> Response:
    """The answer for an error; the only shape in which errors leave."""
    status = status or STATUSES[code]
    kind = {4: "invalid_request", 5: "server"}[status // 100] if status != 503 else "unavailable"
    detail = ErrorDetail(
        message=message, type=kind, code=code, param=param, retryable=code in RETRYABLE
    )
    response = jsonify(ErrorBody(error=detail, request_id=g.request_id).model_dump())
    response.status_code = status
    g.log_fields = {**g.log_fields, "error": code}
    return response
