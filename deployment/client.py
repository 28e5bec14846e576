"""A small client of the voice server; copy this file, it needs `httpx` and `tqdm` only.

    python client.py convert recording.wav converted.wav --voice demo --set f0_up_key=2
    python client.py voices

HOST (http://127.0.0.1:7861) and API_KEY come from the environment. In a program:

    with VoiceClient("http://127.0.0.1:7861") as client:
        Path("converted.wav").write_bytes(client.convert(Path("recording.wav"), "demo").audio)
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
from tqdm import tqdm

Source = bytes | Path
OnProgress = Callable[[float], None]  # is told the share that is done, 0 to 1

BUSY = frozenset({429, 503})
FINISHED = frozenset({"succeeded", "failed", "cancelled", "expired"})
LONGEST_PAUSE_S = 60.0
WAIT_S = 20.0  # for which the server holds a question about a job


class ApiError(Exception):
    """The server refused; `code` is stable, `status` is HTTP's, 0 where there was no answer."""

    def __init__(self, status: int, error: Mapping[str, Any], request_id: str = "") -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.status = status
        self.code = str(error.get("code", ""))
        self.message = str(error.get("message", ""))
        self.param = error.get("param")
        self.retryable = bool(error.get("retryable", False))
        self.request_id = request_id


@dataclass(frozen=True)
class Converted:
    """A converted recording; `timings_ms` by stage, empty for results of jobs."""

    audio: bytes
    sample_rate: int
    voice: str
    device: str
    timings_ms: Mapping[str, float]
    warnings: str


@dataclass(frozen=True)
class Batch:
    """What came of several recordings: one entry of `items` each, and the files by name."""

    items: Sequence[Mapping[str, Any]]
    files: Mapping[str, bytes]


class VoiceClient:
    """Talks to one server. While it is busy, requests are made again, `max_tries` times in all."""

    def __init__(
        self,
        host: str = "http://127.0.0.1:7861",
        api_key: str = "",
        timeout_s: float = 600.0,
        max_tries: int = 6,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._sleep = sleep
        self._max_tries = max_tries
        self._http = httpx.Client(
            base_url=host.rstrip("/"),
            headers={"X-API-Key": api_key} if api_key else {},
            timeout=httpx.Timeout(timeout_s + 10, connect=10),
            transport=transport,
        )

    def __enter__(self) -> VoiceClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def convert(self, recording: Source, voice: str | None = None, **options: Any) -> Converted:
        """Convert one recording; `options` are the API's fields, such as response_format="mp3"."""
        fields = _fields(voice, options)
        answer = self._ask("POST", "/api/v1/convert", data=fields, files=_files(recording))
        return _converted(answer)

    @contextmanager
    def stream(
        self, recording: Source, voice: str | None = None, **options: Any
    ) -> Iterator[Iterator[bytes]]:
        """Convert one recording; the block gets the file piece by piece as it is made."""
        parts = {"data": _fields(voice, {**options, "stream": True}), "files": _files(recording)}
        with self._patiently("POST", "/api/v1/convert", **parts) as answer:
            yield answer.iter_bytes()

    def convert_batch(
        self, recordings: Sequence[Path], voice: str | None = None, **options: Any
    ) -> Batch:
        """Convert several recordings; one that cannot be converted has its error in `items`."""
        fields = _fields(voice, options)
        files = [("files[]", (path.name, path.read_bytes())) for path in recordings]
        answer = self._ask("POST", "/api/v1/convert/batch", data=fields, files=files)
        if answer.status_code == 202:  # many recordings become a job
            return _batch(self._result_of(answer.json()["id"]).content)
        return _batch(answer.content)

    def submit(
        self, recording: Source, voice: str | None = None, key: str = "", **options: Any
    ) -> str:
        """Have a recording converted in the background; the answer is the job's id.

        The same `key` gives the same job, so asking twice does no harm.
        """
        fields = {"type": "convert", **_fields(voice, options)}
        headers = {"Idempotency-Key": key} if key else {}
        parts = {"data": fields, "files": _files(recording), "headers": headers}
        return str(self._ask("POST", "/api/v1/jobs", **parts).json()["id"])

    def job(self, job_id: str, wait_s: float = 0.0) -> dict[str, Any]:
        """The job as it is, or as it is once it has ended or `wait_s` are over."""
        answer = self._ask("GET", f"/api/v1/jobs/{quote(job_id, safe='')}", params={"wait": wait_s})
        return dict(answer.json())

    def result(self, job_id: str, on_progress: OnProgress = lambda share: None) -> Converted:
        """Wait for a job and return what it made; raise its `ApiError` if it failed."""
        return _converted(self._result_of(job_id, on_progress))

    def cancel(self, job_id: str) -> None:
        """End a job and remove what it made."""
        self._ask("DELETE", f"/api/v1/jobs/{quote(job_id, safe='')}")

    def voices(self) -> list[dict[str, Any]]:
        """All voices."""
        return list(self._ask("GET", "/api/v1/models").json()["models"])

    def upload_voice(self, files: Sequence[Path], name: str | None = None) -> dict[str, Any]:
        """Add a voice from its files; the answer says what it is."""
        parts = [("file", (path.name, path.read_bytes())) for path in files]
        data = {} if name is None else {"name": name}
        return dict(self._ask("POST", "/api/v1/models", data=data, files=parts).json())

    def delete_voice(self, name: str) -> None:
        """Remove a voice."""
        self._ask("DELETE", f"/api/v1/models/{quote(name, safe='')}")

    def _result_of(
        self, job_id: str, on_progress: OnProgress = lambda share: None
    ) -> httpx.Response:
        while True:
            job = self.job(job_id, WAIT_S)
            on_progress(float(job.get("progress") or 0.0))
            if job["state"] == "failed":
                raise ApiError(409, job["error"])
            if job["state"] in FINISHED:
                return self._ask("GET", f"/api/v1/jobs/{quote(job_id, safe='')}/result")

    def _ask(self, method: str, path: str, **parts: Any) -> httpx.Response:
        with self._patiently(method, path, **parts) as answer:
            answer.read()
            return answer

    @contextmanager
    def _patiently(self, method: str, path: str, **parts: Any) -> Iterator[httpx.Response]:
        """The answer, its body unread; asked again while the server says that it is busy."""
        for n_try in range(1, self._max_tries + 1):
            request = self._http.build_request(method, path, **parts)
            try:
                answer = self._http.send(request, stream=True)
            except httpx.ConnectError as error:  # it may be starting
                pause_s = _pause_s("", n_try)
                problem = ApiError(0, {"code": "no_answer", "message": str(error)})
            else:
                if answer.is_success:
                    try:
                        yield answer
                    finally:
                        answer.close()
                    return
                problem = _problem(answer)
                pause_s = _pause_s(answer.headers.get("Retry-After", ""), n_try)
                if answer.status_code not in BUSY or not problem.retryable:
                    raise problem
            if n_try == self._max_tries:
                raise problem
            self._sleep(pause_s)


def _fields(voice: str | None, options: Mapping[str, Any]) -> dict[str, str]:
    given = {"model": voice, **options}
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _files(recording: Source) -> dict[str, tuple[str, bytes]]:
    if isinstance(recording, bytes):
        return {"audio": ("recording", recording)}
    return {"audio": (recording.name, recording.read_bytes())}


def _converted(answer: httpx.Response) -> Converted:
    headers = answer.headers
    stages = [entry.partition(";dur=") for entry in headers.get("Server-Timing", "").split(", ")]
    return Converted(
        audio=answer.content,
        sample_rate=int(headers.get("X-Audio-Sample-Rate", "0")),
        voice=unquote(headers.get("X-Model", "")),
        device=headers.get("X-Device", ""),
        timings_ms={name: float(ms) for name, _, ms in stages if ms},
        warnings=unquote(headers.get("X-Warnings", "")),
    )


def _batch(body: bytes) -> Batch:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    return Batch(manifest["items"], files)


def _problem(answer: httpx.Response) -> ApiError:
    answer.read()
    answer.close()
    with suppress(ValueError, KeyError, TypeError):
        body = answer.json()
        return ApiError(answer.status_code, body["error"], body["request_id"])
    error = {"code": "no_voice_server", "message": f"{answer.status_code} {answer.reason_phrase}"}
    return ApiError(answer.status_code, error)


def _pause_s(retry_after: str, n_try: int) -> float:
    asked_s = float(retry_after) if retry_after.isdecimal() else 2.0 ** (n_try - 1)
    return min(LONGEST_PAUSE_S, asked_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: the exit code is 0, or 1 where the server refused."""
    asked = _parser().parse_args(arguments)
    host = os.environ.get("HOST") or "http://127.0.0.1:7861"
    with VoiceClient(host, os.environ.get("API_KEY", "")) as client:
        try:
            asked.run(client, asked)
        except ApiError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A client of the voice server.")
    commands = parser.add_subparsers(required=True)
    convert = commands.add_parser("convert", help="convert a recording")
    convert.add_argument("recording", type=Path)
    convert.add_argument("converted", type=Path, help="the suffix is the format: wav, mp3 ...")
    convert.add_argument("--voice")
    convert.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    convert.set_defaults(run=_convert)
    commands.add_parser("voices", help="list the voices").set_defaults(run=_list_voices)
    return parser


def _convert(client: VoiceClient, asked: argparse.Namespace) -> None:
    options = dict(entry.split("=", 1) for entry in asked.set)
    audio_format = asked.converted.suffix.removeprefix(".").lower() or "wav"
    options["response_format"] = audio_format
    job_id = client.submit(asked.recording, asked.voice, **options)
    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}") as bar:
        result = client.result(job_id, lambda share: bar.update(round(100 * share) - bar.n))
    asked.converted.write_bytes(result.audio)
    client.cancel(job_id)


def _list_voices(client: VoiceClient, asked: argparse.Namespace) -> None:
    for voice in client.voices():
        sys.stdout.write(f"{voice['id']}\t{voice.get('error') or voice['state']}\n")


if __name__ == "__main__":
    sys.exit(main())
