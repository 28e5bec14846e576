"""Files of tensors: weight norm, safety, strictness."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from rvc_core import weights
from rvc_core.errors import (
    InvalidCheckpoint,
    InvalidWeights,
    MissingWeights,
    UnsafeCheckpoint,
)
from rvc_core.weights import (
    fold_weight_norm,
    load_strictly,
    read_safetensors,
    read_torch_file,
    without_weights,
)


def _normed(make: Callable[[], nn.Module], dim: int) -> tuple[dict[str, Tensor], Tensor]:
    module = weight_norm(make(), dim=dim)
    with torch.no_grad():
        module.parametrizations.weight.original0.mul_(1.7)
    return module.state_dict(), module.weight.detach()


@pytest.mark.parametrize(
    ("make", "dim"),
    [
        (lambda: nn.Conv1d(4, 6, 3), 0),
        (lambda: nn.Conv1d(4, 1, 3), 0),
        (lambda: nn.ConvTranspose1d(4, 6, 3), 0),
        (lambda: nn.Conv1d(4, 6, 8), 2),
    ],
)
@pytest.mark.parametrize("spelling", ["original", "weight_g"])
def test_folding_gives_what_torch_computes(
    make: Callable[[], nn.Module], dim: int, spelling: str
) -> None:
    state, expected = _normed(make, dim)
    if spelling == "weight_g":
        names = {"parametrizations.weight.original0": "weight_g"}
        names["parametrizations.weight.original1"] = "weight_v"
        state = {f"x.{names.get(key, key)}": tensor for key, tensor in state.items()}
    else:
        state = {f"x.{key}": tensor for key, tensor in state.items()}
    folded = fold_weight_norm(state)
    assert folded.keys() == {"x.weight", "x.bias"}
    torch.testing.assert_close(folded["x.weight"], expected, rtol=1e-6, atol=1e-7)


def test_an_untrained_layer_folds_to_zero_instead_of_nan() -> None:
    state = {"x.weight_g": torch.zeros(2, 1, 1), "x.weight_v": torch.zeros(2, 3, 1)}
    assert not fold_weight_norm(state)["x.weight"].any()


def test_folding_reads_16_bit_and_computes_in_32() -> None:
    state = {"x.weight_g": torch.ones(1, 1, 1).half(), "x.weight_v": torch.ones(1, 3, 1).half()}
    folded = fold_weight_norm(state)["x.weight"]
    assert folded.dtype == torch.float32
    torch.testing.assert_close(folded, torch.full((1, 3, 1), 3**-0.5))


def test_half_a_weight_norm_is_refused() -> None:
    with pytest.raises(InvalidCheckpoint, match="x.weight_g"):
        fold_weight_norm({"x.weight_v": torch.ones(1, 1, 1)})


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    target, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"weight": _Payload(target)}, path)
    with pytest.raises(UnsafeCheckpoint, match=r"evil\.pth"):
        read_torch_file(path)
    assert not target.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    target, path = tmp_path / "ran", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"weight": _Payload(target)}, protocol))
    with pytest.raises(InvalidCheckpoint, match=r"evil\.pth"):
        read_torch_file(path)
    assert not target.exists()


def test_torchs_older_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"x": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_torch_file(path)["x"], torch.ones(3))


def test_a_file_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_FILE_BYTES", 1 << 20)
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes((1 << 20) + 1))
    assert path.stat().st_size < 10_000
    with pytest.raises(UnsafeCheckpoint, match="would take"):
        read_torch_file(path)


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04broken"])
def test_a_file_that_is_no_torch_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match="no torch file"):
        read_torch_file(path)


def test_a_truncated_torch_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"weight": torch.ones(10_000)}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InvalidCheckpoint):
        read_torch_file(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_torch_file, read_safetensors):
        with pytest.raises(MissingWeights, match="absent"):
            read(tmp_path / "absent")


def test_loading_names_what_is_missing_extra_or_of_another_shape() -> None:
    module = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    load_strictly(module, good, "file", InvalidWeights)
    assert not module.weight.requires_grad
    for state, message in (
        ({"weight": good["weight"]}, "file lacks bias"),
        ({**good, "more": torch.ones(1)}, "unknown more"),
        ({**good, "bias": torch.ones(4)}, "wrong shape of bias"),
    ):
        with pytest.raises(InvalidWeights, match=message):
            load_strictly(module, state, "file", InvalidWeights)


def test_modules_without_weights_take_no_memory_and_no_first_values() -> None:
    with without_weights():
        built = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.GRU(4, 4), nn.Conv1d(4, 4, 3))
    assert {parameter.device.type for parameter in built.parameters()} == {"meta"}
    state = {key: torch.ones(tensor.shape) for key, tensor in built.state_dict().items()}
    load_strictly(built, state, "x.pt", InvalidWeights)
    assert built[0](torch.tensor([1])).tolist() == [[1.0] * 4]


def test_modules_built_later_have_first_values_again() -> None:
    with without_weights():
        nn.Linear(4, 4)
    assert nn.Linear(4, 4).weight.std() > 0
