"""How the document shows the routes about jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Response

from server.api.convert_fields import AUDIO_CONTENT, CONVERT_EXAMPLE, convert_forms, option_fields
from server.api.route import Answer, Body, Content, Json, Parameter, Route, json_of
from server.api.schemas_jobs import JobBody, JobPage
from server.jobs.records import KINDS, State

ROOT = "/api/v1/jobs"
ONE = f"{ROOT}/<job_id>"
FORM, JSON = "multipart/form-data", "application/json"
IDEMPOTENCY = Parameter(
    "Idempotency-Key",
    "A text of your own: the same request with the same text is the same job.",
    "header",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
)
ASYNC = Parameter(
    "async",
    "1 makes a job of the request and answers at once.",
    schema={"type": "string", "enum": ["0", "1", "false", "true"]},
)
WEBHOOK: Json = {
    "type": "string",
    "description": "Address that is told when the job has ended, where the server allows it.",
    "example": "",
}
BINARY: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
EVENT: Json = {  # of the stream, one after the other
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
ZIP: Content = {"application/zip": {"type": "string", "format": "binary"}}
LINKS = {
    "job": {"operationId": "job", "parameters": {"job_id": "$response.body#/id"}},
    "result": {"operationId": "job_result", "parameters": {"job_id": "$response.body#/id"}},
    "events": {"operationId": "job_events", "parameters": {"job_id": "$response.body#/id"}},
    "delete": {"operationId": "delete_job", "parameters": {"job_id": "$response.body#/id"}},
    "cancel": {"operationId": "cancel_job", "parameters": {"job_id": "$response.body#/id"}},
    "retry": {"operationId": "retry_job", "parameters": {"job_id": "$response.body#/id"}},
}
TAKEN = Answer(
    "The job is in line; or it was, where the request was made before.",
    json_of(JobBody),
    status=202,
    headers={"Location": "Address of the job."},
    links=LINKS,
)
Handler = Callable[..., Response]


@dataclass(frozen=True)
class JobHandlers:
    """What the routes do."""

    submit: Handler
    page: Handler
    show: Handler
    result: Handler
    delete: Handler
    cancel: Handler
    retry: Handler
    events: Handler


def describe_job_routes(handlers: JobHandlers) -> list[Route]:
    """All routes about jobs."""
    return [
        Route(
            name="submit_job",
            method="POST",
            paths=(ROOT,),
            handler=handlers.submit,
            summary="Start a job",
            description="Keeps the recordings, answers at once and converts when it can; "
            "the job survives a restart of the server.",
            tag="jobs",
            parameters=(IDEMPOTENCY,),
            body=Body(job_forms(), example={"type": "convert", "params": CONVERT_EXAMPLE}),
            answers=(TAKEN,),
            failures=(403, 404, 409, 413, 415, 503, 504, 507),
        ),
        Route(
            name="jobs",
            method="GET",
            paths=(ROOT,),
            handler=handlers.page,
            summary="Your jobs",
            description="The newest first; with the role admin, the jobs of everybody.",
            tag="jobs",
            parameters=(
                Parameter(
                    "state", "Only these.", schema={"enum": [state.value for state in State]}
                ),
                Parameter(
                    "limit",
                    "How many.",
                    schema={"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
                ),
                Parameter("before", "Only jobs older than the one of this id."),
            ),
            answers=(Answer("A page of jobs.", json_of(JobPage)),),
            failures=(404, 503),
        ),
        *_routes_to_read(handlers),
        *_routes_to_change(handlers),
    ]


def _routes_to_read(handlers: JobHandlers) -> list[Route]:
    return [
        Route(
            name="job",
            method="GET",
            paths=(ONE,),
            handler=handlers.show,
            summary="One job",
            tag="jobs",
            parameters=(
                Parameter(
                    "wait",
                    "Seconds to wait for the job to end.",
                    schema={"type": "number", "minimum": 0, "maximum": 30},
                ),
            ),
            answers=(Answer("The job.", json_of(JobBody)),),
            failures=(404, 503),
        ),
        Route(
            name="job_result",
            method="GET",
            paths=(f"{ONE}/result",),
            handler=handlers.result,
            summary="What came of a job",
            description="A job that failed answers with its own error.",
            tag="jobs",
            answers=(
                Answer("The converted recording, or the zip file.", {**AUDIO_CONTENT, **ZIP}),
            ),
            failures=(400, 403, 404, 409, 410, 413, 415, 503, 504, 507),
        ),
        Route(
            name="job_events",
            method="GET",
            paths=(f"{ONE}/events",),
            handler=handlers.events,
            summary="What happens to a job, as it happens",
            description="Server-sent events, each with the whole job; the stream ends with it.",
            tag="jobs",
            parameters=(
                Parameter("Last-Event-ID", "The last event that you have seen.", "header"),
            ),
            answers=(
                Answer("A stream of events.", {"text/event-stream": EVENT}),
                Answer("The job has ended, and you have seen it.", status=204),
            ),
            failures=(404, 503),
        ),
    ]


def _routes_to_change(handlers: JobHandlers) -> list[Route]:
    return [
        Route(
            name="delete_job",
            method="DELETE",
            paths=(ONE,),
            handler=handlers.delete,
            summary="Delete a job",
            description="Ends the work on it and removes it with its recordings and its result.",
            tag="jobs",
            answers=(Answer("The job is deleted.", status=204),),
            failures=(404, 409, 503),
        ),
        Route(
            name="cancel_job",
            method="POST",
            paths=(f"{ONE}/cancel",),
            handler=handlers.cancel,
            summary="Cancel a job",
            description="A job that waits or runs is cancelled and stays, so that it can be "
            "started again; one that has ended stays as it is.",
            tag="jobs",
            answers=(Answer("The job as it is now.", json_of(JobBody)),),
            failures=(404, 503),
        ),
        Route(
            name="retry_job",
            method="POST",
            paths=(f"{ONE}/retry",),
            handler=handlers.retry,
            summary="Start a failed or cancelled job again",
            tag="jobs",
            answers=(TAKEN,),
            failures=(404, 409, 503, 507),
        ),
    ]


def job_forms() -> Content:
    """The two kinds of body that start a job."""
    form = convert_forms()[FORM]
    assert isinstance(form, dict)
    fields = {
        "type": {"type": "string", "enum": list(KINDS)},
        **form["properties"],
        **batch_fields(),
    }
    del fields["stream"]  # a job's result is a file
    params = {**option_fields(), **batch_fields(), "audio_base64": {"type": "string"}}
    del params["files[]"]
    return {
        FORM: {
            "type": "object",
            "additionalProperties": False,
            "properties": fields,
            "required": ["type"],
        },
        JSON: {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "type": {"type": "string", "enum": list(KINDS)},
                "params": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": params,
                },
            },
            "required": ["type", "params"],
        },
    }


def batch_fields() -> Json:
    """The fields of a batch beside those of a conversion."""
    items = "What to do with which recording; see the manual."
    return {
        "files[]": {"type": "array", "items": BINARY, "description": "The recordings of a batch."},
        "items": {"type": "array", "items": {"type": "object"}, "description": items},
        "webhook_url": WEBHOOK,
    }
