from __future__ import annotations

import pytest
from prometheus_client.metrics_core import Metric

from server.metric_specs import (
    GPU_METRICS,
    HTTP_METRICS,
    JOB_METRICS,
    STREAM_METRICS,
    WORK_METRICS,
    MetricSpec,
)
from server.services import Services
from tests.server.calls import convert
from tests.server.scrapes import scrape
from tests.test_docs import table

ALL = (*WORK_METRICS, *STREAM_METRICS, *HTTP_METRICS, *JOB_METRICS, *GPU_METRICS)


def test_every_metric_is_documented_and_nothing_else() -> None:
    documented = table("metrics.md", "metric")
    assert documented == {spec.name: [spec.kind, ", ".join(spec.labels), spec.help] for spec in ALL}


def test_what_is_served_is_what_is_specified(services: Services) -> None:
    families: list[Metric] = list(services.metrics.registry.collect())
    served = {f.name + ("_total" if f.type == "counter" else ""): f for f in families}
    assert {name: (f.type, f.documentation) for name, f in served.items()} == {
        spec.name: (spec.kind, spec.help) for spec in ALL
    }


def test_labels_are_the_ones_that_are_specified(services: Services, recording: bytes) -> None:
    convert(services, recording)
    specified = {spec.name: set(spec.labels) for spec in ALL}
    for family in services.metrics.registry.collect():
        for sample in family.samples:
            name = sample.name if sample.name in specified else family.name
            name = name if name in specified else f"{family.name}_total"
            assert set(sample.labels) - {"le"} == specified[name], sample.name


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("voice_queue_seconds_bucket{le=", 0.005, 120.0),
        ("voice_load_seconds_bucket{le=", 0.05, 60.0),
    ],
)
def test_buckets_reach_from_the_shortest_to_the_longest(
    services: Services, recording: bytes, name: str, first: float, last: float
) -> None:
    convert(services, recording)
    bounds = sorted(
        float(series.removeprefix(name).partition(",")[0].rstrip("}"))
        for series in scrape(services)
        if series.startswith(name)
    )
    assert (bounds[0], bounds[-2], bounds[-1]) == (first, last, float("inf"))


def test_the_kind_of_a_metric_shows_in_its_name() -> None:
    assert MetricSpec("a_total", "A.").kind == "counter"
    assert MetricSpec("a", "A.").kind == "gauge"
    assert MetricSpec("a", "A.", buckets=(1.0,)).kind == "histogram"
