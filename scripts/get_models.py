"""Download what standard RVC voices need: the HuBERT content encoder and the RMVPE F0 estimator."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HUB = "https://huggingface.co/lj1995/VoiceConversionWebUI/resolve/main"
BLOCK_BYTES = 1 << 20


class DownloadFailed(Exception):
    """A file could not be had, or is not the file that was expected; the message is one line."""


@dataclass(frozen=True)
class Edition:
    """One accepted content of a file."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """A file of the hub, the place for it below the models folder, and its known editions."""

    remote: str
    local: str
    editions: tuple[Edition, ...]


# The public repositories hold two editions of each small file; either one is right.
MODEL_FILES = (
    ModelFile(
        "hubert_base/config.json",
        "content/hubert_base/config.json",
        (
            Edition(1492, "0346950779dfb7f9316fa74ed846e2b8a22a08eedfdc5387b73f327cb1a4a7cf"),
            Edition(1420, "19f6df5cafd00a0453e52440890be09193118f2ed573377586112d45b497cba4"),
        ),
    ),
    ModelFile(
        "hubert_base/preprocessor_config.json",
        "content/hubert_base/preprocessor_config.json",
        (
            Edition(225, "7c1976a680fb7acc757cd36fb08eef878fa36c70b4c9d2d595df9c608bbbbf0e"),
            Edition(216, "11b3be6aa5979d76000d415a42e74e78fbc7de313e9d3d1a8ac41416b34b3ae9"),
        ),
    ),
    ModelFile(
        "hubert_base/pytorch_model.bin",
        "content/hubert_base/pytorch_model.bin",
        (Edition(189206711, "cc8c20f4b90a520757260197a3ff2505705a7adbd20ad9eeaa4e1a9b38442ef5"),),
    ),
    ModelFile(
        "rmvpe.pt",
        "f0/rmvpe.pt",
        (Edition(181184272, "6d62215f4306e3ca278246188607209f09af3dc77ed4232efdd069798c4ec193"),),
    ),
)


def edition_of(path: Path) -> Edition:
    """Size and SHA-256 of the file at `path`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return Edition(path.stat().st_size, digest.hexdigest())


def fetch(url: str, part: Path, most_bytes: int, timeout_s: float) -> None:
    """Append what is missing of `url` to `part`; stop early past `most_bytes`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "voice-server", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        resumes = answer.status == http.client.PARTIAL_CONTENT
        with part.open("ab" if resumes else "wb") as file:
            while file.tell() <= most_bytes and (block := answer.read(BLOCK_BYTES)):
                file.write(block)
            came = file.tell() - (have if resumes else 0)
        if came < min(int(answer.headers.get("Content-Length", 0)), most_bytes):
            raise DownloadFailed("the connection ended early; run again to continue")


def download(url: str, part: Path, most_bytes: int, timeout_s: float) -> None:
    """Fetch `url` into `part`; raise DownloadFailed and keep what came for the next try."""
    try:
        fetch(url, part, most_bytes, timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the part is as long as the whole file
        raise DownloadFailed(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(f"{getattr(error, 'reason', error)}; run again to continue") from error


def get_file(model_file: ModelFile, models: Path, base_url: str, timeout_s: float) -> str:
    """Put one verified file in its place and say what was done; raise DownloadFailed."""
    path = models / model_file.local
    if path.exists() and edition_of(path) in model_file.editions:
        return "is there already"
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    most_bytes = max(edition.n_bytes for edition in model_file.editions)
    download(f"{base_url.rstrip('/')}/{model_file.remote}", part, most_bytes, timeout_s)
    found = edition_of(part)
    if found not in model_file.editions:
        part.unlink()  # a try from the start may bring the right one
        raise DownloadFailed(
            f"not the expected file ({found.n_bytes:,} bytes, SHA-256 {found.sha256[:12]}...)"
        )
    part.replace(path)
    return f"downloaded, {found.n_bytes:,} bytes"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="get_models.py", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="the models folder")
    parser.add_argument(
        "--base-url", default=HUB, help="where the files are (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without an answer")
    options = parser.parse_args(arguments)
    if not options.base_url.startswith(("https://", "http://")):
        parser.error("--base-url must begin with https:// or http://")
    return options


def main(
    arguments: Sequence[str] | None = None, model_files: Sequence[ModelFile] = MODEL_FILES
) -> int:
    """Get every file; 0 when all are in place, 1 when one is missing."""
    options = parse_arguments(arguments)
    failures = 0
    for model_file in model_files:
        try:
            done = get_file(model_file, options.models, options.base_url, options.timeout)
            sys.stdout.write(f"{model_file.local}: {done}\n")
        except (DownloadFailed, OSError) as error:
            sys.stderr.write(f"{model_file.local}: {error}\n")
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
