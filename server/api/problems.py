"""Errors on their way out: the one table from codes to statuses, and the one shape of bodies."""

from __future__ import annotations

import logging
import math
from urllib.parse import quote

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from gpu.errors import GpuError
from rvc_core.errors import CoreError
from server.api.schemas import ErrorBody, ErrorDetail
from server.errors import Preempted, ServerError

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
    "unsafe_archive": 400,
    "inspection_failed": 400,
    "address_refused": 400,
    "fetch_failed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "feature_disabled": 403,
    "not_found": 404,
    "voice_not_found": 404,
    "job_not_found": 404,
    "method_not_allowed": 405,
    "model_in_use": 409,
    "no_worker_process": 409,
    "job_not_finished": 409,
    "job_failed": 409,
    "job_cancelled": 409,
    "job_conflict": 409,
    "idempotency_conflict": 409,
    "voice_exists": 409,
    "job_expired": 410,
    "upload_too_large": 413,
    "audio_too_long": 413,
    "undecodable_audio": 415,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "too_many_at_once": 429,
    "too_many_jobs": 429,
    "cancelled": CLIENT_GONE,
    "internal_error": 500,
    "non_finite_output": 500,
    "interrupted": 500,
    "job_files_lost": 500,
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
    "preempted": 503,
    "deadline_exceeded": 504,
    "wait_expired": 504,
    "fetch_timeout": 504,
    "disk_quota_exceeded": 507,
    "disk_full": 507,
}
DEFECTS = frozenset(  # codes that only a fault of ours can raise: answered as internal_error
    {
        "core_error",
        "gpu_error",
        "model_not_found",
        "invalid_spec",
        "lease_released",
        "not_ready",
        "illegal_transition",
        "task_failed",
    }
)
RETRYABLE = frozenset(
    {
        *("load_failed", "load_backoff", "queue_full", "draining", "insufficient_vram"),
        *("model_in_use", "out_of_memory", "worker_lost", "worker_busy"),
        *("rate_limited", "too_many_at_once", "preempted"),
        *("too_many_jobs", "job_not_finished", "interrupted"),
        *("disk_quota_exceeded", "disk_full"),
        *("deadline_exceeded", "wait_expired", "fetch_timeout"),
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
COME_BACK = frozenset({429, 503})  # these say when, in Retry-After


def add_error_handlers(app: Flask) -> None:
    """Have every error of `app` leave in our shape."""
    for kind in (CoreError, GpuError, ServerError):
        app.register_error_handler(kind, _on_named_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_defect)


def _on_named_error(error: CoreError | GpuError | ServerError) -> Response:
    if error.code in DEFECTS:
        return _on_defect(error)
    if error.code == "cancelled" and _still_waits():
        error = Preempted("The conversion was ended by an operator; try again.")
    param = getattr(error, "param", None)
    response = error_response(error.code, error.message, param)
    retry_after_s = getattr(error, "retry_after_s", None)
    if response.status_code in COME_BACK or retry_after_s is not None:
        response.headers["Retry-After"] = retry_after(retry_after_s)
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def retry_after(seconds: float | None) -> str:
    """When to come back, as a header's value."""
    return str(max(1, math.ceil(seconds or 1)))


def _still_waits() -> bool:
    """Whether the client is known to be there: then somebody else has cancelled its request."""
    is_gone = request.environ.get("waitress.client_disconnected")
    return is_gone is not None and not is_gone()


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
    detail = error_detail(code, message, param, status)
    response = jsonify(ErrorBody(error=detail, request_id=g.request_id).model_dump())
    response.status_code = status
    g.log_fields = {**g.log_fields, "error": code}
    return response


def error_detail(
    code: str, message: str, param: str | None = None, status: int | None = None
) -> ErrorDetail:
    """The inner part of an error's body, also for errors told inside of other answers."""
    status = status or STATUSES[code]
    kind = "invalid_request" if status < 500 else "server" if status != 503 else "unavailable"
    return ErrorDetail(
        message=message, type=kind, code=code, param=param, retryable=code in RETRYABLE
    )
