"""How soon a streamed conversion is heard: its first byte, against the time of the whole.

python -m benchmarks.first_byte --models models --recording minute.wav
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from benchmarks.overhead import ApiCaller, serve
from benchmarks.sounds import sung


def main() -> int:
    """Measure in turns, so that other work on the machine hits both alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--recording", type=Path, help="else a sung tone")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the tone")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    path = arguments.recording
    recording = sung(arguments.seconds) if path is None else path.read_bytes()
    with serve(arguments.models) as (_, url):
        api = ApiCaller(url, recording)
        api.convert()  # the models are loaded now
        rounds = [(_first_byte_s(api), _whole_s(api)) for _ in range(arguments.rounds)]
    shares = [first / whole for first, whole in rounds]
    report = {
        "first_byte_s": [round(first, 2) for first, _ in rounds],
        "whole_s": [round(whole, 2) for _, whole in rounds],
        "share_median": round(statistics.median(shares), 3),
        "share_range": [round(min(shares), 3), round(max(shares), 3)],
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _first_byte_s(api: ApiCaller) -> float:
    started = time.perf_counter()
    with api.send(stream="true") as answer:
        answer.read(1)
        first_s = time.perf_counter() - started
        answer.read()
    return first_s


def _whole_s(api: ApiCaller) -> float:
    started = time.perf_counter()
    api.convert()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
