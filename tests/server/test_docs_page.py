"""The API's page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api_server import create_app
from server.services import Services
from server.settings import Settings
from server.sockets import bind, url_of
from server.waitress_server import ApiServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def url(services: Services) -> Iterator[str]:
    settings = Settings(waitress_threads=8)
    bound = bind("127.0.0.1", 0, "API_PORT")
    server = ApiServer(create_app(services), bound, settings)
    server.start()
    yield url_of(bound)
    server.drain(1)


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page; errors in it and requests that leave this machine fail the test."""
    problems: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    here = (url, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(here) else problems.append(r.url))
    page.goto(f"{url}/apidocs/")
    page.locator(".opblock").first.wait_for()
    yield page
    context.close()
    assert problems == []


def test_a_recording_can_be_converted_and_heard_on_the_page(
    page: Page, recording: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(recording)
    operation = page.locator("#operations-conversion-convert")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("input[type=file]").first.set_input_files(path)
    operation.get_by_role("button", name="Execute").click()
    player = operation.locator(".live-responses-table audio")
    player.wait_for()
    duration = player.evaluate(
        "p => new Promise(done => { if (p.duration) done(p.duration);"
        " p.onloadedmetadata = () => done(p.duration); p.onerror = () => done(-1); p.load(); })"
    )
    assert duration == pytest.approx(0.1, abs=0.01)


def test_a_foreign_document_is_not_loaded(page: Page, url: str) -> None:
    page.goto(f"{url}/apidocs/?url={url}/health&configUrl={url}/health")
    page.locator("#operations-conversion-convert").wait_for()
