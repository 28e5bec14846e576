"""Promised bytes stay between zero and the budget."""

from __future__ import annotations

from gpu.ledger import Ledger


def test_a_promise_over_the_budget_is_refused_and_changes_nothing() -> None:
    ledger = Ledger(100)
    assert ledger.set(1, 60)
    assert not ledger.set(2, 41)
    assert (ledger.used_bytes, ledger.of(2)) == (60, 0)


def test_a_promise_can_be_corrected_up_to_the_budget_and_down() -> None:
    ledger = Ledger(100)
    ledger.set(1, 60)
    assert ledger.set(1, 100)
    assert not ledger.set(1, 101)
    assert ledger.set(1, 10)
    assert ledger.used_bytes == 10


def test_a_refund_returns_the_bytes_once() -> None:
    ledger = Ledger(100)
    ledger.set(1, 60)
    assert [ledger.refund(1), ledger.refund(1), ledger.used_bytes] == [60, 0, 0]


def test_without_a_budget_bytes_are_counted_all_the_same() -> None:
    ledger = Ledger()
    assert ledger.set(1, 10**18)
    assert ledger.used_bytes == 10**18
