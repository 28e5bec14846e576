"""What results took to become bytes, and how streams ended, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from server.metric_specs import STREAM_METRICS

ENGINE = "rvc"


class StreamMetrics:
    """The metrics of results on their way out; safe to use from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        specs = {spec.name: spec for spec in STREAM_METRICS}
        first, encode = specs["voice_ttfb_seconds"], specs["voice_encode_seconds"]
        sent, cut = specs["voice_stream_bytes_total"], specs["voice_stream_truncated_total"]
        self._first_s = Histogram(
            first.name, first.help, first.labels, buckets=first.buckets, registry=registry
        )
        self._encode_s = Histogram(
            encode.name, encode.help, encode.labels, buckets=encode.buckets, registry=registry
        )
        self._sent = Counter(sent.name, sent.help, registry=registry)
        self._cut = Counter(cut.name, cut.help, registry=registry)

    def note_first(self, seconds: float) -> None:
        """The first byte of a stream is there, so long after its request was read."""
        self._first_s.labels(ENGINE).observe(seconds)

    def note_sent(self, n_bytes: int) -> None:
        """So many bytes of a stream went to their client."""
        self._sent.inc(n_bytes)

    def note_truncated(self) -> None:
        """A stream ended before its end."""
        self._cut.inc()

    def note_encoded(self, audio_format: str, seconds: float) -> None:
        """Making the bytes of a result took that long."""
        self._encode_s.labels(audio_format).observe(seconds)
