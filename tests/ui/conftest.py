"""A running UI, a real browser, and pages that refuse what must not happen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest

from app import create_app
from rvc_core.audio import write_audio
from server.services import Services, build_services
from server.settings import Settings
from server.sockets import bind, url_of
from server.uvicorn_server import UiServer
from tests.ui.fakes import FakeServices, sine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
# Remembers what plays: the player keeps its audio element outside of the document.
WATCH_PLAYERS = """
window.played = [];
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { window.played.push(this); return play.call(this); };
"""

OpenPage = Callable[..., "Page"]


@contextmanager
def serving(services: Services) -> Iterator[str]:
    """The address of the UI over `services`, for the time of the block."""
    bound = bind("127.0.0.1", 0, "UI_PORT")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        environment.setenv("GRADIO_TEMP_DIR", str(services.settings.outputs_dir))
        server = UiServer(create_app(services), bound)
        server.start()
        assert server.is_alive
        yield url_of(bound)
        server.stop()
    bound.close()


@pytest.fixture(scope="session")
def session_services(tmp_path_factory: pytest.TempPathFactory) -> FakeServices:
    return FakeServices(tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def fake_services(session_services: FakeServices) -> Iterator[FakeServices]:
    """The services behind `fake_url`, as new."""
    session_services.reset()
    yield session_services
    session_services.reset()


@pytest.fixture(scope="session")
def fake_url(session_services: FakeServices) -> Iterator[str]:
    """A UI whose conversions are tones."""
    with serving(cast("Services", session_services)) as url:
        yield url


@pytest.fixture(scope="session")
def real_url(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A UI that converts into the demo voice."""
    outputs = tmp_path_factory.mktemp("real-outputs")
    settings = Settings(models_dir=models_dir, outputs_dir=outputs, device="cpu", torch_threads=1)
    services = build_services(settings)
    with serving(services) as url:
        yield url
    services.close()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real recording of 2.9 s at 16 kHz; a tone where the package that has it is missing."""
    spec = find_spec("pytest_audioeval")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "samples" / "audio" / "en" / "quick_brown_fox.wav"
        if path.is_file():
            return path
    path = tmp_path_factory.mktemp("recording") / "tone.wav"
    write_audio(path, sine(2.9, 120.0, 16_000))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; for one module only, as its driver keeps an event loop running."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open an address in a fresh profile; page and console errors and outside requests fail."""
    problems: list[str] = []
    contexts = []

    def open_in_new_context(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH_PLAYERS)
        _watch(page, problems)
        page.goto(url)
        page.locator("#voice-card .vs-card").wait_for()
        return page

    yield open_in_new_context
    for context in contexts:
        context.close()
    assert problems == []


def _watch(page: Page, problems: list[str]) -> None:
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
    page.on(
        "console",
        lambda message: (
            problems.append(f"console: {message.text}") if message.type == "error" else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            None if _stays_here(request.url) else problems.append(f"request: {request.url}")
        ),
    )


def _stays_here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob") or parts.hostname == "127.0.0.1"
