"""What works in a worker process: one device's converter, reached through `gpu.worker`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu.worker_process import TaskControl
from rvc_core.token import Token
from server.conversion import DeviceConverter, open_converter
from server.logs import configure_logging, logging_as
from server.records import ConversionTask, Converted, Loaded, LoadTask
from server.settings import Settings, prepare_worker


class ConversionServant:
    """Converts one recording at a time and answers calls beside it."""

    def __init__(self, converter: DeviceConverter, number: int) -> None:
        self._converter = converter
        self._number = number
        converter.open()  # a process without its device must end, so that others take its work
        self._problem = converter.warm_up()
        converter.engine.warm_up()

    def run(self, task: ConversionTask | LoadTask, control: TaskControl) -> Converted | Loaded:
        """Convert or load; the token follows the request's in the other process."""
        token = Token(control.timeout_s)
        control.on_cancel(token.cancel)
        with logging_as(task.request_id):
            if isinstance(task, LoadTask):
                return self._converter.load(task, token)
            return self._converter.convert(task, token, control.report)

    def status(self) -> dict[str, Any]:
        """What the other process shows of this one."""
        device = self._converter.status()
        if device is not None:
            device["index"] = self._number
        leases = self._converter.leases
        return {"voices": leases.states(), "device": device, "problem": self._problem}

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Do one of the calls of `WorkerLane`."""
        if name == "force":
            wait_s = float(arguments["wait_s"])
            action, voice = arguments["action"], arguments["voice"]
            return self._converter.force(action, voice, wait_s, arguments.get("cancel", False))
        if name == "change":
            return self._converter.leases.change(arguments["settings"])
        if name == "try_voice":
            return self._converter.try_voice()
        if name == "set_pinned":
            return self._converter.leases.set_pinned(arguments["voice"], arguments["pinned"])
        raise ValueError(f"There is no call {name}.")

    def close(self) -> None:
        """Let all models go."""
        self._converter.close()


def build_servant(
    settings: Settings, device: str, number: int, n_workers: int
) -> ConversionServant:
    """Build the converter of `device`, the only GPU that this process sees."""
    configure_logging(settings, worker=number)
    shown = prepare_worker(settings, device)
    return ConversionServant(open_converter(settings, shown, n_workers), number)
