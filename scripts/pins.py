"""Write the packages of a pip installation report as `name==version` lines."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def pins(report: dict[str, Any], project: str = "voice-server") -> list[str]:
    """One sorted `name==version` line for each package, without the project itself."""
    found = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()  # as PEP 503 spells names
        found[name] = item["metadata"]["version"].split("+")[0]  # a local build has no place here
    found.pop(project, None)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    sys.stdout.write(
        "".join(f"{line}\n" for line in pins(json.loads(Path(sys.argv[1]).read_text())))
    )
