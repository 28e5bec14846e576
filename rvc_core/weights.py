"""Reading files of tensors safely, and bringing their spellings to one form."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rvc_core.errors import (
    CoreError,
    InvalidCheckpoint,
    InvalidWeights,
    MissingWeights,
    UnsafeCheckpoint,
)

MAX_FILE_BYTES = 2 << 30
_PICKLE_START = b"\x80\x02"  # torch writes pickles of protocol 2 and no other
_LEGACY_START = _PICKLE_START + b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number
_BROKEN_FILE = (  # what torch and zipfile raise on bytes that are not what they seem
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    EOFError,
    OSError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)
_SPELLINGS = (  # of weight norm: magnitude, direction
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)


def read_torch_file(path: Path) -> Any:
    """What a torch file holds, tensors and plain values only; no code of the file is run.

    Raise `UnsafeCheckpoint` when the file wants more than that or would unpack to far more
    than its size, `InvalidCheckpoint` when it is no torch file.
    """
    try:
        _check_size(path)
        mapped = _check_format(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise _unsafe(path) from None
        raise InvalidCheckpoint(f"{path.name} is no torch file, or a damaged one.") from None
    except _BROKEN_FILE:
        raise InvalidCheckpoint(f"{path.name} is no torch file, or a damaged one.") from None


def _check_format(path: Path) -> bool:
    """Whether the file is a zip, as torch writes since 1.6; raise if it is a pickle of others."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(len(_LEGACY_START))
        if start.startswith(b"\x80") and start != _LEGACY_START:
            raise _unsafe(path)
        return False
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            if entry.endswith("data.pkl") and archive.open(entry).read(2) != _PICKLE_START:
                raise _unsafe(path)
    return True


def _unsafe(path: Path) -> UnsafeCheckpoint:
    return UnsafeCheckpoint(
        f"{path.name} holds more than tensors and plain values; it was not loaded."
    )


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        raise MissingWeights(f"There is no file {path}.", value=str(path)) from None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > MAX_FILE_BYTES:
        raise UnsafeCheckpoint(
            f"{path.name} would take {size} bytes; {MAX_FILE_BYTES} are allowed.", value=size
        )


def read_safetensors(
    path: Path, error: type[CoreError] = InvalidWeights
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raise `error` if it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except FileNotFoundError:
        raise MissingWeights(f"There is no file {path}.", value=str(path)) from None
    except (SafetensorError, OSError):
        raise error(f"{path.name} is no safetensors file, or a damaged one.") from None


def folded_shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes that `fold_weight_norm` would give, without touching a value."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, tensor in state.items():
        for magnitude, direction in _SPELLINGS:
            if key.endswith(direction):
                key = key[: -len(direction)] + ".weight"
            elif key.endswith(magnitude):
                break
        else:
            shapes[key] = tuple(tensor.shape)
    return shapes


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in float32, with each weight norm multiplied out, in either spelling."""
    folded: dict[str, Tensor] = {}
    for key, tensor in state.items():
        spelling = next((s for s in _SPELLINGS if key.endswith(s)), None)
        if spelling is None:
            folded[key] = tensor.float() if tensor.is_floating_point() else tensor
        elif key.endswith(spelling[1]):
            stem = key[: -len(spelling[1])]
            magnitude = state.get(stem + spelling[0])
            if magnitude is None:
                raise InvalidCheckpoint(f"The weight {stem + spelling[0]} is missing.")
            folded[stem + ".weight"] = _multiply_out(magnitude.float(), tensor.float())
    return folded


def _multiply_out(magnitude: Tensor, direction: Tensor) -> Tensor:
    """torch's weight norm: the norm is over every dimension in which `magnitude` has size 1."""
    dims = [i for i, size in enumerate(magnitude.shape) if size == 1]
    norm = torch.linalg.vector_norm(direction, dim=dims, keepdim=True)
    used = norm > 0  # 0/0: a layer that was never trained
    return direction * torch.where(used, magnitude / norm.where(used, norm + 1), 0.0)


class _NoFirstValues(TorchFunctionMode):
    """Leaves tensors as they are where a module would give them their first values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what `func` does, unless it is one of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built in this context are on the meta device, ready for `load_strictly`.

    Random first values take time even there: for some of them torch loads its compiler.
    """
    with torch.device("meta"), _NoFirstValues():
        yield


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], name: str, error: type[CoreError]
) -> None:
    """Put `state` into `module`, which may be on the meta device; raise on any difference."""
    own = module.state_dict()
    shared = own.keys() & state.keys()
    differences = {
        "lacks": own.keys() - state.keys(),
        "has the unknown": state.keys() - own.keys(),
        "has a wrong shape of": {key for key in shared if own[key].shape != state[key].shape},
    }
    for what, found in differences.items():
        keys = sorted(found)
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise error(f"{name} {what} {', '.join(keys[:3])}{more}.")
    module.load_state_dict(dict(state), strict=True, assign=True)
    module.requires_grad_(False)


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
