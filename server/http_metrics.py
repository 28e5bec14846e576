"""What requests took and how they ended, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server.metric_specs import HTTP_METRICS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


class HttpMetrics:
    """The metrics of requests on one registry; safe to use from any thread.

    A route is named by its address as it was declared, never as it was asked for, and methods
    that HTTP does not know are `other`: nobody can make new series by asking.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        specs = {spec.name: spec for spec in HTTP_METRICS}
        requests = specs["voice_http_requests_total"]
        seconds = specs["voice_http_request_seconds"]
        inflight = specs["voice_inflight"]
        self._requests = Counter(requests.name, requests.help, requests.labels, registry=registry)
        self._seconds = Histogram(
            seconds.name, seconds.help, seconds.labels, buckets=seconds.buckets, registry=registry
        )
        self._inflight = Gauge(inflight.name, inflight.help, inflight.labels, registry=registry)

    def begin(self, route: str) -> None:
        """A request has come."""
        self._inflight.labels(route).inc()

    def answer(self, route: str, method: str, status: int) -> None:
        """Its answer begins."""
        known = method if method in METHODS else OTHER
        self._requests.labels(route, known, str(status)).inc()

    def end(self, route: str, seconds: float) -> None:
        """Its answer has ended."""
        self._inflight.labels(route).dec()
        self._seconds.labels(route).observe(seconds)
