"""A thousand loads, offloads, restores and releases leave the process as big as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

ALLOWED_MB = 1.0  # per hundred cycles


def measure(n_cycles: int, n_mb: int, kind: str, engine: str) -> dict[str, Any]:
    """In a fresh process: an old one has free memory in which a leak would not show."""
    command = [sys.executable, "-m", "tests.gpu.growth", str(n_cycles), str(n_mb), kind, engine]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(("kind", "n_mb"), [("plain", 2), ("shadowed", 1)])
def test_a_thousand_cycles_leave_nothing_behind(kind: str, n_mb: int) -> None:
    assert measure(1000, n_mb, kind, "steady")["growth_mb"] <= ALLOWED_MB


@pytest.mark.parametrize("kind", ["plain", "shadowed"])
def test_an_engine_that_keeps_a_tenth_of_a_megabyte_is_caught(kind: str) -> None:
    report = measure(200, 1, kind, "leaky")
    assert report["growth_mb"] > ALLOWED_MB
    assert report["kept"] == 200
