"""/api/v1/jobs: work that callers do not wait for."""

from __future__ import annotations

import math
from typing import Any

from flask import Response, g, jsonify, request, send_file

from rvc_core.errors import InvalidOption
from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.job_events import answer_events
from server.api.job_orders import Call, read_call, read_job_call
from server.api.job_parts import read_parts
from server.api.job_routes import JobHandlers, describe_job_routes
from server.api.route import Route
from server.api.schemas_jobs import JobPage, job_body
from server.jobs.errors import JobExpired
from server.jobs.records import CONVERT, Job, State

LONGEST_WAIT_S = 30.0
MOST_LISTED, USUALLY_LISTED = 200, 50
WORDS = {"1": True, "true": True, "0": False, "false": False}
SUFFIXES = {"application/zip": "zip"}


def job_routes(context: ApiContext) -> list[Route]:
    """The routes about jobs."""
    jobs = context.services.jobs
    jobs.describe_with(lambda job: job_body(jobs, job).model_dump())
    desk = _Desk(context)
    return describe_job_routes(
        JobHandlers(
            *(desk.submit, desk.page, desk.show, desk.result),
            *(desk.delete, desk.cancel, desk.retry, desk.events),
        )
    )


class _Desk:
    """What the routes do."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._jobs = context.services.jobs

    def submit(self) -> Response:
        return submit_call(self._context, read_job_call(self._context.services))

    def page(self) -> Response:
        limit = int(_number("limit", USUALLY_LISTED, 1, MOST_LISTED))
        found = self._jobs.page(whose(), _state(), request.args.get("before"), limit)
        before = found[-1].id if len(found) == limit else None
        bodies = [job_body(self._jobs, job) for job in found]
        return jsonify(JobPage(jobs=bodies, before=before).model_dump())

    def show(self, job_id: str) -> Response:
        job, wait_s = self._find(job_id), _number("wait", 0, 0, LONGEST_WAIT_S)
        if wait_s > 0:
            job = _wait(self._context, job, wait_s)
        return job_response(self._context, job)

    def result(self, job_id: str) -> Response:
        return _send_result(self._context, self._find(job_id))

    def delete(self, job_id: str) -> Response:
        self._jobs.delete(self._find(job_id))
        return Response(status=204)

    def cancel(self, job_id: str) -> Response:
        return job_response(self._context, self._jobs.cancel(self._find(job_id)))

    def retry(self, job_id: str) -> Response:
        return job_response(self._context, self._jobs.retry(self._find(job_id)), 202)

    def events(self, job_id: str) -> Response:
        return answer_events(self._context, self._find(job_id))

    def _find(self, job_id: str) -> Job:
        return self._jobs.get(job_id, whose())


def is_async() -> bool:
    """Whether the request asks for a job, by ?async=1."""
    given = request.args.get("async", "0")
    if given not in WORDS:
        raise InvalidOption(f"async is {given!r:.60}; allowed is 1 or 0.", param="async")
    return WORDS[given]


def submit_conversion(context: ApiContext) -> Response:
    """Make a job of a request to convert one recording."""
    return submit_call(context, read_call(context.services, CONVERT, read_parts(request)))


def submit_call(context: ApiContext, call: Call) -> Response:
    """Queue a job, or find the one that the same request made before."""
    job, _ = context.services.jobs.submit(call.order, call.inputs, call.ticket())
    g.log_fields = {"job": job.id}
    return job_response(context, job, 202)


def job_response(context: ApiContext, job: Job, status: int = 200) -> Response:
    """The job as an answer, with its address."""
    body = job_body(context.services.jobs, job)
    response = jsonify(body.model_dump())
    response.status_code = status
    response.headers["Location"] = body.links["self"]
    response.headers["Cache-Control"] = "no-store"
    return response


def whose() -> str | None:
    """Whose jobs the caller may see; None means everybody's."""
    return None if g.caller.is_admin else g.caller.name


def _wait(context: ApiContext, job: Job, wait_s: float) -> Job:
    token = Token(wait_s)
    is_gone = request.environ.get("waitress.client_disconnected")
    context.streams.take()
    try:
        with context.watcher.watch(is_gone, token):
            return context.services.jobs.wait_until_final(job, wait_s, token)
    finally:
        context.streams.give_back()


def _send_result(context: ApiContext, job: Job) -> Response:
    found, path = context.services.jobs.result(job)
    suffix = SUFFIXES.get(found.media_type) or job.order.items[0].audio_format
    try:
        response = send_file(
            path.resolve(),
            mimetype=found.media_type,
            download_name=f"{job.id}.{suffix}",
            conditional=False,
            etag=False,
        )
    except FileNotFoundError:
        raise JobExpired("The job's files have been removed.") from None
    response.headers["Cache-Control"] = "no-store"
    return response


def _state() -> State | None:
    given = request.args.get("state")
    try:
        return None if given is None else State(given)
    except ValueError:
        allowed = ", ".join(state.value for state in State)
        message = f"state is {given!r:.60}; allowed is one of {allowed}."
        raise InvalidOption(message, param="state") from None


def _number(name: str, default: float, low: float, high: float) -> float:
    given: Any = request.args.get(name, default)
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not low <= value <= high or (name == "limit" and value != int(value)):
        raise InvalidOption(f"{name} is {given!r:.60}; allowed is {low:g} to {high:g}.", param=name)
    return value
