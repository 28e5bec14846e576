"""The ways to a device: conversions run in this process, or in a worker process that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gpu.errors import WorkerBusy, WorkerLost
from gpu.force import ForceResult
from gpu.worker import Worker
from rvc_core.token import Token
from server.admission import LaneFacts
from server.canary import NOT_TRIED, TRIAL_S, Trial
from server.conversion import DeviceConverter, open_converter
from server.records import ConversionTask, Converted, Loaded, LoadTask, ResultPart
from server.servant import ConversionServant, build_servant
from server.settings import Settings

if TYPE_CHECKING:
    from rvc_core.run import Progress

OnReport = Callable[["Progress | ResultPart"], None]
BuildOf = Callable[[Settings], Callable[[], ConversionServant]]
START_S = 120.0  # for a worker to import torch and load what all conversions share
NOTHING_MOVED = ForceResult().to_dict()


class Lane(Protocol):
    """One device."""

    @property
    def device(self) -> str:
        """Its name."""

    def facts(self) -> LaneFacts:
        """What placement needs to know."""

    def problem(self) -> str | None:
        """Why the device takes no work, if so; for people."""

    def warm_up(self) -> None:
        """Load what all conversions share, and wait for it."""

    def convert(self, task: ConversionTask, token: Token, on_report: OnReport | None) -> Converted:
        """Convert on this device."""

    def load(self, task: LoadTask, token: Token) -> Loaded:
        """Bring a voice to this device."""

    def states(self) -> dict[str, str]:
        """State by voice name, of voices that were used here."""

    def status(self) -> dict[str, Any] | None:
        """The device and its models; None while nothing is known."""

    def force(
        self, action: str, voice: str | None, timeout_s: float, cancel: bool = False
    ) -> dict[str, Any]:
        """Offload or release a voice, or all models but the pinned ones; or `cancel`."""

    def change(self, settings: Settings) -> None:
        """Work by other idle timers and bounds from now on."""

    def try_voice(self) -> Trial:
        """See whether a voice that is on the device still works."""

    def set_pinned(self, voice: str, pinned: bool) -> None:
        """Keep a voice on the device, or no longer."""

    def close(self, timeout_s: float) -> None:
        """Let all models go; running work has `timeout_s` to end."""


class LocalLane:
    """The device of this process; with `is_needed` it is used only while that is true."""

    def __init__(
        self,
        converter: DeviceConverter,
        slots: int,
        is_needed: Callable[[], bool] | None = None,
    ) -> None:
        self.converter = converter
        self._slots = slots
        self._is_needed = is_needed
        self._problem = "The models are loading." if is_needed is None else None

    @property
    def device(self) -> str:
        """As torch calls it, once that is known."""
        return self.converter.leases.device

    def facts(self) -> LaneFacts:
        """Where its voices are makes no difference: it is the only one."""
        return LaneFacts(self._slots, self._is_needed is None or self._is_needed())

    def problem(self) -> str | None:
        """What kept the shared models from loading."""
        return self._problem

    def warm_up(self) -> None:
        """Load the shared models; a lane for emergencies does that when it is needed."""
        if self._is_needed is None:
            self._problem = self.converter.warm_up()

    def convert(self, task: ConversionTask, token: Token, on_report: OnReport | None) -> Converted:
        """Convert in the caller's thread."""
        return self.converter.convert(task, token, on_report)

    def load(self, task: LoadTask, token: Token) -> Loaded:
        """Load in the caller's thread."""
        return self.converter.load(task, token)

    def states(self) -> dict[str, str]:
        """State by voice name."""
        return self.converter.leases.states()

    def status(self) -> dict[str, Any] | None:
        """The device and its models."""
        return self.converter.status()

    def force(
        self, action: str, voice: str | None, timeout_s: float, cancel: bool = False
    ) -> dict[str, Any]:
        """Offload or release."""
        return self.converter.force(action, voice, timeout_s, cancel)

    def change(self, settings: Settings) -> None:
        """Work by other idle timers and bounds from now on."""
        self.converter.leases.change(settings)

    def try_voice(self) -> Trial:
        """See whether a voice that is on the device still works."""
        return self.converter.try_voice()

    def set_pinned(self, voice: str, pinned: bool) -> None:
        """Keep a voice on the device, or no longer."""
        self.converter.leases.set_pinned(voice, pinned)

    def close(self, timeout_s: float) -> None:
        """Let all models go."""
        self.converter.close()


class WorkerLane:
    """A device with a process of its own."""

    def __init__(self, worker: Worker, device: str, build: BuildOf | None = None) -> None:
        self._worker = worker
        self._device = device
        self._build = build
        self._unheard: Settings | None = None  # what the process was not up to be told

    @property
    def device(self) -> str:
        """As the settings call it."""
        return self._device

    def facts(self) -> LaneFacts:
        """One conversion at a time."""
        view = self._worker.view
        return LaneFacts(1, view.state == "up", (view.status or {}).get("voices", {}))

    def problem(self) -> str | None:
        """Why the worker is not up, or what its shared models lack."""
        view = self._worker.view
        if view.state != "up":
            return f"The worker of {self._device} is {view.state}: {view.last_error or 'soon up'}."
        problem = (view.status or {}).get("problem")
        return None if problem is None else str(problem)

    def warm_up(self) -> None:
        """Wait for the worker, which loads the shared models as it starts."""
        self._worker.wait_up(START_S)

    def convert(self, task: ConversionTask, token: Token, on_report: OnReport | None) -> Converted:
        """Convert in the worker; `WorkerLost` if it dies."""
        self._tell_unheard()

        # There every GPU is the only one, cuda:0.
        def on_report_there(report: Progress | ResultPart) -> None:
            if isinstance(report, ResultPart):
                report = replace(report, device=self._device)
            if on_report is not None:
                on_report(report)

        done: Converted = self._worker.run(task, token, on_report_there)
        return replace(done, device=self._device)

    def load(self, task: LoadTask, token: Token) -> Loaded:
        """Load in the worker; `WorkerLost` if it dies."""
        loaded: Loaded = self._worker.run(task, token)
        return loaded if loaded.device in (None, "cpu") else replace(loaded, device=self._device)

    def states(self) -> dict[str, str]:
        """State by voice name, as of the last second."""
        return dict((self._worker.view.status or {}).get("voices", {}))

    def status(self) -> dict[str, Any] | None:
        """The device and its models as of the last second, and the worker."""
        view = self._worker.view
        device = (view.status or {}).get("device")
        worker = {
            "pid": view.pid,
            "state": view.state,
            "restarts": view.restarts,
            "heartbeat_age_s": view.heartbeat_age_s,
            "last_error": view.last_error,
        }
        return {"name": self._device, "models": [], **(device or {}), "worker": worker}

    def force(
        self, action: str, voice: str | None, timeout_s: float, cancel: bool = False
    ) -> dict[str, Any]:
        """Offload or release in the worker; a dead one holds nothing."""
        if self._worker.view.state != "up":
            return dict(NOTHING_MOVED)
        call = partial(self._worker.call, "force", timeout_s=timeout_s + 5.0)
        moved: dict[str, Any] = call(action=action, voice=voice, wait_s=timeout_s, cancel=cancel)
        return moved

    def change(self, settings: Settings) -> None:
        """Tell the process, and those that will take its place; one that starts hears it later."""
        if self._build is not None:
            self._worker.build_with(self._build(settings))
        self._unheard = settings
        self._tell_unheard()

    def try_voice(self) -> Trial:
        """See whether a voice in the worker still works; a dead one is another's affair."""
        try:
            trial: Trial = self._worker.call("try_voice", timeout_s=TRIAL_S)
        except (WorkerLost, WorkerBusy):
            return NOT_TRIED
        return trial

    def renew(self, timeout_s: float) -> None:
        """Put another process in place of this one; raise `WorkerBusy` or `WorkerLost`."""
        self._worker.renew(timeout_s)

    def _tell_unheard(self) -> None:
        settings = self._unheard
        if settings is not None:
            with suppress(WorkerLost, WorkerBusy):
                self._worker.call("change", settings=settings)
                self._unheard = None

    def set_pinned(self, voice: str, pinned: bool) -> None:
        """Keep a voice on the device, or no longer; a dead worker hears of it with its next."""
        with suppress(WorkerLost):
            self._worker.call("set_pinned", voice=voice, pinned=pinned)

    def close(self, timeout_s: float) -> None:
        """End the process."""
        self._worker.close(timeout_s)


def open_lanes(
    settings: Settings, local: DeviceConverter, devices: Sequence[str], changed: Callable[[], None]
) -> list[Lane]:
    """The lanes of all devices; `changed` is called whenever a worker or its voices change.

    One device is used in this process. Several have a worker each; should all of them be broken,
    `local` takes over as the last lane.
    """
    if len(devices) == 1:
        return [LocalLane(local, settings.concurrent_conversions)]
    workers: list[Worker] = []
    lanes: list[Lane] = []
    for number, device in enumerate(devices):
        build = partial(_builder, device, number, len(devices))
        worker = Worker(number, build(settings), on_change=changed)
        worker.start()
        workers.append(worker)
        lanes.append(WorkerLane(worker, device, build))

    def all_broken() -> bool:
        return all(worker.view.state == "broken" for worker in workers)

    return [*lanes, LocalLane(local, settings.concurrent_conversions, all_broken)]


def _builder(
    device: str, number: int, n_workers: int, settings: Settings
) -> Callable[[], ConversionServant]:
    return partial(build_servant, settings, device, number, n_workers)


def open_local(settings: Settings, devices: Sequence[str]) -> DeviceConverter:
    """The converter of this process; next to workers it has the CPU, for curves and the worst."""
    if len(devices) == 1:
        return open_converter(settings, devices[0], settings.concurrent_conversions)
    return open_converter(settings, "cpu", settings.concurrent_conversions + len(devices))
