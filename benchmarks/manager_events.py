"""Play random events upon the GPU manager and check all its promises after each.

python -m benchmarks.manager_events --events 1000000
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from random import Random

from tests.gpu.play import SETTINGS, Play

EVENTS_PER_PLAY = 2_000


def main() -> int:
    """Play until the number is reached; the exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first play")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # most of the time would go into tracebacks of faults
    started, n_events, seed = time.perf_counter(), 0, arguments.seed
    while n_events < arguments.events:
        try:
            n_events += _play(seed, min(EVENTS_PER_PLAY, arguments.events - n_events))
        except AssertionError:
            sys.stdout.write(f"A promise was broken in the play of seed {seed}.\n")
            raise
        seed += 1
    seconds = time.perf_counter() - started
    report = {"events": n_events, "plays": seed - arguments.seed, "seconds": round(seconds, 1)}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _play(seed: int, n_events: int) -> int:
    random = Random(seed)
    play = Play(random.choice(SETTINGS))
    while play.n_events < n_events:
        play.step(random)
    play.finish()
    return play.n_events


if __name__ == "__main__":
    sys.exit(main())
