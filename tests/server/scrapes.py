"""What Prometheus would see."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server.services import Services

Series = dict[str, float]


def scrape(services: Services) -> Series:
    """Values by series, such as `voice_leases{device=0}`, with labels in alphabetical order."""
    text = generate_latest(services.metrics.registry).decode()
    return {
        sample.name + _labels(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def below(series: Series, start: str) -> Series:
    """Those whose name begins like that and that are not zero, by the rest of their names."""
    return {name[len(start) :]: n for name, n in series.items() if name.startswith(start) and n}


def _labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""
