"""Shows what keeping voices in memory is worth: run it against a server that was just started.

    HOST=http://127.0.0.1:7861 MODELS=a,b,c REPEATS=2 python tests/e2e_cache_abc_test.py

Three voices take turns, two requests each: the first of a turn finds its voice on disk (cold) or,
if the device holds only two (GPU_VRAM_BUDGET), back in host memory (restored); the second finds it
ready (hot). All times are measured by the server. Exit code: 0 passed, 1 failed, 2 not shown.
HOST, MODELS, REPEATS (further rounds), AUDIO (a file) and API_KEY come from the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as this is a program

from tests.e2e.client import Answer, Job, Setup, Unusable, run, say, say_table

KINDS = {"unloaded": "cold", "ready": "hot", "offloaded": "restored"}
N_VOICES = 3
LEAST_RATIO = 5.0
RESOLUTION_MS = 0.1  # of the times in Server-Timing
NO_BUDGET = (
    "No voice came back from host memory, so restored times cannot be shown: the device kept all\n"
    "three. Set GPU_VRAM_BUDGET so that two fit, beside the content encoder and the F0 estimator,\n"
    "and start the server again. Until then hot stands in for restored."
)
NONE_COLD = (
    "No request found its voice on disk: start the server again, so that cold times can be shown."
)


def main(setup: Setup) -> bool:
    """Visit the voices, show every visit and the medians, and judge."""
    client, n_rounds = setup.client, 1 + setup.number("REPEATS", 2)
    voices = setup.voices(at_least=N_VOICES, at_most=N_VOICES)
    recording = setup.recording(default_s=1.0)
    client.wait_ready()
    say(f"{client.host}: {', '.join(voices)}; {n_rounds} rounds, two requests in a row for each.\n")
    jobs = [Job(voice) for _ in range(n_rounds) for voice in voices for _ in range(2)]
    answers = [client.convert(job, recording) for job in jobs]
    groups = by_kind(answers)
    say_visits(answers)
    say_medians(groups)
    return judge({kind: median_ms(group, "load") for kind, group in groups.items()})


def say_visits(answers: list[Answer]) -> None:
    """Show every request."""
    say_table(
        ("visit", "voice", "found it", "that is", "load ms", "total ms", "wall ms"),
        [
            (n, a.job.voice, a.state, kind_of(a), a.timings["load"], a.timings["total"], a.wall_ms)
            for n, a in enumerate(answers, 1)
        ],
    )
    say()


def say_medians(groups: dict[str, list[Answer]]) -> None:
    """Show the medians of each kind."""
    say_table(
        ("kind", "visits", "median load ms", "median total ms"),
        [
            (kind, len(group), median_ms(group, "load"), median_ms(group, "total"))
            for kind, group in groups.items()
        ],
    )
    say()


def kind_of(answer: Answer) -> str:
    """What the state that the request found its voice in is called here."""
    return KINDS.get(answer.state, answer.state)


def by_kind(answers: list[Answer]) -> dict[str, list[Answer]]:
    """The answers of each kind that occurred."""
    kinds = dict.fromkeys(map(kind_of, answers))
    return {kind: [a for a in answers if kind_of(a) == kind] for kind in kinds}


def median_ms(answers: list[Answer], stage: str) -> float:
    """The median time of a stage."""
    return median(answer.timings[stage] for answer in answers)


def judge(load_ms: dict[str, float]) -> bool:
    """Say whether restored (hot where nothing was) loads are much faster than cold ones."""
    if "cold" not in load_ms:
        raise Unusable(NONE_COLD)
    if "restored" not in load_ms:
        say(NO_BUDGET)
    fast = "restored" if "restored" in load_ms else "hot"
    if fast not in load_ms:
        raise Unusable("No voice stayed in memory until the next request for it.")
    ratio = load_ms["cold"] / max(RESOLUTION_MS, load_ms[fast])
    passed = ratio >= LEAST_RATIO
    say(
        f"{'PASS' if passed else 'FAIL'}: by median load time, {fast} is {ratio:.1f} times faster "
        f"than cold; {LEAST_RATIO:g} times is asked for.\n"
        f"(Times below {RESOLUTION_MS:g} ms, the resolution of Server-Timing, count as that. On a "
        "CPU a restored voice\nhas never left its memory, so that restoring costs little.)"
    )
    return passed


if __name__ == "__main__":
    sys.exit(run(main))
