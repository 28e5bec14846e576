"""requirements.lock pins what pyproject.toml asks for, and nothing but names and versions."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.dependencies import dependencies
from scripts.pins import pins

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "requirements.lock").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
REQUIREMENTS = [Requirement(line) for line in dependencies(PYPROJECT, *EXTRAS)]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_each_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_lock_holds_names_and_versions_only_sorted_and_once() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line)] == []
    assert sorted(LINES) == LINES
    assert len(PINS) == len(LINES)


def test_no_requirement_asks_for_the_extra_that_downgrades_pydantic() -> None:
    assert [r.name for r in REQUIREMENTS if r.name == "gradio" and r.extras] == []


def test_pins_come_from_an_installation_report() -> None:
    def item(name: str, version: str) -> dict[str, dict[str, str]]:
        return {"metadata": {"name": name, "version": version}}

    report = {"install": [item("Jaw_Bone", "2.0"), item("voice-server", "1"), item("a", "1+cpu")]}
    assert pins(report) == ["a==1", "jaw-bone==2.0"]
