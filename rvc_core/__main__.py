"""`python -m rvc_core`: convert recordings, or say what a file is."""

from __future__ import annotations

import sys

from rvc_core.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
