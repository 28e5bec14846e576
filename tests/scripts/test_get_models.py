"""get_models.py, against a server on this machine that imitates the hub."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.get_models import MODEL_FILES, Edition, ModelFile, main

GOOD = bytes(range(256)) * 16_384  # 4 MiB
WRONG = GOOD[:-1] + b"?"
Run = Callable[[], int]


class Hub(BaseHTTPRequestHandler):
    """Serves `content`, with ranges; `cut` bytes less than announced."""

    content: bytes | None = GOOD
    cut = 0
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range", "all"))
        if self.content is None:
            self.send_error(404)
            return
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if begin >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        self.wfile.write(self.content[begin : len(self.content) - self.cut])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    """Address of a hub and its handler, whose attributes say how it behaves."""

    class OwnHub(Hub):
        asked: list[str] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), OwnHub) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/repo", OwnHub
        server.shutdown()
        thread.join()


@pytest.fixture
def run(hub: tuple[str, type[Hub]], tmp_path: Path) -> Run:
    """Run the script for one file; the exit code."""
    edition = Edition(len(GOOD), hashlib.sha256(GOOD).hexdigest())
    file = ModelFile("rmvpe.pt", "f0/rmvpe.pt", (Edition(1, "0" * 64), edition))
    arguments = ["--models", str(tmp_path), "--base-url", hub[0], "--timeout", "5"]
    return lambda: main(arguments, [file])


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_file_is_put_in_its_place_and_not_fetched_again(
    run: Run, hub: tuple[str, type[Hub]], tmp_path: Path
) -> None:
    assert (run(), run()) == (0, 0)
    assert (tmp_path / "f0/rmvpe.pt").read_bytes() == GOOD
    assert files_in(tmp_path) == ["rmvpe.pt"]
    assert hub[1].asked == ["all"]


def test_a_damaged_file_is_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f0").mkdir()
    (tmp_path / "f0/rmvpe.pt").write_bytes(WRONG)
    assert run() == 0
    assert (tmp_path / "f0/rmvpe.pt").read_bytes() == GOOD


@pytest.mark.parametrize("content", [WRONG, GOOD + b"?", b"<html>sorry</html>"])
def test_another_content_is_refused_and_leaves_nothing(
    run: Run,
    hub: tuple[str, type[Hub]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    hub[1].content = content
    assert run() == 1
    assert capsys.readouterr().err.startswith("f0/rmvpe.pt: not the expected file (")
    assert files_in(tmp_path) == []


def test_a_cut_download_is_kept_and_continued(
    run: Run, hub: tuple[str, type[Hub]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub[1].cut = 1000
    assert run() == 1
    assert "run again to continue" in capsys.readouterr().err
    hub[1].cut = 0
    assert run() == 0
    assert hub[1].asked == ["all", f"bytes={len(GOOD) - 1000}-"]
    assert (tmp_path / "f0/rmvpe.pt").read_bytes() == GOOD


def test_a_complete_part_is_only_checked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f0").mkdir()
    (tmp_path / "f0/rmvpe.pt.part").write_bytes(GOOD)
    assert run() == 0
    assert files_in(tmp_path) == ["rmvpe.pt"]


def test_a_missing_file_is_one_line(
    run: Run, hub: tuple[str, type[Hub]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub[1].content = None
    assert run() == 1
    assert capsys.readouterr().err == "f0/rmvpe.pt: the server answers 404 Not Found\n"
    assert files_in(tmp_path) == []


def test_no_server_is_one_line_for_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        closed = f"http://127.0.0.1:{server.server_port}"
    assert main(["--models", str(tmp_path), "--base-url", closed]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [file.local for file in MODEL_FILES]
    assert all("Connection refused; run again to continue" in line for line in lines)


def test_only_web_addresses_are_asked(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--models", str(tmp_path), "--base-url", tmp_path.as_uri()])
