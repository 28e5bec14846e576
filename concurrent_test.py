"""Shows what serving requests at once is worth: the same requests one by one, then together.

    HOST=http://127.0.0.1:7861 REQUESTS=20 CONCURRENCY=8 python concurrent_test.py

Then, for SECONDS (0 leaves it out), CONCURRENCY callers ask again and again, and it shows how many
were served and how long that took. A server that is busy says so (503 with Retry-After); such
requests are made again. Exit code: 0 passed, 1 failed, 2 not shown. HOST, MODELS, AUDIO (a file)
and API_KEY come from the environment too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))  # as this is a program

from tests.e2e.client import Answer, Client, Job, Setup, run, say

PERCENT = 100


def main(setup: Setup) -> bool:
    """Make the requests both ways, then keep on asking, and judge."""
    client, n = setup.client, setup.number("REQUESTS", 20)
    n_callers = setup.number("CONCURRENCY", 8)
    long_s = int(setup.environment.get("SECONDS") or "30")
    voices = setup.voices(at_least=1, at_most=n)
    recording = setup.recording(default_s=1.0)
    client.wait_ready()
    jobs = [Job(voices[i % len(voices)]) for i in range(n)]
    say(f"{client.host}: {n} requests, {len(voices)} voices, {len(client.devices())} devices.")
    alone, alone_s = timed(client, jobs, recording, 1)
    together, together_s = timed(client, jobs, recording, n_callers)
    say(f"one by one:      {alone_s:7.2f} s, median {median_s(alone):.2f} s each")
    say(f"{n_callers} at a time:     {together_s:7.2f} s, median {median_s(together):.2f} s each")
    say(f"together they took 1/{alone_s / together_s:.2f} of the time.")
    same = [a.audio for a in alone] == [b.audio for b in together]
    say("PASS: the bytes are equal." if same else "FAIL: the same request gave different bytes.")
    if long_s:
        keep_asking(client, voices, recording, n_callers, long_s)
    return same


def timed(
    client: Client, jobs: Sequence[Job], recording: bytes, n_callers: int
) -> tuple[list[Answer], float]:
    """All answers in the order of `jobs`, and the seconds that they took in all."""
    started = time.perf_counter()
    with ThreadPoolExecutor(n_callers) as pool:
        answers = list(pool.map(partial(client.convert_patiently, recording=recording), jobs))
    return answers, time.perf_counter() - started


def keep_asking(
    client: Client, voices: Sequence[str], recording: bytes, n_callers: int, seconds: int
) -> None:
    """Ask from `n_callers` threads until the time is over, and show the figures."""
    end = time.monotonic() + seconds

    def ask(number: int) -> list[Answer]:
        answers: list[Answer] = []
        while time.monotonic() < end:
            job = Job(voices[(number + len(answers)) % len(voices)])
            answers.append(client.convert_patiently(job, recording))
        return answers

    with ThreadPoolExecutor(n_callers) as pool:
        answers = [answer for some in pool.map(ask, range(n_callers)) for answer in some]
    walls = sorted(answer.wall_ms / 1000 for answer in answers)
    slowest = walls[min(len(walls) - 1, len(walls) * 99 // PERCENT)]
    say(
        f"{seconds} s with {n_callers} callers: {len(answers)} requests, "
        f"{len(answers) / seconds:.2f} a second, median {median(walls):.2f} s, p99 {slowest:.2f} s."
    )


def median_s(answers: Sequence[Answer]) -> float:
    """The median time of an answer."""
    return median(answer.wall_ms for answer in answers) / 1000


if __name__ == "__main__":
    sys.exit(run(main))
