"""What every answer carries beside its body, and the one log line of each request."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from server.api.docs_page import POLICY

logger = logging.getLogger(__name__)

PUBLIC_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
PROBES = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds


@dataclass(frozen=True)
class Envelope:
    """What is known of a request when it comes; `traceparent` is its place in a W3C trace."""

    method: str
    path: str
    request_id: str
    traceparent: str | None
    started: float = field(default_factory=time.perf_counter)

    @property
    def age_s(self) -> float:
        """Seconds since it came."""
        return time.perf_counter() - self.started

    def headers(self) -> dict[str, str]:
        """Headers that every answer has."""
        trace = {"traceparent": self.traceparent} if self.traceparent else {}
        return {
            "X-Request-Id": self.request_id,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": POLICY,
            **trace,
        }

    def log(self, status: int, fields: Mapping[str, object]) -> None:
        """Write the request's line."""
        ms, path = self.age_s * 1000, quote(self.path, safe="/")
        trace = {"traceparent": self.traceparent} if self.traceparent else {}
        more = {**fields, **trace}
        facts = {"method": self.method, "path": path, "status": status, "ms": round(ms, 1)}
        logger.log(
            logging.DEBUG if self.path in PROBES else logging.INFO,
            "%s %s %d ms=%.0f%s",
            self.method,
            path,
            status,
            ms,
            "".join(f" {name}={value}" for name, value in more.items()),
            extra={"request": {**facts, **more}},  # for lines in JSON
        )


def open_envelope(method: str, path: str, headers: Mapping[str, str]) -> Envelope:
    """The envelope of a request with those headers, by names in small letters."""
    given, trace = headers.get("x-request-id", ""), headers.get("traceparent", "")
    return Envelope(
        method,
        path,
        given if PUBLIC_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex,
        trace if TRACEPARENT.fullmatch(trace) else None,
    )
