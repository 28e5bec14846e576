from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
import requests

from app import in_event_loop
from ui.theme import FAVICON_PATH


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/heartbeat/none", "/nowhere"])
def test_every_answer_tells_the_browser_what_the_page_may_do(fake_url: str, path: str) -> None:
    with requests.get(fake_url + path, timeout=20, stream=True) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_tab_has_our_icon(fake_url: str) -> None:
    icon = requests.get(f"{fake_url}/favicon.ico", timeout=20)
    assert icon.headers["content-type"].startswith("image/svg+xml")
    assert icon.content == FAVICON_PATH.read_bytes()


def test_nobody_can_watch_other_visitors(fake_url: str) -> None:
    assert requests.get(f"{fake_url}/monitoring", timeout=20).status_code == 403


def test_no_run_is_recorded_in_the_browser(fake_url: str) -> None:
    assert requests.get(f"{fake_url}/config", timeout=20).json().get("run_history") is False


def test_the_servers_own_files_are_not_served(fake_url: str) -> None:
    for path in (__file__, "pyproject.toml", "../pyproject.toml"):
        answer = requests.get(f"{fake_url}/gradio_api/file={path}", timeout=20)
        assert answer.status_code in (403, 404)


def test_building_leaves_no_event_loop_open() -> None:
    def make_a_lock() -> bool:
        return asyncio.get_running_loop().is_running()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert in_event_loop(make_a_lock)
        gc.collect()


def test_building_works_where_a_loop_runs_already() -> None:
    async def build() -> int:
        return in_event_loop(lambda: 42)

    assert asyncio.run(build()) == 42
