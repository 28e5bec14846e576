"""Bytes promised on one device: reserved before a load, refunded after the storage is gone."""

from __future__ import annotations


class Ledger:
    """Promised bytes by model key; the sum is never negative and never over the budget."""

    def __init__(self, budget_bytes: int | None = None) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._promised: dict[int, int] = {}

    def of(self, key: int) -> int:
        """Bytes promised to the model `key`."""
        return self._promised.get(key, 0)

    def set(self, key: int, n_bytes: int) -> bool:
        """Promise exactly `n_bytes` to the model `key`; False, and no change, if too many."""
        used = self.used_bytes - self.of(key) + n_bytes
        if self.budget_bytes is not None and used > self.budget_bytes and n_bytes > self.of(key):
            return False
        self._promised[key] = n_bytes
        self.used_bytes = used
        return True

    def refund(self, key: int) -> int:
        """Take back all bytes of the model `key`; return how many."""
        n_bytes = self._promised.pop(key, 0)
        self.used_bytes -= n_bytes
        return n_bytes
