"""The parts of a request's body, form and JSON alike: fields and recordings."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from flask import Request

from rvc_core.errors import InvalidOption
from server.api.bodies import read_json_object
from server.errors import InvalidRequest, UnsupportedMediaType

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
ENCODED = "audio_base64"


@dataclass(frozen=True)
class Upload:
    """A recording in the body; one in JSON has no file name."""

    field: str
    filename: str
    data: bytes


@dataclass(frozen=True)
class Parts:
    """What a body holds: `fields` without those that are empty, and recordings."""

    fields: dict[str, Any]
    uploads: list[Upload]

    def inner(self, name: str) -> Parts:
        """The parts of the object called `name`, which must be all that there is."""
        inner = self.fields.pop(name, None)
        if self.fields or self.uploads:
            other = next(iter(self.fields), ENCODED)
            raise InvalidOption(f"{other:.80} belongs into {name}.", param=other[:80])
        if not isinstance(inner, dict):
            raise InvalidRequest(f"{name} must be an object.", param=name)
        return parts_of(inner)


def read_parts(request: Request) -> Parts:
    """Read the body; raise a typed error if it is of another kind."""
    if request.is_json:
        return parts_of(read_json_object())
    if request.content_type and request.mimetype not in FORM_TYPES:
        raise UnsupportedMediaType(
            f"The body is {request.mimetype:.80}; send multipart/form-data or application/json.",
            param="Content-Type",
        )
    for name in request.form:
        if len(request.form.getlist(name)) > 1:
            raise InvalidOption(f"{name:.80} is given more than once.", param=name[:80])
    fields = {name: value for name, value in request.form.items() if value != ""}
    uploads = [
        Upload(name, file.filename or "", file.read())
        for name, file in request.files.items(multi=True)
    ]
    return Parts(fields, uploads)


def parts_of(body: dict[str, Any]) -> Parts:
    """The parts of a JSON object."""
    fields = {name: value for name, value in body.items() if value is not None}
    encoded = fields.pop(ENCODED, None)
    return Parts(fields, [] if encoded is None else [Upload("audio", "", decode(encoded))])


def decode(encoded: Any) -> bytes:
    """The bytes of a recording in base64; raise `InvalidRequest`."""
    if not isinstance(encoded, str):
        raise InvalidRequest("Send the recording as base64 text.", param=ENCODED)
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("audio_base64 is no base64.", param=ENCODED) from None
