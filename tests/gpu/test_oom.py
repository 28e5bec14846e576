"""Which errors more memory would cure."""

from __future__ import annotations

import errno
import sys

import pytest
import torch

from gpu.oom import is_out_of_memory


class OfOnnx(Exception):
    """Stands for ONNX Runtime's own errors."""


OfOnnx.__module__ = "onnxruntime.capi"


def caused_by(cause: BaseException) -> BaseException:
    error = ValueError("the loader's own words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("whatever it says"),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OfOnnx("Failed to allocate memory for requested buffer of size 9"),
        caused_by(caused_by(MemoryError())),
    ],
    ids=repr,
)
def test_a_lack_of_memory_is_told(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("The user wrote: out of memory"),
        OSError(errno.ENOENT, "No such file"),
        caused_by(KeyError("weight")),
    ],
    ids=repr,
)
def test_other_errors_are_not(error: BaseException | None) -> None:
    assert not is_out_of_memory(error)


def test_errors_that_cause_each_other_come_to_an_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)


def test_torch_is_not_imported_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert is_out_of_memory(RuntimeError("out of memory"))
    assert "torch" not in sys.modules
