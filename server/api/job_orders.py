"""From an HTTP request, form or JSON, to the order of a job and its recordings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from flask import g, request

from rvc_core.errors import InvalidOption
from server.api.job_parts import Parts, Upload, decode, read_parts
from server.api.requests import (
    AUDIO_FIELDS,
    TEXT_FIELDS,
    VOICE_FIELDS,
    CallLimits,
    ConvertCall,
    call_from,
)
from server.errors import InvalidRequest
from server.jobs.items import options_by_name, unique_names
from server.jobs.records import BATCH, CONVERT, KINDS, Item, Order, Ticket
from server.jobs.rows import order_text
from server.jobs.shapes import NAMED, fault_of
from server.placement import Priority
from server.recordings import check_source
from server.services import Services

MOST_ITEMS = 64
LONGEST_KEY = 255
BATCH_FILES = ("files[]", "files", *AUDIO_FIELDS)
SHARED_ONLY = ("timeout_s",)  # the time of a batch is that of all its items
NO_STREAMS = ("stream",)  # a job's result is a file
FIELDS = tuple(name for name in TEXT_FIELDS if name not in NO_STREAMS)
ITEM_FIELDS = (*(n for n in FIELDS if n not in SHARED_ONLY), "file", "name", "audio_base64")


@dataclass(frozen=True)
class Call:
    """An order and the recording of each item that has one."""

    order: Order
    inputs: list[bytes | None]

    def ticket(self) -> Ticket:
        """Whose it is; the header Idempotency-Key makes two such orders one."""
        digest = hashlib.sha256(order_text(self.order).encode())
        for data in self.inputs:
            digest.update(hashlib.sha256(data or b"").digest())
        return Ticket(g.caller.name, digest.hexdigest(), _idempotency_key())


def read_job_call(services: Services) -> Call:
    """Read the body of POST /api/v1/jobs."""
    parts = read_parts(request)
    kind = parts.fields.pop("type", None)
    if kind not in KINDS:
        raise InvalidOption(f"type is {kind!r:.60}; allowed is {' or '.join(KINDS)}.", param="type")
    if request.is_json:
        parts = parts.inner("params")
    return read_call(services, str(kind), parts)


def read_call(services: Services, kind: str, parts: Parts) -> Call:
    """Check everything but the recordings themselves; raise a typed error that names the field."""
    reader = _Reader(services)
    webhook_url = parts.fields.pop("webhook_url", None)
    if webhook_url is not None and not isinstance(webhook_url, str):
        raise InvalidOption("webhook_url must be text.", param="webhook_url")
    call = reader.convert(parts) if kind == CONVERT else reader.batch(parts)
    return replace(call, order=replace(call.order, webhook_url=webhook_url or None))


class _Reader:
    """Reads orders for one request."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services = services
        self._limits = CallLimits(settings.job_max_seconds, settings.max_keep_alive)

    def convert(self, parts: Parts) -> Call:
        """The order of one conversion."""
        _refuse_unknown(parts.fields, FIELDS)
        uploads = parts.uploads
        if any(upload.field not in AUDIO_FIELDS for upload in uploads):
            raise InvalidRequest("Send the recording as the file field 'audio'.", param="audio")
        if len(uploads) + ("audio_url" in parts.fields) != 1:
            raise InvalidRequest("Send one recording, as the file field 'audio'.", param="audio")
        data = uploads[0].data if uploads else None
        item, call = self._item("result", parts.fields, data)
        return self._call(CONVERT, [item], call, [data])

    def batch(self, parts: Parts) -> Call:
        """The order of several conversions."""
        given = parts.fields.pop("items", None)
        shared = _with_model(parts.fields)
        _refuse_unknown(shared, (*FIELDS, "items"))
        if "audio_url" in shared:
            raise InvalidOption("audio_url belongs into the items.", param="audio_url")
        if "model" in shared:
            self._services.registry.find(str(shared["model"]))
        call = call_from(shared, b"", request, g.request_id, self._limits)
        wanted = _items_of(given) if given is not None else _items_of_files(parts.uploads)
        if not 1 <= len(wanted) <= MOST_ITEMS:
            raise InvalidRequest(
                f"The batch has {len(wanted)} items; allowed is 1 to {MOST_ITEMS}.", param="items"
            )
        find = _finder(parts.uploads, wanted)
        names = unique_names(_name_of(fields) for fields in wanted)
        pairs = [
            self._one_of_batch(name, fields, shared, find)
            for name, fields in zip(names, wanted, strict=True)
        ]
        return self._call(BATCH, [item for item, _ in pairs], call, [data for _, data in pairs])

    def _one_of_batch(
        self,
        name: str,
        fields: Mapping[str, Any],
        shared: Mapping[str, Any],
        find: Callable[[Mapping[str, Any]], bytes | None],
    ) -> tuple[Item, bytes | None]:
        """An item that is at fault does not fail the others."""
        try:
            _refuse_unknown(fields, ITEM_FIELDS)
            data = find(fields)
            own = {k: v for k, v in fields.items() if k not in ("file", "name", "audio_base64")}
            item, _ = self._item(name, {**shared, **_with_model(own)}, data)
        except NAMED as error:
            return Item(name, None, {}, "wav", fault=fault_of(error)), None
        return item, data

    def _item(
        self, name: str, fields: Mapping[str, Any], data: bytes | None
    ) -> tuple[Item, ConvertCall]:
        call = call_from(fields, data or b"", request, g.request_id, self._limits)
        wanted, settings = call.request, self._services.settings
        check_source(wanted, settings)
        self._services.registry.choose(wanted.voice, settings.default_voice)
        item = Item(
            name=name,
            voice=wanted.voice,
            options=options_by_name(wanted.options),
            audio_format=call.audio_format,
            index=wanted.index,
            keep_alive_s=wanted.keep_alive_s,
            audio_url=wanted.audio_url,
        )
        return item, call

    def _call(
        self, kind: str, items: list[Item], call: ConvertCall, inputs: list[bytes | None]
    ) -> Call:
        given = request.headers.get("X-Priority", Priority.BATCH.value)
        priority = Priority(given.lower())  # call_from has checked it
        return Call(Order(kind, tuple(items), call.timeout_s, None, priority), inputs)


def _items_of(given: Any) -> list[dict[str, Any]]:
    try:
        items = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        raise InvalidRequest("items is no JSON.", param="items") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest("items must be a JSON list of objects.", param="items")
    return [{k: v for k, v in item.items() if v is not None} for item in items]


def _items_of_files(uploads: Sequence[Upload]) -> list[dict[str, Any]]:
    for upload in uploads:
        if upload.field not in BATCH_FILES:
            raise InvalidRequest(
                f"{upload.field:.80} is no file field; send recordings as files[].", param="files[]"
            )
    return [
        {"file": number, "name": PurePath(upload.filename).stem}
        for number, upload in enumerate(uploads)
    ]


def _finder(
    uploads: Sequence[Upload], wanted: Sequence[Mapping[str, Any]]
) -> Callable[[Mapping[str, Any]], bytes | None]:
    """What finds the recording of an item; raise for uploads that no item asks for."""
    asked = {fields.get("file") for fields in wanted if isinstance(fields.get("file"), (str, int))}
    by_name: dict[str | int, bytes] = {}
    for number, upload in enumerate(uploads):
        names: set[str | int] = {number, upload.field, upload.filename}
        if not names & asked:
            raise InvalidRequest(
                f"No item asks for the file {upload.filename!r:.80}.", param="items"
            )
        by_name.update(dict.fromkeys(names, upload.data))

    def find(fields: Mapping[str, Any]) -> bytes | None:
        sources = [name for name in ("file", "audio_base64", "audio_url") if name in fields]
        if len(sources) != 1:
            raise InvalidRequest("An item needs one of file, audio_base64 and audio_url.")
        if sources == ["audio_base64"]:
            return decode(fields["audio_base64"])
        if sources == ["audio_url"]:
            return None
        file = fields["file"]
        if not isinstance(file, (str, int)) or file not in by_name:
            raise InvalidRequest(f"There is no uploaded file {file!r:.80}.", param="file")
        return by_name[file]

    return find


def _name_of(fields: Mapping[str, Any]) -> str:
    name = fields.get("name")
    if isinstance(name, str) and name:
        return name
    file = fields.get("file")
    return PurePath(file).stem if isinstance(file, str) else ""


def _with_model(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the voice under its first name, so that an item's replaces the shared one."""
    first, *others = VOICE_FIELDS
    renamed = {first if name in others else name: value for name, value in fields.items()}
    if len(renamed) < len(fields):
        raise InvalidOption(f"{' and '.join(VOICE_FIELDS)} mean the same; give one.", param=first)
    return renamed


def _refuse_unknown(fields: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in fields:
        if name not in known:
            text = ", ".join(sorted(known))
            raise InvalidOption(
                f"There is no field {name!r:.80} here; there are {text}.", param=name[:80]
            )


PRINTABLE = re.compile("[ -~]+")


def _idempotency_key() -> str | None:
    given = request.headers.get("Idempotency-Key")
    if given is not None and not (1 <= len(given) <= LONGEST_KEY and PRINTABLE.fullmatch(given)):
        raise InvalidOption(
            f"Idempotency-Key must have 1 to {LONGEST_KEY} printable ASCII characters.",
            param="Idempotency-Key",
        )
    return given
