"""Write the project's dependencies and those of the extras named, one requirement a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def dependencies(pyproject: dict[str, Any], *extras: str) -> list[str]:
    """The requirements of the project and of `extras`, as pyproject.toml spells them."""
    project = pyproject["project"]
    further = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *further]


if __name__ == "__main__":
    found = dependencies(tomllib.loads(Path("pyproject.toml").read_text()), *sys.argv[1:])
    sys.stdout.write("".join(f"{line}\n" for line in found))
