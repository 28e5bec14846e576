"""The state of all devices as metrics, read whenever somebody asks for them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from gpu.effects import attempt
from gpu.pressure import PressureLevel
from server.fleet import Fleet
from server.metric_specs import GPU_METRICS, MetricSpec
from server.placement import Priority

Sample = tuple[str, tuple[str, ...], float | None]  # name, labels, value; None = not known

SHARED = ("content:", "f0:")  # kinds of models of which there are only a few
BYTES = {  # keys of a device by kind
    "total": "total_bytes",
    "free": "driver_free_bytes",
    "external": "external_bytes",
    "budget": "budget_bytes",
    "ledger": "ledger_bytes",
}
TOTALS = {  # metric and its labels beside the device, by counter
    "loads": ("voice_loads_total", "disk"),
    "restores": ("voice_loads_total", "host"),
    "failures": ("voice_load_failures_total",),
    "evictions": ("voice_evictions_total",),
    "offloads": ("voice_offloads_total",),
    "out_of_memory": ("voice_oom_total",),
    "leak_suspected": ("voice_leak_suspected_total",),
}


class FleetCollector:
    """Asks `fleet` at each scrape and keeps nothing but what dead workers had counted.

    `voices` are the names of all voices on disk. When something cannot be read, the log says so
    and the rest is shown.
    """

    def __init__(self, fleet: Fleet, voices: Callable[[], Collection[str]]) -> None:
        self._fleet = fleet
        self._voices = voices
        self._tallies: defaultdict[int, Tally] = defaultdict(Tally)
        self._lock = threading.Lock()  # two scrapes at once must not see a worker's end twice

    def describe(self) -> list[Metric]:
        """The metrics without values, for the registry to see that each name is there once."""
        return to_families([])

    def collect(self) -> list[Metric]:
        """All metrics as they are now."""
        with self._lock:
            devices, _ = attempt(self._read_devices, "Reading the devices for metrics")
        queue, _ = attempt(self._read_queue, "Reading the queue for metrics")
        return to_families([*(devices or ()), *(queue or ())])

    def _read_devices(self) -> list[Sample]:
        voices = self._voices()
        samples: list[Sample] = []
        for device in self._fleet.status()["devices"]:
            index = str(device["index"])
            samples += [*_of_models(device, index, voices), *_of_memory(device, index)]
            samples += _of_process(device, index)
            worker = device.get("worker") or {"restarts": 0}
            tally = self._tallies[device["index"]]
            samples += _of_totals(tally.after(worker["restarts"], device.get("totals")), index)
        return samples

    def _read_queue(self) -> list[Sample]:
        admission = self._fleet.admission
        indexes: list[int | None] = [*range(len(admission.counts())), None]
        line = Counter((entry.lane, entry.priority) for entry in admission.waiting())
        return [
            (
                "voice_queue_depth",
                ("none" if index is None else str(index), priority.value),
                line[index, priority],
            )
            for index in indexes
            for priority in Priority
        ]


class Tally:
    """Counters of a device that go on where a new process begins again at zero.

    What a process counted after it was last asked is lost with it.
    """

    def __init__(self) -> None:
        self._life = 0
        self._before: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    def after(self, life: int, counts: Mapping[str, int] | None) -> Counter[str]:
        """The sums over all lives, now that process number `life` has counted that much.

        None = it has told nothing yet, or is dead.
        """
        if counts is not None:
            if life != self._life:
                self._before += self._now
            self._life, self._now = life, Counter(counts)
        return self._before + self._now


def to_families(samples: Iterable[Sample]) -> list[Metric]:
    """One family for each metric in the table; values under the same labels are added up."""
    values: dict[str, dict[tuple[str, ...], float]] = {spec.name: {} for spec in GPU_METRICS}
    for name, labels, value in samples:
        if value is not None:
            values[name][labels] = values[name].get(labels, 0.0) + value
    return [_family(spec, values[spec.name]) for spec in GPU_METRICS]


def model_label(model_id: str, voices: Collection[str]) -> str:
    """A voice's name if it is on disk, the id of a model that voices share, else "other"."""
    if model_id.startswith(SHARED):
        return model_id
    name = model_id.removeprefix("voice:").rpartition("@")[0]
    return name if name in voices else "other"


def _family(spec: MetricSpec, values: Mapping[tuple[str, ...], float]) -> Metric:
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family = kind(spec.name, spec.help, labels=spec.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _of_models(device: Mapping[str, Any], index: str, voices: Collection[str]) -> Iterator[Sample]:
    models = device["models"]
    for model in models:
        label = model_label(model["id"], voices)
        yield "voice_model_state", (label, index, model["state"]), 1
    ages = [holder["age_s"] for model in models for holder in model["holders"]]
    yield "voice_leases", (index,), sum(model["leases"] for model in models)
    yield "voice_lease_age_seconds_max", (index,), max(ages, default=0.0)


def _of_memory(device: Mapping[str, Any], index: str) -> Iterator[Sample]:
    for kind, key in BYTES.items():
        yield "voice_vram_bytes", (index, kind), device.get(key)
    host = device.get("host", {})
    yield "voice_pinned_bytes", (index,), host.get("pinned_bytes")
    yield "voice_host_cache_bytes", (index,), host.get("cache_bytes")
    yield "voice_copy_gbps", (index,), device.get("copy", {}).get("h2d_gbps")
    if "pressure" in device:
        yield "voice_pressure_level", (index,), PressureLevel[device["pressure"].upper()]


def _of_process(device: Mapping[str, Any], index: str) -> Iterator[Sample]:
    yield "voice_heartbeat_age_seconds", (index, "timers"), device.get("heartbeat_age_s")
    worker = device.get("worker")
    if worker is not None:
        yield "voice_worker_restarts_total", (index,), worker["restarts"]
        yield "voice_heartbeat_age_seconds", (index, "worker"), worker["heartbeat_age_s"]


def _of_totals(totals: Counter[str], index: str) -> Iterator[Sample]:
    for counter, (name, *labels) in TOTALS.items():
        yield name, (index, *labels), totals[counter]
