"""Tries a running server against its own description for a long time.

    HOST=http://127.0.0.1:7861 SECONDS=1200 python -m benchmarks.contract

Requests are made up from /openapi.json, right and wrong ones, alone and in sequences; every answer
must be one that the document announces, come within 5 s, and be no 500. Voices and jobs come and
go: use a server with nothing to lose. API_KEY is sent where it is set. The exit code is 0 if no
request broke the contract.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST_S = "5"


def main() -> int:
    """Run schemathesis with all its checks."""
    host = os.environ.get("HOST") or "http://127.0.0.1:7861"
    key = os.environ.get("API_KEY")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{host}/openapi.json"),
        *("--max-time", os.environ.get("SECONDS") or "1200", "--request-timeout", LONGEST_S),
        *("--continue-on-failure", "--max-response-time", LONGEST_S),
        *(("--header", f"X-API-Key: {key}") if key else ()),
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
