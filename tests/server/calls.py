"""Calls of the services that several test files make."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rvc_core.errors import Cancelled
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server.errors import Draining
from server.services import ConvertRequest, ConvertResult, Services
from tests.server.fakes import engine_of

PATIENCE_S = 10.0


def request_for(audio: bytes, voice: str | None = None, **options: Any) -> ConvertRequest:
    return ConvertRequest(audio, voice, ConversionOptions(**options), "test")


@contextmanager
def converting(services: Services, recording: bytes, voice: str | None = None) -> Iterator[Token]:
    """Another thread that is in the middle of a conversion until the block ends."""
    begun, go_on, token = threading.Event(), threading.Event(), Token()

    def pause(current: Token) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        current.check()

    engine_of(services).during_convert = pause
    thread = threading.Thread(
        target=convert_or_stop, args=(services, request_for(recording, voice), token)
    )
    thread.start()
    assert begun.wait(PATIENCE_S)
    engine_of(services).during_convert = lambda token: token.check()
    try:
        yield token
    finally:
        go_on.set()
        thread.join(PATIENCE_S)


def convert_or_stop(services: Services, request: ConvertRequest, token: Token) -> None:
    with suppress(Cancelled, Draining):
        services.convert(request, token)


def convert(services: Services, audio: bytes, voice: str | None = None) -> ConvertResult:
    return services.convert(request_for(audio, voice), Token())
