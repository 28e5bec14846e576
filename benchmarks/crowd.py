"""Many clients at once against a running server: who is served, who is sent away, and how fast.

    HOST=http://127.0.0.1:7861 AUDIO=recording.wav python -m benchmarks.crowd

CLIENTS (90) send the same recording at the same moment, to MODEL or the default voice, with
API_KEY if set. Accepted ones must get the bytes of a request on its own; the others 503 or 429
with Retry-After. /health is asked all the while. With PID, the server's threads are counted. The
exit code is 1 where an answer was none of these. Times are in milliseconds, from the first byte
of a request to the last one of its answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HEALTH_EVERY_S = 0.02
BOUNDARY = "crowd"
REFUSALS = (429, 503)


@dataclass(frozen=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    ms: float


async def ask(address: tuple[str, int], request: bytes) -> Answer:
    """Send `request` on a connection of its own, which it asks to be closed."""
    reader, writer = await asyncio.open_connection(*address)
    started = time.perf_counter()
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers["content-length"]))
        ms = (time.perf_counter() - started) * 1000
    finally:
        writer.close()
    return Answer(int(first.split()[1]), headers, body, ms)


def request_of(method: str, path: str, body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    key = os.environ.get("API_KEY")
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: crowd",
        "Connection: close",
        *([f"X-API-Key: {key}"] if key else []),
        *([f"Content-Type: multipart/form-data; boundary={BOUNDARY}"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def form(audio: bytes, model: str | None) -> bytes:
    """The form of a conversion."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
    voice = f'{head}model"\r\n\r\n{model}\r\n'.encode() if model else b""
    file = f'{head}audio"; filename="a.wav"\r\n\r\n'.encode()
    return voice + file + audio + f"\r\n--{BOUNDARY}--\r\n".encode()


async def watch_health(address: tuple[str, int], times: list[float]) -> None:
    """Ask /health again and again until cancelled."""
    while True:
        answer = await ask(address, request_of("GET", "/health"))
        times.append(answer.ms if answer.status == 200 else float("inf"))
        await asyncio.sleep(HEALTH_EVERY_S)


def share(times: Sequence[float], part: float) -> float | None:
    """The time that `part` of them stayed within."""
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1) if ordered else None


def figures(times: Sequence[float]) -> dict[str, float | int | None]:
    """Number, p50, p99 and the longest."""
    return {
        "n": len(times),
        "p50_ms": share(times, 0.5),
        "p99_ms": share(times, 0.99),
        "max_ms": share(times, 1.0),
    }


def n_threads(pid: str | None) -> int | None:
    """Threads of a process on this machine."""
    if pid is None:
        return None
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def run(address: tuple[str, int], request: bytes, n_clients: int) -> dict[str, object]:
    """Let the crowd in and say how it went."""
    pid = os.environ.get("PID")
    alone = await ask(address, request)
    if alone.status != 200:
        raise SystemExit(f"A request on its own got {alone.status}: {alone.body[:300]!r}")
    before, health = n_threads(pid), list[float]()
    watcher = asyncio.create_task(watch_health(address, health))
    crowd = [asyncio.create_task(ask(address, request)) for _ in range(n_clients)]
    await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
    during = n_threads(pid)
    answers = await asyncio.gather(*crowd)
    watcher.cancel()
    served = [a for a in answers if a.status == 200]
    refused = [a for a in answers if a.status in REFUSALS and "retry-after" in a.headers]
    return {
        "load_average": os.getloadavg()[0],
        "clients": n_clients,
        "statuses": dict(Counter(answer.status for answer in answers)),
        "served": figures([a.ms for a in served]),
        "wrong_bytes": sum(a.body != alone.body for a in served),
        "refused": figures([a.ms for a in refused]),
        "retry_after_s": sorted({int(a.headers["retry-after"]) for a in refused}),
        "neither": n_clients - len(served) - len(refused),
        "health": figures(health),
        "threads": {"before": before, "during": during, "after": n_threads(pid)},
    }


def main() -> int:
    """Read the environment, run, print the figures as JSON."""
    url = urlsplit(os.environ.get("HOST", "http://127.0.0.1:7861"))
    address = (url.hostname or "127.0.0.1", url.port or 80)
    audio = Path(os.environ["AUDIO"]).read_bytes()
    request = request_of("POST", "/api/v1/convert", form(audio, os.environ.get("MODEL")))
    found = asyncio.run(run(address, request, int(os.environ.get("CLIENTS", "90"))))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return int(bool(found["wrong_bytes"] or found["neither"]))


if __name__ == "__main__":
    sys.exit(main())
