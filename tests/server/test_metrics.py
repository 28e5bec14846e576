from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from gpu.errors import GpuError
from gpu_manager import GPUResourceManager
from rvc_core.audio import Audio
from rvc_core.converter import Conversion
from rvc_core.errors import Cancelled, CoreError, DeadlineExceeded, OutOfMemory, VoiceNotFound
from rvc_core.token import Token
from server.api.problems import DEFECTS, STATUSES
from server.errors import DeviceUnavailable, Draining, QueueFull, ServerError
from server.metrics import Journey, Metrics, outcome_of
from server.services import Services
from server.settings import Settings
from tests.gpu.fakes import FakeClock, in_thread, until
from tests.server.calls import convert, converting, request_for
from tests.server.fakes import engine_of, fake_services, services_on
from tests.server.scrapes import below, scrape


def outcomes(services: Services) -> dict[str, float]:
    return below(scrape(services), "voice_conversions_total")


def test_a_conversion_counts_as_done(services: Services, recording: bytes) -> None:
    convert(services, recording)
    convert(services, recording)
    assert outcomes(services) == {"{outcome=done}": 2}


def test_the_wait_in_line_is_measured(services: Services, recording: bytes) -> None:
    convert(services, recording)
    series = scrape(services)
    assert series["voice_queue_seconds_count"] == 1
    assert 0 < series["voice_queue_seconds_sum"] < 1


def test_a_load_is_measured_by_where_the_voice_came_from(
    services: Services, recording: bytes
) -> None:
    convert(services, recording)  # from disk
    convert(services, recording)  # ready
    services.offload()
    convert(services, recording)  # from host memory
    series = scrape(services)
    assert below(series, "voice_load_seconds_count") == {
        "{model=anna,source=disk}": 1,
        "{model=anna,source=host}": 1,
    }
    assert series["voice_load_seconds_sum{model=anna,source=disk}"] > 0


def test_each_stage_is_measured(services: Services, recording: bytes) -> None:
    convert(services, recording)
    assert below(scrape(services), "voice_infer_seconds_sum") == {
        "{engine=rvc,stage=feature}": 0.1,
        "{engine=rvc,stage=f0}": 0.2,
        "{engine=rvc,stage=synth}": 0.3,
    }


def test_a_voice_without_f0_does_not_make_f0_look_fast(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_f0(models: Any, source: Audio, *others: Any) -> Conversion:
        return Conversion(source, {"feature": 0.1, "synth": 0.3, "total": 0.4}, source.samples, ())

    monkeypatch.setattr(services.engine, "convert", without_f0)
    convert(services, recording)
    assert set(below(scrape(services), "voice_infer_seconds_count")) == {
        "{engine=rvc,stage=feature}",
        "{engine=rvc,stage=synth}",
    }


def test_audio_and_the_time_it_takes_are_measured(services: Services, recording: bytes) -> None:
    timings = convert(services, recording).timings
    series = scrape(services)
    assert series["voice_audio_seconds_total{engine=rvc}"] == pytest.approx(0.1)
    work_s = timings["total"] - timings["queue"] - timings["load"]
    assert series["voice_rtf_sum{engine=rvc}"] == pytest.approx(work_s / 0.1)


def test_a_mistake_in_the_request_counts_as_invalid(services: Services, recording: bytes) -> None:
    for audio, voice in ((recording, "nobody"), (b"no audio", "anna")):
        with suppress(CoreError):
            convert(services, audio, voice)
    assert outcomes(services) == {"{outcome=invalid}": 2}
    assert scrape(services)["voice_queue_seconds_count"] == 0  # they never stood in line


@pytest.mark.parametrize("error", [OutOfMemory("No room."), ValueError("odd")])
def test_a_fault_of_ours_counts_as_failed(
    services: Services, recording: bytes, error: Exception
) -> None:
    def fail(token: Token) -> None:
        raise error

    engine_of(services).during_convert = fail
    with pytest.raises(type(error)):
        convert(services, recording)
    assert outcomes(services) == {"{outcome=failed}": 1}
    assert scrape(services)["voice_queue_seconds_count"] == 1


def test_a_full_queue_and_a_drain_are_rejections(fake_models: Path, recording: bytes) -> None:
    services = fake_services(fake_models, concurrent_conversions=1, max_queue_per_gpu=0)
    with converting(services, recording), pytest.raises(QueueFull):
        convert(services, recording)
    services.drain(0)
    with pytest.raises(Draining):
        convert(services, recording)
    assert below(scrape(services), "voice_rejected_total") == {
        "{reason=queue_full}": 1,
        "{reason=draining}": 1,
    }
    assert outcomes(services) == {"{outcome=done}": 1, "{outcome=rejected}": 2}
    services.close()


def no_device() -> GPUResourceManager:
    raise DeviceUnavailable("There is no GPU.")


def no_room() -> GPUResourceManager:
    return GPUResourceManager("cpu", reaper=False, budget_bytes=10)


@pytest.mark.parametrize(("build_gpu", "reason"), [(no_device, "not_ready"), (no_room, "vram")])
def test_a_missing_device_and_a_full_one_are_rejections(
    fake_models: Path, recording: bytes, build_gpu: Callable[[], Any], reason: str
) -> None:
    services = services_on(Settings(models_dir=fake_models), build_gpu)
    with pytest.raises((DeviceUnavailable, GpuError)):
        convert(services, recording)
    assert below(scrape(services), "voice_rejected_total") == {f"{{reason={reason}}}": 1}


ENDINGS = pytest.mark.parametrize(
    ("end", "error", "metric"),
    [
        (lambda token, clock: token.cancel(), Cancelled, "voice_cancelled_total"),
        (lambda token, clock: clock.advance(2), DeadlineExceeded, "voice_deadline_exceeded_total"),
    ],
    ids=["cancelled", "late"],
)


@ENDINGS
def test_work_that_ends_early_is_counted_as_run(
    services: Services, recording: bytes, end: Any, error: type[Exception], metric: str
) -> None:
    clock = FakeClock()
    token = Token(1.0, clock)

    def end_now(current: Token) -> None:
        end(token, clock)
        current.check()

    engine_of(services).during_convert = end_now
    with pytest.raises(error):
        services.convert(request_for(recording), token)
    assert below(scrape(services), metric) == {"{stage=run}": 1}


@ENDINGS
def test_a_wait_that_ends_early_is_counted_as_queue(
    services: Services, recording: bytes, end: Any, error: type[Exception], metric: str
) -> None:
    clock = FakeClock()
    token = Token(1.0, clock)

    def wait() -> None:
        with suppress(error):
            services.convert(request_for(recording), token)

    with converting(services, recording):
        thread = in_thread(wait)
        until(lambda: below(scrape(services), "voice_queue_depth") != {})
        end(token, clock)
        thread.join()
        series = scrape(services)
    assert below(series, metric) == {"{stage=queue}": 1}
    assert series["voice_queue_seconds_count"] == 1  # its own; the other one is not done yet


def test_a_journey_knows_how_long_it_stood_in_line() -> None:
    clock = FakeClock()
    journey = Journey(clock)
    assert (journey.was_in_line, journey.waited_s) == (False, 0.0)
    journey.join()
    clock.advance(2)
    assert (journey.stage, journey.waited_s) == ("queue", 2.0)
    journey.start()
    clock.advance(5)
    assert (journey.stage, journey.waited_s) == ("load", 2.0)
    journey.work()
    assert (journey.stage, journey.waited_s) == ("run", 2.0)


def test_names_in_requests_make_no_series(services: Services, recording: bytes) -> None:
    before = scrape(services)
    for number in range(1000):
        with pytest.raises(VoiceNotFound):
            convert(services, recording, f"stranger-{number}")
    after = scrape(services)
    assert after.keys() == before.keys()
    assert after["voice_conversions_total{outcome=invalid}"] == 1000


def test_another_spelling_of_a_name_is_the_same_series(
    services: Services, recording: bytes
) -> None:
    convert(services, recording, "anna.pth")
    assert list(below(scrape(services), "voice_load_seconds_count")) == ["{model=anna,source=disk}"]


def test_what_can_be_counted_is_shown_as_zero_from_the_start(services: Services) -> None:
    series = scrape(services)
    assert series["voice_conversions_total{outcome=done}"] == 0
    assert series["voice_rejected_total{reason=queue_full}"] == 0
    assert series["voice_cancelled_total{stage=queue}"] == 0
    assert series["voice_deadline_exceeded_total{stage=run}"] == 0


def test_two_services_count_for_themselves(fake_models: Path, recording: bytes) -> None:
    one, other = fake_services(fake_models), fake_services(fake_models)
    convert(one, recording)
    assert (outcomes(one), outcomes(other)) == ({"{outcome=done}": 1}, {})
    assert not any(metric.name.startswith("voice_") for metric in REGISTRY.collect())


def test_metrics_go_to_the_registry_that_was_given(fake_models: Path, recording: bytes) -> None:
    registry = CollectorRegistry()
    services = fake_services(fake_models)
    given = Services(services.settings, services._local, lambda changed: [], Metrics(registry))
    assert given.metrics.registry is registry
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)


def errors_of(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for below_it in kind.__subclasses__():
        yield from errors_of(below_it)


EXPECTED = {4: {"invalid"}, 499: {"cancelled"}, 500: {"failed"}, 504: {"expired"}}


@pytest.mark.parametrize(
    "kind", [*errors_of(CoreError), *errors_of(GpuError), *errors_of(ServerError)]
)
def test_an_outcome_agrees_with_the_status_of_the_answer(kind: type[Any]) -> None:
    status = 500 if kind.code in DEFECTS else STATUSES[kind.code]
    expected = EXPECTED.get(status, EXPECTED.get(status // 100, {"rejected", "failed"}))
    assert outcome_of(kind("It went wrong.")) in expected


def test_counts_are_exact_while_many_convert_and_many_look(
    services: Services, recording: bytes
) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            scrape(services)

    watcher = in_thread(look)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: convert(services, recording), range(40)))
    stop.set()
    watcher.join()
    assert outcomes(services) == {"{outcome=done}": 40}
