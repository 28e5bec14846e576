"""What jobs take and how many there are, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.metrics_core import GaugeMetricFamily

from server.jobs.records import KINDS, State
from server.metric_specs import JOB_METRICS

REASONS = ("asked", "busy", "interrupted")


class JobMetrics:
    """The metrics of jobs on one registry; `counts` tells how many are in each state."""

    def __init__(
        self, registry: CollectorRegistry, counts: Callable[[], Mapping[State, int]]
    ) -> None:
        specs = {spec.name: spec for spec in JOB_METRICS}
        self._gauge = specs["voice_jobs"]
        self._counts = counts
        seconds, retries = specs["voice_job_seconds"], specs["voice_job_retries_total"]
        self._seconds = Histogram(
            seconds.name, seconds.help, seconds.labels, buckets=seconds.buckets, registry=registry
        )
        self._retries = Counter(retries.name, retries.help, retries.labels, registry=registry)
        for kind in KINDS:
            self._seconds.labels(kind)
        for reason in REASONS:
            self._retries.labels(reason)
        registry.register(self)

    def note_run(self, kind: str, seconds: float) -> None:
        """A job ran for so long, however it ended."""
        self._seconds.labels(kind).observe(seconds)

    def note_retry(self, reason: str) -> None:
        """A job stands in line again."""
        self._retries.labels(reason).inc()

    def describe(self) -> list[Metric]:
        """The gauge without values, for the registry to see that the name is there once."""
        return [GaugeMetricFamily(self._gauge.name, self._gauge.help, labels=self._gauge.labels)]

    def collect(self) -> list[Metric]:
        """The gauge as it is now."""
        family = GaugeMetricFamily(
            self._gauge.name, self._gauge.help, labels=list(self._gauge.labels)
        )
        for state, n in self._counts().items():
            family.add_metric([state.value], n)
        return [family]
