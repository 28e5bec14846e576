"""POST /api/v1/models: a voice, an index or a zip of both comes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import BinaryIO, cast
from urllib.parse import quote

from flask import Response, jsonify, request

from rvc_core.errors import InvalidOption
from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.route import Access, Answer, Body, Content, Route, json_of
from server.api.schemas_voices import VoiceAccepted
from server.errors import InvalidRequest, UnsupportedMediaType
from server.voices.desk import Wanted
from server.voices.intake import Upload
from server.voices.reports import VoiceReport

TAG = "voices"
FILE = "file"
FIELDS = ("name", "overwrite")
SWITCH = {"true": True, "1": True, "false": False, "0": False, "": False}
TYPES = ".pth, .safetensors, .index, or a .zip of them"

Look = Callable[[Sequence[Upload], Wanted, Token], VoiceReport]


def upload_routes(context: ApiContext) -> list[Route]:
    """The routes that take a voice in, or only look at one."""
    services = context.services

    def take() -> Response:
        report = _have_it_read(context, services.desk.take)
        response = jsonify(VoiceAccepted(**asdict(report)).model_dump())
        response.status_code = 201
        response.headers["Location"] = f"/api/v1/models/{quote(report.name, safe='')}"
        return response

    def inspect() -> Response:
        report = _have_it_read(context, services.desk.look)
        return jsonify(VoiceAccepted(**asdict(report)).model_dump())

    taken = Answer(
        "The voice is there.",
        json_of(VoiceAccepted),
        status=201,
        headers={"Location": "Where the voice is."},
        links={
            operation: {
                "operationId": operation,
                "parameters": {"model_id": "$response.body#/name"},
            }
            for operation in ("model", "load_model", "unload_model", "remove_model")
        },
    )
    return [
        Route(
            name="add_model",
            method="POST",
            paths=("/api/v1/models",),
            handler=take,
            summary="Add a voice",
            description=f"Takes {TYPES}; it is checked in a process of its own, and nothing in it "
            "is run. An index alone goes to the voice that is named.",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(_form()),
            answers=(taken,),
            failures=(400, 404, 409, 413, 415, 503, 504, 507),
        ),
        Route(
            name="inspect_model",
            method="POST",
            paths=("/api/v1/inspect",),
            handler=inspect,
            summary="Check a voice without keeping it",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(_form()),
            answers=(Answer("What adding it would say.", json_of(VoiceAccepted)),),
            failures=(400, 404, 413, 415, 503, 504, 507),
        ),
    ]


def _have_it_read(context: ApiContext, look: Look) -> VoiceReport:
    uploads, wanted = _read_form()
    with context.request_token(context.services.settings.max_request_seconds) as token:
        return look(uploads, wanted, token)


def _read_form() -> tuple[list[Upload], Wanted]:
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType(
            f"The body is {request.mimetype or 'of no type':.80}; send multipart/form-data.",
            param="Content-Type",
        )
    for name in (*request.form, *request.files):
        if name not in (FILE, *FIELDS) or (name == FILE) != (name in request.files):
            known = f"{FILE} as a file and {' and '.join(FIELDS)} as text"
            raise InvalidOption(
                f"There is no field {name!r:.80}; there are {known}.", param=name[:80]
            )
        if name != FILE and len(request.form.getlist(name)) > 1:
            raise InvalidOption(f"{name} is given more than once.", param=name)
    uploads = [
        Upload(sent.filename or "", cast("BinaryIO", sent.stream))
        for sent in request.files.getlist(FILE)
    ]
    if not uploads:
        raise InvalidRequest("Send the voice as the file field 'file'.", param=FILE)
    return uploads, Wanted(request.form.get("name") or None, _overwrite())


def _overwrite() -> bool:
    text = request.form.get("overwrite", "")
    if text.lower() not in SWITCH:
        raise InvalidOption(
            f"overwrite is {text!r:.60}; it must be true or false.", param="overwrite"
        )
    return SWITCH[text.lower()]


def _form() -> Content:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    return {
        "multipart/form-data": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                FILE: {"type": "array", "items": file, "description": f"One or more: {TYPES}."},
                "name": {
                    "type": "string",
                    "description": "What to call the voice; unset: as its file.",
                    "example": "",
                },
                "overwrite": {
                    "type": "boolean",
                    "default": False,
                    "description": "Replace the voice of that name, and its index.",
                },
            },
            "required": [FILE],
        }
    }
