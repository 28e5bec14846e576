"""Telling errors that more memory would cure from all others."""

from __future__ import annotations

import errno
import sys

# As torch, CTranslate2, cuBLAS, cuDNN and ONNX Runtime word it.
PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "alloc_failed",
    "allocation_failed",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error`, or what it was raised from, is a lack of host or device memory."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if _is_itself(error):
            return True
        seen.add(id(error))
        error = error.__cause__
    return False


def _is_itself(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, *_of_torch())):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # ONNX Runtime's errors are plain exceptions of its own.
    from_library = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnx")
    return from_library and any(phrase in str(error).lower() for phrase in PHRASES)


def _of_torch() -> tuple[type[BaseException], ...]:
    """torch's own error, if anybody has imported torch: nobody else can have raised it."""
    kind = getattr(sys.modules.get("torch"), "OutOfMemoryError", None)
    return () if kind is None else (kind,)
