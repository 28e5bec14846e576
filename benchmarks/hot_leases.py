"""Time leases on models that are ready: one thread over 20 models, and 64 threads on one.

python -m benchmarks.hot_leases
"""

from __future__ import annotations

import json
import sys
import threading
import time

from gpu_manager import GPUResourceManager, ModelSpec

N_MODELS, N_THREADS = 20, 64
N_TIMED, N_PAIRS = 2_000, 200
N_ROUNDS = 5  # the best counts: a busy machine adds whole time slices to some


class Nothing:
    """A model that takes no time to load."""

    nbytes = 1

    def to(self, device: str) -> None:
        """Nothing moves."""


def main() -> int:
    """Print microseconds for acquire and release together."""
    manager = GPUResourceManager("cpu", reaper=False)
    for n in range(N_MODELS):
        manager.register(ModelSpec(f"m{n}", "none", lambda device: Nothing(), N_THREADS))
        manager.acquire(f"m{n}").release()
    report = {
        "p99_us": min(_p99_s(manager) for _ in range(N_ROUNDS)) * 1e6,
        "mean_us_with_64_threads": min(_crowd_s(manager) for _ in range(N_ROUNDS)) * 1e6,
    }
    sys.stdout.write(json.dumps({name: round(value, 1) for name, value in report.items()}) + "\n")
    return 0


def _p99_s(manager: GPUResourceManager) -> float:
    seconds = []
    for n in range(N_TIMED):
        started = time.perf_counter()
        with manager.acquire(f"m{n % N_MODELS}"):
            pass
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[N_TIMED * 99 // 100]


def _crowd_s(manager: GPUResourceManager) -> float:
    def work() -> None:
        for _ in range(N_PAIRS):
            with manager.acquire("m0"):
                pass

    threads = [threading.Thread(target=work) for _ in range(N_THREADS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - started) / (N_THREADS * N_PAIRS)


if __name__ == "__main__":
    sys.exit(main())
