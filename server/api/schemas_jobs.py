"""How jobs look in answers, events and webhooks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from server.api.problems import error_detail
from server.api.schemas import ErrorDetail
from server.jobs.changes import Step
from server.jobs.jobs import Jobs
from server.jobs.records import Delivery, Fault, Item, Job, Result, State


class JobItem(BaseModel):
    """One recording of a job."""

    name: str = Field(description="Of its file in a batch's result, without the suffix.")
    model: str | None = Field(description="The voice; null: the default voice.")
    response_format: str
    options: dict[str, Any]
    error: ErrorDetail | None = Field(description="Why it will not be converted.")


class JobStep(BaseModel):
    """What a running job is at."""

    stage: str = Field(description="f0, synth (piece by piece) or done.")
    item: int = Field(description="Number of the item, from 0.")
    done: int = Field(description="Steps of the stage that are done.")
    total: int


class JobResult(BaseModel):
    """What came of a job."""

    media_type: str
    bytes: int
    facts: dict[str, Any] = Field(
        description="Of a conversion: model, duration_s, sample_rate, device, timings, warnings; "
        "of a batch: items and failed, as numbers."
    )


class JobWebhook(BaseModel):
    """How far telling the caller is."""

    url: str
    state: str = Field(description="waiting (the job has not ended), pending, delivered or failed.")
    attempts: int
    next_attempt_at: float | None
    error: str | None = Field(description="What the last attempt met.")


class JobBody(BaseModel):
    """A job; times are seconds since 1970."""

    id: str
    type: str
    state: str = Field(
        description="queued, running, succeeded, failed, cancelled or expired (its files are gone)."
    )
    progress: float = Field(description="From 0 to 1.")
    step: JobStep | None = Field(description="What it is at, while it runs.")
    attempt: int = Field(description="How often it was started.")
    key: str = Field(description="Name of the API key that it belongs to.")
    timeout_s: float = Field(description="How long it may run.")
    items: list[JobItem]
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None = Field(description="When its files are removed.")
    error: ErrorDetail | None
    result: JobResult | None
    webhook: JobWebhook | None
    links: dict[str, str]


class JobPage(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobBody]
    before: str | None = Field(description="For the next page; null on the last one.")


def job_body(jobs: Jobs, job: Job) -> JobBody:
    """The job as others see it."""
    step = jobs.step(job.id) if job.state is State.RUNNING else None
    address = f"/api/v1/jobs/{job.id}"
    return JobBody(
        id=job.id,
        type=job.order.kind,
        state=job.state.value,
        progress=round(step.progress if step else job.progress, 4),
        step=_step(step),
        attempt=job.attempt,
        key=job.key_name,
        timeout_s=job.order.timeout_s,
        items=[_item(item) for item in job.order.items],
        created_at=job.created,
        started_at=job.started,
        finished_at=job.finished,
        expires_at=jobs.expires_at(job),
        error=_detail(job.fault),
        result=_result(job.result),
        webhook=_webhook(job.order.webhook_url, job.delivery),
        links={
            "self": address,
            "result": f"{address}/result",
            "events": f"{address}/events",
            "retry": f"{address}/retry",
            "cancel": f"{address}/cancel",
        },
    )


def _item(item: Item) -> JobItem:
    return JobItem(
        name=item.name,
        model=item.voice,
        response_format=item.audio_format,
        options=dict(item.options),
        error=_detail(item.fault),
    )


def _step(step: Step | None) -> JobStep | None:
    if step is None:
        return None
    return JobStep(stage=step.stage, item=step.item, done=step.done, total=step.total)


def _detail(fault: Fault | None) -> ErrorDetail | None:
    return None if fault is None else error_detail(fault.code, fault.message, fault.param)


def _result(result: Result | None) -> JobResult | None:
    if result is None:
        return None
    facts = dict(result.facts)
    return JobResult(media_type=result.media_type, bytes=result.size_bytes, facts=facts)


def _webhook(url: str | None, delivery: Delivery | None) -> JobWebhook | None:
    if url is None:
        return None
    if delivery is None:
        return JobWebhook(url=url, state="waiting", attempts=0, next_attempt_at=None, error=None)
    return JobWebhook(
        url=url,
        state=delivery.state,
        attempts=delivery.attempts,
        next_attempt_at=delivery.next_at,
        error=delivery.error,
    )
