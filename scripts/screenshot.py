"""Take the pictures of the manual: a conversion in the browser UI of a running server."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}, "locale": "en-US"},
    "dark": {
        "viewport": {"width": 1280, "height": 900},
        "locale": "en-US",
        "color_scheme": "dark",
    },
    "phone": {"viewport": {"width": 390, "height": 844}, "locale": "en-US"},
    "zh": {"viewport": {"width": 1280, "height": 900}, "locale": "zh-CN"},
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
CONVERSION_MS = 120_000
SETTLE_MS = 800  # players draw their waveforms after the page has the result


def take(url: str, recording: Path, look: str, out: Path) -> None:
    """Convert `recording` in the UI at `url` and save a picture of the whole page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(**LOOKS[look])
        page.goto(url)
        page.locator("#voice-card .vs-card").wait_for()
        page.locator("#recording input[type=file]").set_input_files(recording)
        page.locator("#recording .waveform-container").wait_for()
        page.locator("#convert").click()
        page.locator("#status .good").wait_for(timeout=CONVERSION_MS)
        page.mouse.move(0, 0)
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=out, full_page=True)
        browser.close()


def main(arguments: list[str]) -> None:
    """Read the command line and take one picture."""
    parser = argparse.ArgumentParser(prog="scripts/screenshot.py", description=__doc__)
    parser.add_argument("recording", type=Path, help="a short recording of speech")
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="address of the UI")
    parser.add_argument("--look", choices=sorted(LOOKS), default="light")
    parser.add_argument("--out", type=Path, default=Path("docs/images/convert.png"))
    given = parser.parse_args(arguments)
    take(given.url, given.recording, given.look, given.out)
    sys.stdout.write(f"{given.out}: {given.out.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
