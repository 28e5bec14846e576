"""Cancellation and deadline."""

from __future__ import annotations

import math

import pytest

from rvc_core.errors import Cancelled, DeadlineExceeded
from rvc_core.token import Token


def test_a_fresh_token_lets_work_go_on_for_ever() -> None:
    token = Token()
    token.check()
    assert token.remaining_s() == math.inf


def test_a_cancelled_token_ends_the_work() -> None:
    token = Token()
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.check()


def test_the_deadline_ends_the_work() -> None:
    now = 100.0
    token = Token(timeout_s=5, clock=lambda: now)
    now = 104.0
    token.check()
    assert token.remaining_s() == 1.0
    now = 106.0
    assert token.remaining_s() == 0.0
    with pytest.raises(DeadlineExceeded, match="5 s"):
        token.check()
