"""Shows how requests made at once are served: same voice serially, different voices in parallel.

    HOST=http://127.0.0.1:7861 MODELS=a,b,c CONCURRENCY=3 python tests/e2e_concurrency_test.py

All requests are made one by one first, then at once; the same request must give the same bytes.
When each ran is told by its arrival here and by the times of its stages in Server-Timing. Exit
code: 0 passed, 1 failed, 2 not shown. HOST, MODELS, CONCURRENCY, AUDIO (a file) and API_KEY
come from the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as this is a program

from tests.e2e.client import Answer, Client, Job, Setup, Unusable, at_once, run, say, say_table

Span = tuple[float, float]
# An answer travels a little, longer while the machine is busy, so spans are not quite exact.
SERIAL_SHARE = 0.1  # of the shortest run: more than this in excess is no accident
PARALLEL_SHARE = 0.5  # of the shortest run: less than this side by side is


@dataclass(frozen=True)
class Trial:
    """The same requests made one by one and at once."""

    alone: list[Answer]
    together: list[Answer]

    @property
    def spans(self) -> list[Span]:
        """When those made at once ran."""
        return [answer.span for answer in self.together]

    @property
    def shortest_s(self) -> float:
        """The shortest run."""
        return min(end - begin for begin, end in self.spans)

    def is_equal(self) -> bool:
        """Whether each gave the same bytes both times."""
        pairs = zip(self.alone, self.together, strict=True)
        return all(alone.audio == together.audio for alone, together in pairs)


def main(setup: Setup) -> bool:
    """Try both, show when each request ran, and judge."""
    client, n = setup.client, setup.number("CONCURRENCY", 3)
    if n < 2:
        raise Unusable("CONCURRENCY must be at least 2.")
    voices = setup.voices(at_least=2, at_most=n)
    recording = setup.recording(default_s=3.0)
    client.wait_ready()
    say(f"{client.host}, CONCURRENCY={n}\n")
    one = try_out(client, [Job(voices[0], seed) for seed in range(1, n + 1)], recording)
    say_trial(f"{n} requests at once for {voices[0]}", one)
    several = try_out(client, [Job(voice) for voice in voices], recording)
    say_trial(f"{len(voices)} requests at once for different voices", several)
    verdicts = [
        judge_same(one, len(client.devices())),
        judge_different(several),
        judge_bytes((one, several)),
    ]
    return all(verdicts)


def try_out(client: Client, jobs: Sequence[Job], recording: bytes) -> Trial:
    """Make the requests one by one, then at once."""
    alone = [client.convert(job, recording) for job in jobs]
    return Trial(alone, at_once(client, jobs, recording))


def crowded_s(spans: Iterable[Span], limit: int) -> float:
    """For how many seconds more than `limit` spans overlap."""
    events = sorted(event for begin, end in spans for event in ((begin, 1), (end, -1)))
    total, depth, since = 0.0, 0, 0.0
    for at, change in events:
        total += at - since if depth > limit else 0.0
        depth, since = depth + change, at
    return total


def say_trial(title: str, trial: Trial) -> None:
    """Show when each request ran, in order."""
    begin = min(answer.ended - answer.wall_ms / 1000 for answer in trial.together)
    took_s = max(answer.ended for answer in trial.together) - begin
    pairs = zip(trial.alone, trial.together, strict=True)
    say(f"{title}; ms since the first was made:")
    say_table(
        ("voice", "seed", "device", "queue", "load", "ran from", "to", "bytes"),
        [
            (
                *(t.job.voice, t.job.seed, t.device, t.timings["queue"], t.timings["load"]),
                *((moment - begin) * 1000 for moment in t.span),
                "equal" if a.audio == t.audio else "DIFFER",
            )
            for a, t in sorted(pairs, key=lambda pair: pair[1].span)
        ],
    )
    alone_s = sum(answer.wall_ms for answer in trial.alone) / 1000
    say(f"  {took_s:.2f} s in all; one by one they took {alone_s:.2f} s.\n")


def judge_same(trial: Trial, n_devices: int) -> bool:
    """Whether no more requests for one voice ran at once than there are devices."""
    excess_s, allowed_s = crowded_s(trial.spans, n_devices), SERIAL_SHARE * trial.shortest_s
    if n_devices > 1:
        say(f"The server has {n_devices} devices; the same voice may run on each of them.")
    most = "one" if n_devices == 1 else str(n_devices)
    return say_verdict(
        excess_s <= allowed_s,
        f"same voice: more than {most} ran at once for {excess_s * 1000:.0f} ms "
        f"(allowed: {allowed_s * 1000:.0f}, {SERIAL_SHARE:.0%} of the shortest run).",
    )


def judge_different(trial: Trial) -> bool:
    """Whether different voices ran side by side."""
    both_s, needed_s = crowded_s(trial.spans, 1), PARALLEL_SHARE * trial.shortest_s
    return say_verdict(
        both_s >= needed_s,
        f"different voices: two or more ran at once for {both_s * 1000:.0f} ms "
        f"(needed: {needed_s * 1000:.0f}, {PARALLEL_SHARE:.0%} of the shortest run).",
    )


def judge_bytes(trials: Sequence[Trial]) -> bool:
    """Whether every answer was the one that the request gets alone."""
    return say_verdict(
        all(trial.is_equal() for trial in trials),
        "bytes: what was made at once must equal what was made one by one.",
    )


def say_verdict(passed: bool, text: str) -> bool:
    """Show it and hand it on."""
    say(f"{'PASS' if passed else 'FAIL'}: {text}")
    return passed


if __name__ == "__main__":
    sys.exit(run(main))
