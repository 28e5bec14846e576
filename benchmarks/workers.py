"""Compare several CPU workers with one, of one thread each, on the demo voice.

python -m benchmarks.workers --models models --workers 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.sounds import sung
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server.records import ConvertRequest
from server.services import Services, build_services
from server.settings import Settings


def main() -> int:
    """Measure in turns, so that other work on the machine hits both alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=6, help="in each round")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the recording")
    arguments = parser.parse_args()
    recording = sung(arguments.seconds)
    one, many = (_open(arguments.models, n) for n in (1, arguments.workers))
    try:
        for services in (one, many):
            _seconds_for(services, recording, 2 * arguments.workers)  # voices are loaded now
        rounds = [
            [_seconds_for(services, recording, arguments.requests) for services in (one, many)]
            for _ in range(arguments.rounds)
        ]
    finally:
        one.close()
        many.close()
    ratios = [alone / shared for alone, shared in rounds]
    report = {
        "workers": arguments.workers,
        "requests": arguments.requests,
        "seconds_one": [round(alone, 2) for alone, _ in rounds],
        "seconds_many": [round(shared, 2) for _, shared in rounds],
        "speedup_median": round(statistics.median(ratios), 2),
        "speedup_range": [round(min(ratios), 2), round(max(ratios), 2)],
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _open(models: Path, n_workers: int) -> Services:
    settings = Settings(
        models_dir=models,
        voice_devices=("cpu",) * n_workers,
        torch_threads=1,
        concurrent_conversions=1,
        log_level="warning",
    )
    services = build_services(settings)
    services.warm_up()
    return services


def _seconds_for(services: Services, recording: bytes, n_requests: int) -> float:
    def convert(number: int) -> None:
        request = ConvertRequest(recording, "demo", ConversionOptions(), f"bench-{number}")
        services.convert(request, Token())

    started = time.perf_counter()
    with ThreadPoolExecutor(n_requests) as pool:
        list(pool.map(convert, range(n_requests)))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
