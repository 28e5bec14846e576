"""Runs the server with a UI that is one line of text: python -m tests.server.plain_ui [options]"""

from __future__ import annotations

import sys
from typing import Any

from main import run
from server.services import Services


async def _app(scope: Any, receive: Any, send: Any) -> None:
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ui"})


def create_plain_ui(services: Services) -> Any:
    """An ASGI app."""
    return _app


if __name__ == "__main__":
    run(sys.argv[1:], create_plain_ui)
