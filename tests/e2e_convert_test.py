"""Shows how long conversions of one voice take, one after the other.

    HOST=http://127.0.0.1:7861 MODEL=demo LOOPS=5 python tests/e2e_convert_test.py

Exit code: 0 passed (every conversion gave the same bytes), 1 failed, 2 not shown. HOST, MODEL,
LOOPS, AUDIO (a file) and API_KEY come from the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as this is a program

from tests.e2e.client import Job, Setup, run, say, say_table

STAGES = ("queue", "load", "feature", "f0", "synth", "encode", "total")


def main(setup: Setup) -> bool:
    """Convert, show every conversion and the median, and judge."""
    client, n_loops = setup.client, setup.number("LOOPS", 5)
    voice = setup.voices(at_least=1, at_most=1)[0]
    recording = setup.recording(default_s=3.0)
    client.wait_ready()
    say(f"{client.host}: {voice}, {n_loops} conversions; times in ms.\n")
    answers = [client.convert(Job(voice), recording) for _ in range(n_loops)]
    say_table(
        ("loop", "found it", *STAGES, "wall"),
        [
            (n, a.state, *(a.timings[stage] for stage in STAGES), a.wall_ms)
            for n, a in enumerate(answers, 1)
        ],
    )
    say(f"\nmedian wall time: {median(a.wall_ms for a in answers):.1f} ms")
    passed = len({answer.audio for answer in answers}) == 1
    say("PASS" if passed else "FAIL: the same request gave different bytes.")
    return passed


if __name__ == "__main__":
    sys.exit(run(main))
