"""What is said of a voice that was brought: facts, and one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class IndexReport:
    """An index; `content_dim` is the width of its features."""

    content_dim: int
    vectors: int
    bytes: int


@dataclass(frozen=True)
class VoiceReport:
    """A voice as it is, or would be, kept; `bytes` with its index."""

    name: str
    version: str
    sample_rate: int
    f0: bool
    speakers: int
    content: str
    index: IndexReport | None
    bytes: int
    summary: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def summarize(facts: Mapping[str, Any], index: IndexReport | None) -> str:
    """One sentence about a voice: "v2, 40 kHz, with F0, one speaker, index fits."."""
    n = facts["speakers"]
    parts = (
        facts["version"],
        f"{facts['sample_rate'] / 1000:g} kHz",
        "with F0" if facts["f0"] else "without F0",
        "one speaker" if n == 1 else f"{n} speakers",
        "no index" if index is None else "index fits",
    )
    return ", ".join(parts) + "."
