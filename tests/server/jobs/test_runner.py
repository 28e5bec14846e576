"""What becomes of jobs when conversions succeed, fail, find no room or are no longer wanted."""

from __future__ import annotations

import io
import logging
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu.errors import WorkerLost
from rvc_core.errors import InvalidAudio
from rvc_core.token import Token
from server.errors import QueueFull
from server.jobs.errors import JobFilesLost
from server.jobs.records import BATCH, Item, Order, State, Ticket
from server.services import Services
from tests.gpu.fakes import until
from tests.server.fakes import engine_of, fake_services
from tests.server.jobs.asking import PATIENCE_S, at_work, ended, failing, submit
from tests.server.scrapes import scrape


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that were put off come back at once."""
    monkeypatch.setattr("server.jobs.runner.LONGEST_DELAY_S", 0.0)
    monkeypatch.setattr("server.jobs.runner.IDLE_S", 0.005)


@pytest.fixture
def warm(services: Services) -> Iterator[Services]:
    services.warm_up()
    yield services
    services.close()


def result_of(services: Services, job_id: str) -> bytes:
    return services.jobs.result(services.jobs.get(job_id, None))[1].read_bytes()


def test_a_job_begins_only_when_the_server_is_warm(services: Services, recording: bytes) -> None:
    job = submit(services, recording)
    assert services.jobs.get(job.id, None).state is State.QUEUED
    services.jobs.start()
    assert ended(services, job).state is State.SUCCEEDED


def test_the_result_is_all_that_stays_of_a_job(warm: Services, recording: bytes) -> None:
    job = ended(warm, submit(warm, recording))
    assert result_of(warm, job.id).startswith(b"RIFF")
    result, path = warm.jobs.result(job)
    until(lambda: [p.name for p in path.parent.iterdir()] == [result.file])


def test_a_job_fails_with_the_error_of_its_conversion(warm: Services, recording: bytes) -> None:
    engine_of(warm).during_convert = failing(InvalidAudio("Not that one.", param="audio"))
    fault = ended(warm, submit(warm, recording)).fault
    assert fault is not None
    assert (fault.code, fault.message, fault.param) == ("invalid_audio", "Not that one.", "audio")


def test_a_defect_is_logged_and_not_told(
    warm: Services, recording: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    engine_of(warm).during_convert = failing(ZeroDivisionError("secret"))
    fault = ended(warm, submit(warm, recording)).fault
    assert fault is not None and fault.code == "internal_error"
    assert "secret" not in fault.message
    assert [r.exc_info is not None for r in caplog.records if r.levelno == logging.ERROR] == [True]


@pytest.mark.parametrize("error", [QueueFull("Full."), WorkerLost("Gone.")])
def test_no_room_is_no_attempt(warm: Services, recording: bytes, error: Exception) -> None:
    engine_of(warm).during_convert = failing(error, error)
    job = ended(warm, submit(warm, recording))
    assert (job.state, job.attempt, job.postponed) == (State.SUCCEEDED, 1, 2)
    assert scrape(warm)["voice_job_retries_total{reason=busy}"] == 2


def test_a_job_whose_workers_die_again_and_again_fails(warm: Services, recording: bytes) -> None:
    engine_of(warm).during_convert = failing(*[WorkerLost("Gone.")] * 10)
    job = ended(warm, submit(warm, recording))
    assert (job.fault and job.fault.code, job.postponed) == ("worker_lost", 3)


def test_a_batch_that_finds_no_room_goes_on_where_it_was(warm: Services, recording: bytes) -> None:
    begun = []

    def second_is_refused(token: Token) -> None:
        begun.append(token)
        if len(begun) == 2:
            raise QueueFull("Full.")

    engine_of(warm).during_convert = second_is_refused
    job = ended(warm, submit(warm, recording, n_items=3))
    assert (job.state, len(begun)) == (State.SUCCEEDED, 4)
    with zipfile.ZipFile(io.BytesIO(result_of(warm, job.id))) as archive:
        assert archive.namelist() == ["manifest.json", "item-0.wav", "item-1.wav", "item-2.wav"]


def test_a_job_has_so_long_and_no_longer(warm: Services, recording: bytes) -> None:
    with at_work(warm):
        fault = ended(warm, submit(warm, recording, timeout_s=0.05)).fault
    assert fault is not None and fault.code == "deadline_exceeded"


def test_cancelling_ends_the_work(warm: Services, recording: bytes) -> None:
    with at_work(warm) as (begun, go_on):
        job = submit(warm, recording)
        assert begun.wait(PATIENCE_S)
        assert warm.jobs.cancel(job).state is State.CANCELLED
        assert warm.jobs.wait_idle(PATIENCE_S)
        assert not go_on.is_set()
    assert warm.jobs.get(job.id, None).state is State.CANCELLED


def test_another_server_can_cancel(warm: Services, recording: bytes, fake_models: Path) -> None:
    other = fake_services(fake_models)
    with at_work(warm) as (begun, _):
        job = submit(warm, recording)
        assert begun.wait(PATIENCE_S)
        other.jobs.cancel(other.jobs.get(job.id, None))
        warm.jobs.keep_house()
        assert warm.jobs.wait_idle(PATIENCE_S)
    other.close()


def test_a_cancelled_job_starts_again_on_request(warm: Services, recording: bytes) -> None:
    with at_work(warm) as (begun, _):
        job = submit(warm, recording)
        assert begun.wait(PATIENCE_S)
        cancelled = warm.jobs.cancel(job)
        assert warm.jobs.wait_idle(PATIENCE_S)
    fresh = ended(warm, warm.jobs.retry(cancelled))
    assert (fresh.state, fresh.attempt) == (State.SUCCEEDED, 2)
    assert scrape(warm)["voice_job_retries_total{reason=asked}"] == 1


def test_a_stopping_server_puts_running_jobs_back_in_line(
    warm: Services, recording: bytes, fake_models: Path
) -> None:
    with at_work(warm) as (begun, _):
        job = submit(warm, recording)
        assert begun.wait(PATIENCE_S)
        assert warm.drain(0)
    warm.close()
    after = fake_services(fake_models)
    again = after.jobs.get(job.id, None)
    assert (again.state, again.attempt) == (State.QUEUED, 0)
    after.warm_up()
    assert ended(after, job).attempt == 1
    after.close()


def test_a_stopping_server_begins_no_other_job(warm: Services, recording: bytes) -> None:
    with at_work(warm) as (begun, go_on):
        first = submit(warm, recording)
        assert begun.wait(PATIENCE_S)
        warm.jobs.stop()
        second = submit(warm, recording)
        go_on.set()
        assert ended(warm, first).state is State.SUCCEEDED
    assert warm.jobs.wait_idle(PATIENCE_S)
    assert warm.jobs.get(second.id, None).state is State.QUEUED


def test_a_job_without_its_recording_fails_by_name(services: Services, recording: bytes) -> None:
    job = submit(services, recording)
    for path in (services.settings.models_dir / "jobs.files" / job.id).iterdir():
        path.unlink()
    services.jobs.start()
    fault = ended(services, job).fault
    assert fault is not None and fault.code == JobFilesLost.code


def test_a_job_that_no_thread_is_at_is_taken_up_again(
    warm: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()

    def fail_once(*given: object) -> bool:
        monkeypatch.undo()
        broken.set()
        raise OSError("the disk is gone for a moment")

    monkeypatch.setattr("server.jobs.store.JobStore.succeed", fail_once)
    job = submit(warm, recording)
    assert broken.wait(PATIENCE_S)
    assert warm.jobs.wait_idle(PATIENCE_S)
    warm.jobs.keep_house()
    again = ended(warm, job)
    assert (again.state, again.attempt) == (State.SUCCEEDED, 2)


def test_jobs_are_counted_and_timed(warm: Services, recording: bytes) -> None:
    ended(warm, submit(warm, recording))
    assert warm.jobs.wait_idle(PATIENCE_S)
    series = scrape(warm)
    assert series["voice_jobs{state=succeeded}"] == 1
    assert series["voice_jobs{state=failed}"] == 0
    assert series["voice_job_seconds_count{type=convert}"] == 1


def test_voices_of_a_batch_are_converted_side_by_side(
    warm: Services, recording: bytes, fake_models: Path
) -> None:
    (fake_models / "voices" / "bea.pth").write_bytes(b"bea")
    both = threading.Barrier(2)

    def meet(token: Token) -> None:
        both.wait(PATIENCE_S)

    engine_of(warm).during_convert = meet
    items = (Item("a", "anna", {}, "wav"), Item("b", "bea", {}, "wav"))
    order = Order(BATCH, items, 60.0)
    job, _ = warm.jobs.submit(order, [recording] * 2, Ticket("me", "h"))
    result = ended(warm, job).result
    assert result is not None and result.facts == {"items": 2, "failed": 0}


def test_progress_grows_from_item_to_item(warm: Services, recording: bytes) -> None:
    seen: list[float] = []

    def look(token: Token) -> None:
        step = warm.jobs.step(job.id)
        seen.append(step.progress if step else 0.0)

    with at_work(warm) as (begun, go_on):
        job = submit(warm, recording, n_items=3)
        assert begun.wait(PATIENCE_S)
        engine_of(warm).during_convert = look
        go_on.set()
        ended(warm, job)
    assert seen == pytest.approx([1 / 3, 2 / 3])
