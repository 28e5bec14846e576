"""Sends work away that there is no room for, before anything is spent on it.

When a crowd comes at once, most of it is refused. Flask takes half a millisecond for that, and
all requests share one interpreter: those refused last would wait for those refused first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from server.api.envelope import Envelope, open_envelope
from server.api.problems import STATUSES, error_detail, retry_after
from server.api.schemas import ErrorBody
from server.errors import Draining, QueueFull, ServerError, Unauthorized
from server.keys import Keyring
from server.logs import logging_as
from server.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Turnstile:
    """Lets conversions into the app `inner` only when there is room, which it keeps for them.

    Whoever has no right key is for the app to answer; so are requests with a query, which are no
    conversions that run now.
    """

    def __init__(
        self, inner: WSGIApplication, services: Services, keyring: Keyring, paths: Iterable[str]
    ) -> None:
        self._inner = inner
        self._services = services
        self._keyring = keyring
        self._paths = frozenset(paths)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        if not self._is_work(environ):
            return self._inner(environ, start_response)
        with ExitStack() as stack:
            try:
                stack.enter_context(self._services.reserve())
            except (QueueFull, Draining) as error:
                return self._refuse(error, environ, start_response)
            return self._inner(environ, start_response)

    def _is_work(self, environ: WSGIEnvironment) -> bool:
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING")
        if environ["REQUEST_METHOD"] != "POST" or path not in self._paths or query:
            return False
        authorization = environ.get("HTTP_AUTHORIZATION")
        try:
            self._keyring.identify(authorization, environ.get("HTTP_X_API_KEY"))
        except Unauthorized:
            return False
        return True

    def _refuse(
        self, error: ServerError, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        envelope, status = _envelope_of(environ), STATUSES[error.code]
        detail = error_detail(error.code, error.message)
        body = ErrorBody(error=detail, request_id=envelope.request_id).model_dump()
        content = json.dumps(body).encode() + b"\n"
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Retry-After": retry_after(error.retry_after_s),
            **envelope.headers(),
        }
        start_response(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
        http = self._services.metrics.http
        http.begin(envelope.path)
        http.answer(envelope.path, envelope.method, status)
        with logging_as(envelope.request_id):
            envelope.log(status, {"error": error.code})
        http.end(envelope.path, envelope.age_s)
        return [content]


def _envelope_of(environ: WSGIEnvironment) -> Envelope:
    names = {"x-request-id": "HTTP_X_REQUEST_ID", "traceparent": "HTTP_TRACEPARENT"}
    headers = {name: environ.get(key, "") for name, key in names.items()}
    return open_envelope(environ["REQUEST_METHOD"], environ["PATH_INFO"], headers)
