"""How errors look outside: as the API says, here too."""

from __future__ import annotations

from typing import Any

from gpu.errors import GpuError
from rvc_core.errors import CoreError
from server.errors import ServerError
from server.jobs.records import Fault

NAMED = (CoreError, GpuError, ServerError)
INTERNAL = Fault("internal_error", "The server failed; its log has the details under this id.")


def fault_of(error: CoreError | GpuError | ServerError) -> Fault:
    """What is kept of an error; of a defect only that it was one."""
    from server.api.problems import DEFECTS  # it knows Flask, which workers need not

    if error.code in DEFECTS:
        return INTERNAL
    return Fault(error.code, error.message, getattr(error, "param", None))


def error_shape(fault: Fault) -> dict[str, Any]:
    """The inner part of an error's body, as plain values for JSON."""
    from server.api.problems import error_detail

    return error_detail(fault.code, fault.message, fault.param).model_dump()
