"""Uploads over real HTTP, read by a real process, into real services."""

from __future__ import annotations

import shutil
import socket
import stat
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rvc_core.whisper import CONTENT_NAME
from server.services import Services
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.live import live_services, running, write_models
from tests.server.voices.made import (
    bomb_bytes,
    evil_bytes,
    index_bytes,
    tree,
    voice_bytes,
    zip_bytes,
    zip_with,
)

MIB = 1 << 20


@pytest.fixture(scope="module")
def models(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(models_dir, tmp_path_factory.mktemp("live") / "models")


@pytest.fixture(scope="module")
def services(models: Path) -> Services:
    jobs = models.parent / "jobs.sqlite3"
    return live_services(models, max_upload_mb=8, max_voice_mb=64, job_db=jobs)


@pytest.fixture(scope="module")
def web(services: Services) -> Iterator[httpx.Client]:
    with running(services) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def send(web: httpx.Client, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    return web.post("/api/v1/models", files=[("file", file) for file in files], data=fields)


def convert(web: httpx.Client, voice: str) -> bytes:
    recording = by_soundfile(sine(0.4, 16_000), 16_000, "WAV")
    answer = web.post("/api/v1/convert", files={"audio": recording}, data={"model": voice})
    assert answer.status_code == 200, answer.text
    return answer.content


def link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("b.pth")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def test_harmful_uploads_are_refused_by_name_and_leave_nothing(
    web: httpx.Client, models: Path, tmp_path: Path
) -> None:
    mark, voice = tmp_path / "harm", voice_bytes()
    cases: list[tuple[str, bytes, str]] = [
        ("b.pth", evil_bytes(mark), "unsafe_checkpoint"),
        ("b.zip", zip_bytes({"../../b.pth": voice}), "unsafe_archive"),
        ("b.zip", bomb_bytes(256 * MIB), "unsafe_archive"),
        ("b.zip", zip_bytes({f"{n}.pth": b"" for n in range(10_000)}), "unsafe_archive"),
        ("b.zip", zip_with(link(), b"/etc/passwd"), "unsafe_archive"),
    ]
    before = tree(models)
    for name, content, code in cases:
        answer = send(web, (name, content))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
        assert tree(models) == before
    assert not mark.exists()


def test_two_gigabytes_are_refused_before_they_are_sent(web: httpx.Client, models: Path) -> None:
    before = tree(models)
    head = (
        "POST /api/v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 2147483648\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    with socket.create_connection((web.base_url.host, web.base_url.port or 0), 10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert tree(models) == before


def test_a_voice_that_was_added_converts_as_its_file_does(
    web: httpx.Client, models: Path, tmp_path: Path
) -> None:
    shutil.copyfile(models / "voices" / "one.pth", tmp_path / "same.pth")
    answer = send(web, ("same.pth", (tmp_path / "same.pth").read_bytes()))
    assert answer.status_code == 201, answer.text
    assert (models / "voices" / "same.safetensors").is_file()
    assert convert(web, "same") == convert(web, "one")


def test_a_voice_lives_from_its_upload_to_its_removal(
    web: httpx.Client, models: Path, tmp_path: Path
) -> None:
    before = tree(models)
    voice = voice_bytes(seed=7, extras={"content": CONTENT_NAME})
    entries = {"berta.pth": voice, "added_IVF1_Flat_berta_v2.index": index_bytes(tmp_path)}
    added = send(web, ("berta.zip", zip_bytes(entries)))
    assert added.json()["summary"] == "v2, 40 kHz, with F0, 2 speakers, index fits."
    where = added.headers["Location"]
    loaded = web.post(where + "/load", json={"target": "gpu"}).json()
    assert (loaded["state"], loaded["device"]) == ("ready", "cpu")
    assert loaded["bytes"] > 10_000
    first = convert(web, "berta")
    renamed = web.patch(where, json={"name": "周 杰伦"}).json()
    assert (renamed["id"], renamed["index"], renamed["state"]) == ("周 杰伦", True, "unloaded")
    assert convert(web, "周 杰伦") == first
    path = "/api/v1/models/" + urllib.parse.quote("周 杰伦")
    assert web.delete(path).status_code == 204
    assert web.get(path).status_code == 404
    assert tree(models) == before
