"""POST /api/v1/convert/batch: several recordings in, a zip file out."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import replace

from flask import Response, g, request

from rvc_core.errors import AudioTooLong, CoreError, InvalidOption
from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.convert_fields import CONVERT_HEADERS, option_fields
from server.api.job_orders import Call, read_call
from server.api.job_parts import Parts, read_parts
from server.api.job_routes import ASYNC, FORM, IDEMPOTENCY, JSON, TAKEN, ZIP, batch_fields
from server.api.jobs import WORDS, is_async, submit_call
from server.api.route import Answer, Body, Content, Route
from server.errors import QueueFull
from server.jobs.batches import Halt, convert_all, write_zip
from server.jobs.items import Done, Work, convert_item
from server.jobs.records import BATCH
from server.services import Services

MOST_AT_ONCE = 8  # items that a caller can wait for
LONGEST_S = 120.0  # of audio, all items together
PAUSE_S = 0.2  # before a full server is asked again in the middle of a batch


def batch_routes(context: ApiContext) -> list[Route]:
    """The route that converts several recordings."""
    services = context.services

    def convert_batch() -> Response:
        parts = read_parts(request)
        wants_job = is_async() | _wants_job(parts)
        call = read_call(services, BATCH, parts)
        if wants_job or call.order.webhook_url is not None or is_long(call):
            return submit_call(context, call)
        token = Token(min(call.order.timeout_s, services.settings.max_request_seconds))
        is_gone = request.environ.get("waitress.client_disconnected")
        with context.watcher.watch(is_gone, token):
            done, audio = _Batch(services, call, token).convert()
        return _answer(done, audio)

    return [
        Route(
            name="convert_batch",
            method="POST",
            paths=("/api/v1/convert/batch",),
            handler=convert_batch,
            summary="Convert several recordings",
            description="Each may have its own voice and options; one that fails does not fail "
            "the rest. The zip has them and manifest.json. Long batches become jobs.",
            tag="conversion",
            parameters=(*CONVERT_HEADERS, IDEMPOTENCY, ASYNC),
            body=Body(_forms(), example={"items": [{"audio_base64": "UklGR...", "f0_up_key": 2}]}),
            answers=(Answer("A zip file.", ZIP), _taken()),
            failures=(400, 403, 404, 409, 413, 415, 503, 504, 507),
        )
    ]


def is_long(call: Call) -> bool:
    """Whether the batch is too much to wait for; audio that is still to be fetched may be."""
    items = call.order.items
    if len(items) > MOST_AT_ONCE or any(item.audio_url for item in items):
        return True
    left_s = LONGEST_S
    for data in call.inputs:
        try:
            left_s -= 0.0 if data is None else _duration_s(data, left_s)
        except AudioTooLong:
            return True
        except CoreError:
            continue  # the manifest will say what is wrong with it
    return left_s < 0


def _duration_s(data: bytes, most_s: float) -> float:
    from rvc_core.audio import read_audio

    return read_audio(data, max(most_s, 1e-3)).duration_s


class _Batch:
    """A batch whose caller waits for it."""

    def __init__(self, services: Services, call: Call, token: Token) -> None:
        self._services = services
        self._call = call
        self._token = token
        self._audio: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._n_at_hand = 0
        self._work = Work(g.request_id, token, lambda progress: None, call.order.priority)

    def convert(self) -> tuple[list[Done], dict[int, bytes]]:
        """What became of each item, and the files of those that were converted."""
        items = self._call.order.items
        done = convert_all(items, self._do_item, self._services.jobs.n_at_once())
        return done, self._audio

    def _do_item(self, number: int) -> Done:
        with self._lock:
            self._n_at_hand += 1
        try:
            return self._try_until_done(number)
        finally:
            with self._lock:
                self._n_at_hand -= 1

    def _try_until_done(self, number: int) -> Done:
        item, data = self._call.order.items[number], self._call.inputs[number]
        while True:
            try:
                done, encoded = convert_item(self._services.convert, item, data or b"", self._work)
            except QueueFull as error:
                self._wait_or_give_up(error)
            else:
                self._audio[number] = encoded
                return done

    def _wait_or_give_up(self, error: QueueFull) -> None:
        """Nothing is lost by telling the caller to come back while nothing has been done."""
        with self._lock:
            if not self._audio and self._n_at_hand == 1:
                raise Halt(error)
        threading.Event().wait(PAUSE_S)
        self._token.check()


def _answer(done: Sequence[Done], audio: dict[int, bytes]) -> Response:
    file = io.BytesIO()
    write_zip(file, done, audio.__getitem__)
    response = Response(file.getvalue(), mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{g.request_id}.zip"'
    response.headers["Cache-Control"] = "no-store"
    n_failed = sum(one.status != "ok" for one in done)
    g.log_fields = {"items": len(done), "failed": n_failed}
    return response


def _wants_job(parts: Parts) -> bool:
    given = str(parts.fields.pop("async", "0")).lower()
    if given not in WORDS:
        raise InvalidOption(f"async is {given!r:.60}; allowed is 1 or 0.", param="async")
    return WORDS[given]


def _taken() -> Answer:
    return replace(TAKEN, description="The batch is long, or async was given: a job does it.")


def _forms() -> Content:
    fields = {**option_fields(), **batch_fields(), "async": {"type": "boolean"}}
    in_json = {name: shape for name, shape in fields.items() if name != "files[]"}
    return {
        FORM: {"type": "object", "additionalProperties": False, "properties": fields},
        JSON: {
            "type": "object",
            "additionalProperties": False,
            "properties": in_json,
            "required": ["items"],
        },
    }
