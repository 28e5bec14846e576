"""The browser UI: one Gradio app on a FastAPI app that tells browsers what the page may do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ui.leftovers import remove_leftovers
from ui.text import PAGE
from ui.theme import CSS_PATH, FAVICON_PATH, create_theme

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from server.services import Services

T = TypeVar("T")

KEEP_FILES_S = 3600
SWEEP_EVERY_S = 600
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"microphone=(self), camera=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class SecurityHeaders:
    """ASGI middleware that adds our headers to every answer, streams of events included."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on and complete the head of its answer."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def create_ui(services: Services) -> gr.Blocks:
    """The page as Gradio blocks; `create_app` serves it with its theme and translations."""
    return in_event_loop(lambda: _create_blocks(services))


def create_app(services: Services) -> FastAPI:
    """The ASGI app with the UI at "/"; it opens no port and makes no request."""
    return in_event_loop(lambda: _create_app(services))


def in_event_loop(build: Callable[[], T]) -> T:
    """Call `build` while an event loop runs: else Gradio opens one for each lock, for good."""

    async def run() -> T:
        return build()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    return build()


def _create_blocks(services: Services) -> gr.Blocks:
    import gradio as gr

    from ui.convert import create_convert_tab
    from ui.header import create_header

    i18n = create_i18n()
    blocks = gr.Blocks(
        title=PAGE["title"].en,
        analytics_enabled=False,
        delete_cache=(SWEEP_EVERY_S, KEEP_FILES_S),
    )
    with blocks:
        create_header(i18n)
        create_convert_tab(services, i18n, blocks)
        gr.Markdown(i18n("privacy"), elem_id="privacy")
    return blocks


def create_i18n() -> gr.I18n:
    """The page's fixed texts, which follow the browser's language."""
    import gradio as gr

    from ui.controls import translations

    return gr.I18n(**translations())


def _create_app(services: Services) -> FastAPI:
    import gradio as gr
    from fastapi import FastAPI

    remove_leftovers(services.settings.outputs_dir / "ui", KEEP_FILES_S)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SecurityHeaders)
    gr.mount_gradio_app(
        app,
        _create_blocks(services),
        path="/",
        footer_links=["settings"],
        run_history=False,
        favicon_path=str(FAVICON_PATH),
        show_error=False,  # what is not meant for people stays in the log
        max_file_size=services.settings.max_upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        i18n=create_i18n(),
        mcp_server=False,
        theme=create_theme(),
        css_paths=[CSS_PATH],
        pwa=False,
    )
    return app
