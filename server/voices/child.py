"""What the process does that reads strangers' files: check, convert, and tell in plain JSON.

It is given up to a fixed amount of memory and time, sees none of the server's environment, and
its crash is no more than an answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rvc_core.errors import CoreError, IndexMismatch, InvalidCheckpoint, UnsafeCheckpoint
from server.errors import ServerError, UnsafeArchive
from server.voices.archives import ZipBounds, is_plain_zip, reading

VOICE_FILE, INDEX_FILE = "voice.safetensors", "voice.index"  # what it leaves behind
TORCH_BOUNDS = ZipBounds(entries=20_000, directory_bytes=4 << 20)
MAX_METADATA_BYTES = 256 << 10
GIB = 1 << 30
BYTES_PER_BYTE = 8  # of memory for each of a file: float32 copies of float16, and then some
CPU_S = 300


def main() -> None:
    """Do the job that standard input describes, within limits; answer on standard output."""
    job = json.loads(sys.stdin.read())
    import faiss  # noqa: F401 - the limits count from what imports have taken
    import safetensors.torch  # noqa: F401

    import rvc_core.inspection  # noqa: F401

    limit_resources(job)
    try:
        answer = do_job(job)
    except (CoreError, ServerError) as error:
        answer = {"error": {"code": error.code, "message": error.message, "param": error.param}}
    except MemoryError:
        answer = {"error": {"code": "inspection_failed", "message": "Out of memory.", "param": ""}}
    sys.stdout.write(json.dumps(answer))


def do_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Check the files of `job`; leave the converted voice and the index in its folder.

    `content_dim` is the width that an index must have where it comes without its voice.
    """
    folder, answer = Path(job["folder"]), dict[str, Any]()
    width = job["content_dim"]
    if job["voice"] is not None:
        answer["voice"] = take_voice(Path(job["voice"]), folder / VOICE_FILE, job["max_bytes"])
        width = answer["voice"]["content_dim"]
    if job["index"] is not None:
        answer["index"] = take_index(Path(job["index"]), folder / INDEX_FILE, width)
    return answer


def take_voice(path: Path, target: Path, max_bytes: int) -> dict[str, Any]:
    """Convert a voice to safetensors; raise an error that names what the file is instead."""
    from safetensors.torch import save_file

    from rvc_core.checkpoint import read_voice_file
    from rvc_core.inspection import inspect_file
    from rvc_core.voice import read_voice_facts

    _check_container(path, max_bytes)
    facts = inspect_file(path)  # reads all, and strictly
    file = read_voice_file(path)
    metadata, left_out = _plain_metadata(file.metadata, file.config)
    try:
        tensors = {key: t.detach().contiguous().clone() for key, t in file.state.items()}
        save_file(tensors, target, metadata)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvalidCheckpoint(f"{path.name} holds tensors that cannot be kept.") from error
    before, after = read_voice_facts(path), read_voice_facts(target)
    if replace(after, name=before.name) != before:
        raise InvalidCheckpoint(f"{path.name} states facts that cannot be kept.")
    notes = [] if path.suffix == ".safetensors" else ["Converted from .pth to .safetensors."]
    if left_out:
        notes.append(f"Left out, as they are no plain values: {', '.join(left_out)[:200]}.")
    return {**facts, "content_dim": before.config.content_dim, "notes": notes}


def take_index(path: Path, target: Path, width: int | None) -> dict[str, Any]:
    """Write an index anew; raise `InvalidIndex`, or `IndexMismatch` if it has another width."""
    import faiss

    from rvc_core.errors import InvalidIndex
    from rvc_core.retrieval import load_index

    facts = load_index(path)  # checks that it can be searched
    index = faiss.read_index(str(path))
    kinds = (faiss.IndexFlat, faiss.IndexFlatL2, faiss.IndexIVFFlat)
    if type(index) not in kinds or not _is_in_memory(index):  # others can point to files
        raise InvalidIndex(f"{path.name} is an index of a kind that uploads may not be.")
    if width is not None and facts.content_dim != width:
        raise IndexMismatch(
            f"The index {path.name} holds features of width {facts.content_dim}; "
            f"the voice uses {width}.",
            value=facts.content_dim,
        )
    faiss.write_index(index, str(target))
    return {"content_dim": facts.content_dim, "vectors": facts.n_vectors}


def limit_resources(job: Mapping[str, Any]) -> None:
    """Bound this process: its memory beyond what it has now, its time, and what it writes."""
    with suppress(ImportError):  # there is no such thing on Windows
        import resource

        files = [Path(job[part]) for part in ("voice", "index") if job[part] is not None]
        size = sum(file.stat().st_size for file in files)
        memory = _mapped_bytes() + 2 * GIB + BYTES_PER_BYTE * size
        bounds = {
            resource.RLIMIT_AS: memory,
            resource.RLIMIT_CPU: CPU_S,
            resource.RLIMIT_FSIZE: 2 * job["max_bytes"],
            resource.RLIMIT_CORE: 0,
        }
        for kind, most in bounds.items():
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))


def _mapped_bytes() -> int:
    """The address space in use; libraries of a GPU take gigabytes of it and no memory."""
    import resource

    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return 8 * GIB
    return int(statm.read_text().split()[0]) * resource.getpagesize()


def _check_container(path: Path, max_bytes: int) -> None:
    """Raise `UnsafeCheckpoint` for a `.pth` that is another file as well, or a bomb."""
    if path.suffix == ".safetensors":
        return  # its header accounts for every byte
    import zipfile

    try:
        if not is_plain_zip(path):
            if zipfile.is_zipfile(path):
                raise UnsafeArchive("It has a zip file at its end.")
            return
        with reading(path, TORCH_BOUNDS) as archive:
            entries = archive.infolist()
        n_bytes = sum(entry.file_size for entry in entries)
        if n_bytes > max_bytes:
            raise UnsafeArchive(f"It unpacks to {n_bytes} bytes.")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UnsafeArchive("It is compressed, which torch never does.")
    except UnsafeArchive as error:
        raise UnsafeCheckpoint(f"{path.name} is no plain torch file: {error.message}") from None


def _plain_metadata(metadata: Mapping[str, Any], config: Any) -> tuple[dict[str, str], list[str]]:
    """What fits into a safetensors header, as JSON by name; and the names of what does not."""
    texts, left_out = dict[str, str](), list[str]()
    for key, value in metadata.items():
        if key in ("config", "config_json") or value is None:
            continue
        try:
            texts[str(key)] = json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            left_out.append(str(key))
    if config is not None:
        try:
            texts["config_json"] = json.dumps(list(config))
        except (TypeError, ValueError, RecursionError):
            raise InvalidCheckpoint("The voice's config holds more than numbers.") from None
    if sum(len(key) + len(text) for key, text in texts.items()) > MAX_METADATA_BYTES:
        raise InvalidCheckpoint(f"The voice states more than {MAX_METADATA_BYTES} bytes of facts.")
    return texts, left_out


def _is_in_memory(index: Any) -> bool:
    import faiss

    if not isinstance(index, faiss.IndexIVFFlat) or index.invlists is None:
        return True
    return isinstance(faiss.downcast_InvertedLists(index.invlists), faiss.ArrayInvertedLists)
