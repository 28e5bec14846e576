"""What happens around each request: who is it, may they, how much, and what is written down."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, request

from rvc_core.errors import InvalidOption
from server.api.bodies import bound_body
from server.api.envelope import Envelope, open_envelope
from server.api.rates import limit_rates
from server.api.route import Access, Route, route_of, shown_path
from server.audit import AuditLog, without_secrets
from server.errors import TooManyAtOnce, Unauthorized
from server.http_metrics import OTHER
from server.keys import Caller, Keyring, require_admin
from server.limits import AtOnce, WrongKeys
from server.logs import REQUEST_ID
from server.services import Services

GUARDED = ("/api/",)  # what is not there is not told to strangers
REFUSED = (401, 403)


class Door:
    """Watches over the requests of one app."""

    def __init__(self, app: Flask, services: Services) -> None:
        settings = services.settings
        self._app = app
        self._services = services
        self._metrics = services.metrics
        self.keyring = Keyring(settings.keys, is_open=not settings.is_loopback)
        self._metrics_public = settings.metrics_public
        self._wrong_keys = WrongKeys()
        self._at_once = AtOnce()
        self._audit = AuditLog(settings)
        app.before_request(self._begin)
        app.before_request(self._check_caller)
        self._rate_headers = limit_rates(app, settings, self._metrics.note_limited)
        app.before_request(self._check_request)
        app.after_request(self._finish)
        app.teardown_request(self._tidy)

    def close(self) -> None:
        """Close the audit log."""
        self._audit.close()

    def _begin(self) -> None:
        names = ("x-request-id", "traceparent")
        headers = {name: request.headers.get(name, "") for name in names}
        g.envelope = open_envelope(request.method, request.path, headers)
        g.request_id = g.envelope.request_id
        g.log_fields = {}
        g.visit = _Visit(self, route_of(self._app, request.endpoint))
        REQUEST_ID.set(g.request_id)
        bound_body(g.visit.route)

    def _check_caller(self) -> None:
        route = g.visit.route
        access = self._access(route)
        if access is Access.PUBLIC and (route or not request.path.startswith(GUARDED)):
            return
        headers = request.headers
        authorization, key = headers.get("Authorization"), headers.get("X-API-Key")
        try:
            g.caller = self.keyring.identify(authorization, key)
        except Unauthorized:
            if authorization or key:
                self._wrong_keys.note(request.remote_addr or "")
            raise
        if access is Access.ADMIN:
            require_admin(g.caller, self.keyring.asks_for_keys)

    def _access(self, route: Route | None) -> Access:
        if route is None or (self._metrics_public and route.name == "metrics"):
            return Access.PUBLIC
        return route.access

    def _check_request(self) -> None:
        route, caller = g.visit.route, g.get("caller")
        if route is None or caller is None:
            return
        _refuse_unknown_parameters(route)
        try:
            g.visit.enter(caller)
        except TooManyAtOnce:
            self._metrics.note_limited()
            raise

    def _finish(self, response: Response) -> Response:
        visit: _Visit = g.visit
        response.headers.update({**g.envelope.headers(), **self._rate_headers()})
        self._metrics.http.answer(visit.label, request.method, response.status_code)
        g.envelope.log(response.status_code, g.log_fields)
        self._note(visit.route, response.status_code)
        visit.is_answered = True
        response.call_on_close(visit.end)
        return response

    def _note(self, route: Route | None, status: int) -> None:
        is_admin = route is not None and route.access is Access.ADMIN
        if not is_admin and status not in REFUSED:
            return
        caller = g.get("caller")
        self._audit.write(
            {
                "request_id": g.request_id,
                "caller": None if caller is None else caller.name,
                "address": request.remote_addr,
                "method": request.method,
                "route": g.visit.label,
                "status": status,
                "concerns": without_secrets({**(request.view_args or {}), **_fields_read()}),
            }
        )

    def _tidy(self, error: BaseException | None) -> None:
        if not g.visit.is_answered:  # no answer was made that would end it
            g.visit.end()
        REQUEST_ID.set("-")


class _Visit:
    """One request from its arrival to the end of its answer, which may be a stream."""

    def __init__(self, door: Door, route: Route | None) -> None:
        self.route = route
        self.label = OTHER if route is None else shown_path(str(request.url_rule))
        self.is_answered = False
        self._http = door._metrics.http
        self._at_once = door._at_once
        self._envelope: Envelope = g.envelope
        self._leave = [self._end_metrics]
        self._http.begin(self.label)

    def enter(self, caller: Caller) -> None:
        """Count among the requests that `caller` has at hand; raise `TooManyAtOnce`."""
        self._leave.append(self._at_once.enter(caller))

    def end(self) -> None:
        """The answer is out; a second call does nothing."""
        while self._leave:
            self._leave.pop()()

    def _end_metrics(self) -> None:
        self._http.end(self.label, self._envelope.age_s)


def _refuse_unknown_parameters(route: Route) -> None:
    known = {one.name for one in route.parameters if one.place == "query"}
    for name in request.args:
        if name not in known:
            takes = ", ".join(sorted(known)) or "none"
            raise InvalidOption(
                f"There is no query parameter {name!r:.80}; the route takes {takes}.",
                param=name[:80],
            )


def _fields_read() -> dict[str, Any]:
    """The fields of the body, as far as the handler has read them."""
    if "form" in vars(request):
        return dict(request.form)
    fields = g.get("json_body")
    return fields if isinstance(fields, dict) else {}
