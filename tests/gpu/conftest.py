"""Fixtures for the manager's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpu.worker import Worker
from tests.gpu.errands import PATIENCE_S, opened
from tests.gpu.fakes import Bench


@pytest.fixture
def bench() -> Bench:
    """A manager without a budget; slow steps run at once."""
    return Bench()


@pytest.fixture
def stepped() -> Bench:
    """A manager without a budget; slow steps wait until the test runs them."""
    return Bench(inline=False)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One worker for all tests of a file that leave it as it was."""
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        yield worker
