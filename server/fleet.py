"""All devices together: one line of requests before them, one picture of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rvc_core.token import Token
from server.admission import Admission
from server.canary import Trial
from server.lanes import NOTHING_MOVED, Lane, OnReport, WorkerLane
from server.metrics import Journey
from server.placement import Priority
from server.records import ConversionTask, Converted, Loaded, LoadTask
from server.settings import Settings

OpenLanes = Callable[[Callable[[], None]], Sequence[Lane]]
NOBODY: Mapping[int, str] = {}
WARMEST = ("ready", "loading", "offloading", "offloaded", "releasing", "failed", "unloaded")


class Fleet:
    """Places conversions on lanes; `open_lanes` is given what to call when a lane has changed."""

    def __init__(self, settings: Settings, open_lanes: OpenLanes) -> None:
        self._lanes: Sequence[Lane] = ()
        self.admission = Admission(
            lambda: [lane.facts() for lane in self._lanes],
            max_waiting_per_lane=settings.max_queue_per_gpu,
            voice_concurrency=settings.voice_concurrency,
            max_replicas=settings.max_replicas_per_model or None,
        )
        self._lanes = open_lanes(self.admission.replan)
        self.admission.replan()  # it knows the lanes from now on, so the status shows them

    def convert(
        self,
        task: ConversionTask,
        token: Token,
        priority: Priority,
        on_report: OnReport | None,
        journey: Journey,
    ) -> Converted:
        """Convert on the best device; `journey` is told of the wait for it."""
        journey.join()
        with self.admission.place(token, task.entry.name, priority) as place:
            journey.start(place.lane)
            done = self._lanes[place.lane].convert(task, token, on_report)
            if done.state_at_arrival != "ready":
                place.note_load(done.load_s, restored=done.state_at_arrival == "offloaded")
            return done

    def load(self, task: LoadTask, token: Token) -> Loaded:
        """Bring a voice to the device where a conversion with it would run now."""
        name = task.entry.name
        with self.admission.admit(token), self.admission.place(token, name) as place:
            place.is_run = False
            return self._lanes[place.lane].load(task, token)

    def warm_up(self) -> None:
        """Have every device load what all conversions share."""
        for lane in self._lanes:
            lane.warm_up()

    def is_served(self, failed: Mapping[int, str] = NOBODY) -> bool:
        """Whether a device takes work and has what it needs; those in `failed` do not count."""
        return any(
            lane.facts().is_up and not lane.problem() and number not in failed
            for number, lane in enumerate(self._lanes)
        )

    @property
    def is_local(self) -> bool:
        """Whether this process is the one that converts."""
        return len(self._lanes) == 1

    @property
    def devices(self) -> list[str]:
        """The names of all devices that are meant to convert."""
        meant = self._lanes if self.is_local else self._lanes[:-1]
        return [lane.device for lane in meant]

    @property
    def workers(self) -> list[WorkerLane]:
        """The devices that have processes of their own."""
        return [lane for lane in self._lanes if isinstance(lane, WorkerLane)]

    def problems(self, failed: Mapping[int, str] = NOBODY) -> list[str]:
        """What is wrong with which device, by itself or as `failed` says."""
        found = [lane.problem() or failed.get(n) for n, lane in enumerate(self._lanes)]
        return [problem for problem in found if problem]

    def try_voices(self) -> dict[int, Trial]:
        """See on each device whether a voice that is there still works."""
        return {number: lane.try_voice() for number, lane in enumerate(self._lanes)}

    def change(self, settings: Settings) -> None:
        """Have all devices work by other idle timers and bounds."""
        for lane in self._lanes:
            lane.change(settings)

    def states(self) -> dict[str, tuple[str, str | None]]:
        """State and device by voice name, of the device where it is warmest."""
        best: dict[str, tuple[str, str | None]] = {}
        for lane in self._lanes:
            for name, state in lane.states().items():
                device = {"ready": lane.device, "offloaded": "cpu"}.get(state)
                if name not in best or WARMEST.index(state) < WARMEST.index(best[name][0]):
                    best[name] = (state, device)
        return best

    def status(self) -> dict[str, Any]:
        """All devices with their models, workers and queues, as plain values for JSON.

        `mode` is concurrent with several workers, else single (a GPU) or cpu.
        """
        devices = []
        for index, (lane, queue) in enumerate(
            zip(self._lanes, self.admission.counts(), strict=False)
        ):
            status = lane.status()
            if status is not None:
                devices.append({"worker": None, **status, "index": index, "queue": queue})
        alone = "single" if self._lanes[0].device.startswith("cuda") else "cpu"
        mode = alone if self.is_local else "concurrent"
        return {
            "generated_at": round(time.time(), 3),
            "mode": mode,
            "devices": devices,
            "waiting": [asdict(waiting) for waiting in self.admission.waiting()],
        }

    def n_waiting(self) -> dict[int, int]:
        """How many conversions in line are expected on which lane, by its number."""
        line = self.admission.waiting()
        return Counter(waiting.lane for waiting in line if waiting.lane is not None)

    def force(
        self, action: str, voice: str | None, timeout_s: float, cancel: bool = False
    ) -> dict[str, Any]:
        """Offload or release a voice, or all models but the pinned ones, on every device."""
        total = dict(NOTHING_MOVED)
        for lane in self._lanes:
            moved = lane.force(action, voice, timeout_s, cancel)
            total = {key: total[key] + moved[key] for key in total}
        return total

    def set_pinned(self, voice: str, pinned: bool) -> None:
        """Keep a voice on its devices once it is there, or no longer."""
        for lane in self._lanes:
            lane.set_pinned(voice, pinned)

    def close(self) -> None:
        """Let all models go."""
        for lane in self._lanes:
            lane.close(0.0)
