"""`python -m demo_voice`: put the demo voice and its content encoder into the models folder."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo_voice.build import ENCODER_PATH, VOICE_PATH, DemoVoiceError, build, is_complete
from demo_voice.card import CARD


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is missing; return the exit code, 1 with one line on stderr if it failed."""
    options = _parse(arguments)
    started_s = time.monotonic()
    try:
        if not options.force and is_complete(options.models):
            sys.stdout.write(f"The demo voice in {options.models} is complete.\n")
            return 0
        build(options.models)
    except (DemoVoiceError, OSError) as error:
        sys.stderr.write(f"The demo voice cannot be built: {error}\n")
        return 1
    took_s = time.monotonic() - started_s
    sys.stdout.write(
        f"Built {options.models / VOICE_PATH} and {options.models / ENCODER_PATH} "
        f"in {took_s:.1f} s. {CARD['notice']}\n"
    )
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo_voice", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="models folder")
    parser.add_argument("--force", action="store_true", help="build even if it is complete")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
