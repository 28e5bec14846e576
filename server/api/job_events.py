"""GET /api/v1/jobs/<job_id>/events: what happens to a job, as server-sent events."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator

from flask import Response, request

from server.api.context import ApiContext
from server.api.schemas_jobs import job_body
from server.jobs.errors import JobNotFound
from server.jobs.jobs import LOOK_S, Jobs
from server.jobs.records import FINAL, Job

HEARTBEAT_S = 15.0
IN_PROGRESS = {"id", "state", "progress", "step", "attempt"}
LATER = {"webhook"}  # it goes on after the job has ended
RETRY_MS = 2000  # after which browsers come back when the connection breaks


def answer_events(context: ApiContext, job: Job) -> Response:
    """A stream that ends with the job; a reader who has seen that end is told to stay away."""
    jobs = context.services.jobs
    seen = request.headers.get("Last-Event-ID")
    if job.state in FINAL and seen == event_of(jobs, job)[0]:
        return Response(status=204)
    context.streams.take()
    response = Response(stream(jobs, job, seen), mimetype="text/event-stream")
    response.call_on_close(context.streams.give_back)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def stream(
    jobs: Jobs, job: Job, seen: str | None, clock: Callable[[], float] = time.monotonic
) -> Iterator[str]:
    """The events of a job, from the first that is not `seen` to its end."""
    yield f"retry: {RETRY_MS}\n\n"
    told = clock()
    while True:
        version = jobs.changes.version(job.id)
        try:
            job = jobs.get(job.id, job.key_name)
        except JobNotFound:  # it was deleted
            return
        name, text = event_of(jobs, job)
        if name != seen:
            seen, told = name, clock()
            yield text
        elif clock() - told >= HEARTBEAT_S:
            told = clock()
            yield ": heartbeat\n\n"
        if job.state in FINAL or jobs.changes.is_closed:
            return
        jobs.changes.wait(version, LOOK_S, job.id)


def event_of(jobs: Jobs, job: Job) -> tuple[str, str]:
    """The id and the text of the event that shows the job as it is now; same job, same id."""
    body = job_body(jobs, job)
    kind = "progress" if body.step else "state"
    shown = body.model_dump(include=IN_PROGRESS) if body.step else body.model_dump(exclude=LATER)
    data = json.dumps(shown, ensure_ascii=False)
    name = hashlib.sha256(data.encode()).hexdigest()[:16]
    return name, f"id: {name}\nevent: {kind}\ndata: {data}\n\n"
