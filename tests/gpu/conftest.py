"""Fixtures for the manager's tests."""

from __future__ import annotations

import pytest

from tests.gpu.fakes import Bench


@pytest.fixture
def bench() -> Bench:
    """A manager without a budget; slow steps run at once."""
    return Bench()


@pytest.fixture
def stepped() -> Bench:
    """A manager without a budget; slow steps wait until the test runs them."""
    return Bench(inline=False)
