"""What can go wrong between a request and its model, each with a stable `code`."""

from __future__ import annotations

from typing import ClassVar


class GpuError(Exception):
    """A model cannot be had; `retryable` says whether the same call may succeed later."""

    code: ClassVar[str] = "gpu_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.cause = cause
        self.__cause__ = cause


class ModelNotFound(GpuError):
    """No model is registered under that id."""

    code = "model_not_found"


class InvalidSpec(GpuError):
    """A model was described with a value outside of what is allowed."""

    code = "invalid_spec"


class LoadFailed(GpuError):
    """The model could not be brought to its device; `cause` is what its loader raised."""

    code = "load_failed"
    retryable = True


class LoadBackoff(GpuError):
    """The last load failed a moment ago; `cause` is why, `retry_after_s` when to come back."""

    code = "load_backoff"
    retryable = True


class InsufficientMemory(GpuError):
    """The model can never fit into the device's memory budget."""

    code = "insufficient_memory"


class DeviceFull(GpuError):
    """The device has no room now: others hold it, or it ran out of memory; try again later."""

    code = "insufficient_vram"
    retryable = True


class WaitExpired(GpuError):
    """The request's deadline came before its model did."""

    code = "wait_expired"
    retryable = True


class NotReady(GpuError):
    """The model is not on its device, or is in use, and the request was only to pass by."""

    code = "not_ready"


class Draining(GpuError):
    """The manager is shutting down and grants no more leases."""

    code = "draining"
    retryable = True


class LeaseReleased(GpuError):
    """The lease was given back; its model may be gone."""

    code = "lease_released"


class IllegalTransition(GpuError):
    """A defect in the manager: a model was about to enter a state it cannot reach."""

    code = "illegal_transition"


class WorkerLost(GpuError):
    """The worker's process died or is not up; what it was doing is lost."""

    code = "worker_lost"
    retryable = True


class WorkerBusy(GpuError):
    """The worker's process did not answer in time."""

    code = "worker_busy"
    retryable = True


class TaskFailed(GpuError):
    """A task's error or result that cannot be sent from its process; the message tells of it."""

    code = "task_failed"
