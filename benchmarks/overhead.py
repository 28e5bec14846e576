"""What HTTP, queue and encoding add to a conversion, against a direct call in the same process.

python -m benchmarks.overhead --models models --seconds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from api_server import create_app
from benchmarks.sounds import sung
from rvc_core.audio import read_audio
from rvc_core.content import find_content_encoder, load_content_encoder
from rvc_core.converter import VoiceConverter
from rvc_core.f0 import load_f0_estimator
from rvc_core.library import rmvpe_weights
from rvc_core.options import ConversionOptions
from rvc_core.voice import load_voice
from server.services import Services, build_services
from server.settings import Settings
from server.sockets import bind, url_of
from server.waitress_server import ApiServer

VOICE = "demo"


def main() -> int:
    """Measure in turns, so that other work on the machine hits both alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the recording")
    arguments = parser.parse_args()
    recording = sung(arguments.seconds)
    with serve(arguments.models) as (services, url):
        direct, api = _direct_call(services, recording), ApiCaller(url, recording)
        for call in (direct, api.convert):
            call()  # everything is loaded now
        pairs = [(_ms(direct), _ms(api.convert)) for _ in range(arguments.rounds)]
    direct_ms, api_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
    report = {
        "direct_ms_median": round(direct_ms, 1),
        "api_ms_median": round(api_ms, 1),
        "difference_ms": round(api_ms - direct_ms, 1),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


@contextmanager
def serve(models: Path) -> Iterator[tuple[Services, str]]:
    """Services over `models` on the CPU, and the address of their API."""
    services = build_services(Settings(models_dir=models, device="cpu", log_level="warning"))
    services.warm_up()
    bound = bind("127.0.0.1", 0, "API_PORT")
    server = ApiServer(create_app(services), bound, services.settings)
    server.start()
    try:
        yield services, url_of(bound)
    finally:
        services.drain(0)
        server.drain(5)
        services.close()


class ApiCaller:
    """Converts one recording over HTTP, again and again."""

    def __init__(self, url: str, recording: bytes) -> None:
        self._host = urlsplit(url).netloc
        self._recording = recording

    def convert(self) -> bytes:
        """The whole answer."""
        with self.send() as answer:
            return answer.read()

    def send(self, **fields: str) -> HTTPResponse:
        """The answer as its headers are there; raise `RuntimeError` if it is an error."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in {"model": VOICE, **fields}.items()
        ]
        head = 'Content-Disposition: form-data; name="audio"; filename="a.wav"'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n")
        body = "".join(parts).encode() + self._recording + f"\r\n--{boundary}--\r\n".encode()
        connection = HTTPConnection(self._host)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        connection.request("POST", "/api/v1/convert", body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(answer.read().decode())
        return answer


def _direct_call(services: Services, recording: bytes) -> Callable[[], object]:
    """What a program without a server would do with the bytes of a recording."""
    models = services.settings.models_dir
    voice = load_voice(services.registry.find(VOICE).path)
    encoder = load_content_encoder(find_content_encoder(models, voice.facts))
    method = services.engine.default_f0_method()
    estimator = load_f0_estimator(method, rmvpe_weights(models))
    converter = VoiceConverter(voice, encoder)
    return lambda: converter.convert(read_audio(recording), ConversionOptions(), estimator)


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
