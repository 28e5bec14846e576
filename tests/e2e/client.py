"""What the end-to-end programs share: a client that measures, and how they ask and report.

The standard library is enough, so that any Python can run them against any server.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import struct
import sys
import time
import wave
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Barrier
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

READY_S = 60.0  # for a server that has just been started
REQUEST_S = 120.0
RATE = 16_000
BUSY = (429, 503)
LARGEST = 30_000  # of 32,767


class Unusable(Exception):
    """Nothing can be shown: no server, too few voices, or a setting that makes no sense."""


class Failed(Exception):
    """A conversion got no answer, or a refusal."""


class Busy(Failed):
    """The server takes no more just now; `retry_after_s` is when to come back."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Headers(Protocol):
    """The headers of an answer."""

    def get(self, name: str, default: str) -> str:
        """One of them."""


@dataclass(frozen=True)
class Job:
    """One request."""

    voice: str
    seed: int = 1


@dataclass(frozen=True)
class Answer:
    """What came back; `timings` are the server's, in ms by stage, and `ended` is in seconds."""

    job: Job
    state: str
    device: str
    timings: Mapping[str, float]
    audio: bytes
    wall_ms: float
    ended: float

    @property
    def span(self) -> tuple[float, float]:
        """When the networks began and stopped to work on it, in seconds."""
        end = self.ended - self.timings["encode"] / 1000
        run_ms = sum(self.timings[stage] for stage in ("feature", "f0", "synth"))
        return end - run_ms / 1000, end


@dataclass(frozen=True)
class Client:
    """Talks to one server."""

    host: str
    api_key: str = ""

    def wait_ready(self) -> None:
        """Wait until conversions can be served; raise `Unusable` if that takes long."""
        deadline = time.monotonic() + READY_S
        is_ready, reasons = self._get("/ready", "ready", "reasons")
        while not is_ready:
            if time.monotonic() > deadline:
                raise Unusable(f"{self.host} is not ready: {' '.join(reasons)}")
            time.sleep(0.5)
            is_ready, reasons = self._get("/ready", "ready", "reasons")

    def voices(self) -> list[str]:
        """The voices that can be used."""
        (listed,) = self._get("/api/v1/models", "models")
        return [voice["id"] for voice in listed if not voice.get("error")]

    def devices(self) -> list[str]:
        """What the server converts on."""
        (listed,) = self._get("/info", "devices")
        return list(listed)

    def convert(self, job: Job, recording: bytes) -> Answer:
        """Convert, measuring; raise `Failed`."""
        fields = {"model": job.voice, "seed": job.seed, "timeout_s": REQUEST_S}
        body = {"audio_base64": base64.b64encode(recording).decode(), **fields}
        request = self._request("/api/v1/convert", json.dumps(body).encode())
        started = time.perf_counter()
        try:
            with urlopen(request, timeout=REQUEST_S + 10) as answer:
                ended = time.perf_counter()
                return _read(job, answer.headers, answer.read(), (started, ended))
        except HTTPError as error:
            message = f"{job.voice} was refused with {error.code}: {_reason(error)}"
            if error.code in BUSY:
                raise Busy(message, float(error.headers.get("Retry-After", "1"))) from error
            raise Failed(message) from error
        except (OSError, HTTPException) as error:
            raise Failed(f"{job.voice} got no answer: {error}") from error

    def convert_patiently(self, job: Job, recording: bytes) -> Answer:
        """Convert, and come back when the server says that it is busy."""
        deadline = time.monotonic() + REQUEST_S
        while True:
            try:
                return self.convert(job, recording)
            except Busy as busy:
                if time.monotonic() + busy.retry_after_s > deadline:
                    raise
                time.sleep(busy.retry_after_s)

    def _get(self, path: str, *keys: str) -> list[Any]:
        try:
            answer = json.loads(self._fetch(path))
            return [answer[key] for key in keys]
        except HTTPError as error:
            raise Unusable(f"{self.host}{path} answers {error.code}: {_reason(error)}") from error
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            raise Unusable(f"No voice server answers at {self.host}: {error}") from error

    def _fetch(self, path: str) -> bytes:
        try:
            with urlopen(self._request(path), timeout=30) as answer:
                return bytes(answer.read())
        except HTTPError as error:
            if path == "/ready" and error.code == 503:  # an answer like any other
                return error.read()
            raise

    def _request(self, path: str, body: bytes | None = None) -> Request:
        headers = {"Content-Type": "application/json"} if body else {}
        if self.api_key:
            headers["X-API-Key"] = self.api_key
        return Request(self.host + path, body, headers)


@dataclass(frozen=True)
class Setup:
    """What the environment asks for."""

    client: Client
    wanted: tuple[str, ...]
    audio: str
    environment: Mapping[str, str]

    def number(self, key: str, default: int) -> int:
        """A setting that is a whole number of at least 1."""
        text = self.environment.get(key) or str(default)
        if not text.isdecimal() or int(text) < 1:
            raise Unusable(f"{key} must be a whole number of at least 1, not {text!r}.")
        return int(text)

    def voices(self, at_least: int, at_most: int) -> list[str]:
        """Those of MODELS, else the first that the server lists."""
        there = self.client.voices()
        strangers = [name for name in self.wanted if name not in there]
        if strangers:
            raise Unusable(f"There is no voice {strangers[0]!r}; there are {', '.join(there)}.")
        chosen = list(dict.fromkeys(self.wanted or there))[:at_most]
        if len(chosen) < at_least:
            names = ", ".join(chosen) or "none"
            raise Unusable(f"This needs {at_least} different voices, but there are: {names}.")
        return chosen

    def recording(self, default_s: float) -> bytes:
        """The file AUDIO, else a sound of `default_s` made here."""
        try:
            return Path(self.audio).read_bytes() if self.audio else hum(default_s)
        except OSError as error:
            raise Unusable(f"AUDIO cannot be read: {error}") from error


def read_setup(environment: Mapping[str, str]) -> Setup:
    """Read HOST, API_KEY, MODELS (or MODEL) and AUDIO; what is empty counts as not set."""
    host = (environment.get("HOST") or "http://127.0.0.1:7861").rstrip("/")
    if not host.startswith(("http://", "https://")):
        raise Unusable(f"HOST must begin with http:// or https://, not {host!r}.")
    names = environment.get("MODELS") or environment.get("MODEL") or ""
    wanted = tuple(_voice(name.strip()) for name in names.split(",") if name.strip())
    client = Client(host, environment.get("API_KEY", ""))
    return Setup(client, wanted, environment.get("AUDIO", ""), environment)


def _voice(name: str) -> str:
    """The name of a voice whose file may be named."""
    return name.removesuffix(".pth").removesuffix(".safetensors")


def at_once(client: Client, jobs: Sequence[Job], recording: bytes) -> list[Answer]:
    """Make all requests at the same time; the answers come in the order of `jobs`."""
    start = Barrier(len(jobs))

    def work(job: Job) -> Answer:
        start.wait(REQUEST_S)
        return client.convert(job, recording)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(work, jobs))


def hum(seconds: float) -> bytes:
    """A gliding tone with overtones, about as a voice has them; the bytes of a WAV file."""
    phases = [0.0]
    for n in range(1, round(seconds * RATE)):
        hz = 150 + 30 * math.sin(2 * math.pi * n / RATE)
        phases.append(phases[-1] + 2 * math.pi * hz / RATE)
    wavelets = [sum(math.sin(k * phase) / k for k in range(1, 9)) / 3 for phase in phases]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        samples = [round(LARGEST * max(-1.0, min(1.0, value))) for value in wavelets]
        writer.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


def say(line: str = "") -> None:
    """Show a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Show a table; floats get one digit behind the point and stand right, like all numbers."""
    texts = [[f"{c:.1f}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    is_text = [any(isinstance(cell, str) for cell in column) for column in zip(*rows, strict=True)]
    for line in [list(heads), *texts]:
        aligned = zip(line, widths, is_text, strict=True)
        say("  " + "  ".join(c.ljust(w) if t else c.rjust(w) for c, w, t in aligned).rstrip())


def run(program: Callable[[Setup], bool]) -> int:
    """Run it: the exit code is 0 where it passed, 1 where not, 2 where nothing can be shown."""
    try:
        return 0 if program(read_setup(os.environ)) else 1
    except Failed as error:
        say(f"FAIL: {error}")
        return 1
    except Unusable as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _read(job: Job, headers: Headers, audio: bytes, times: tuple[float, float]) -> Answer:
    """Bring `times`, start and end in seconds, together with what the headers say."""
    stages = [entry.split(";dur=") for entry in headers.get("Server-Timing", "").split(", ")]
    started, ended = times
    return Answer(
        job=job,
        state=headers.get("X-Model-State", ""),
        device=headers.get("X-Device", ""),
        timings={name: float(ms) for name, ms in stages},
        audio=audio,
        wall_ms=(ended - started) * 1000,
        ended=ended,
    )


def _reason(error: HTTPError) -> str:
    try:
        body = json.load(error)["error"]
        return f"{body['code']}, {body['message']}"
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
