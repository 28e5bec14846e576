"""A moment of silence converted while the server is idle: does what is loaded still work?"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.rvc import ConversionModels
from gpu.effects import attempt
from gpu.errors import NotReady
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server.leases import Waits, Wish

if TYPE_CHECKING:
    from server.conversion import DeviceConverter

logger = logging.getLogger(__name__)

HOLDER = "canary"
TRIAL_S = 30.0  # what half a second of silence may take at most
LOOK_S = 1.0


@dataclass(frozen=True)
class Trial:
    """How an attempt on one device went; `problem` None means well, or not tried."""

    tried: bool
    problem: str | None = None


NOT_TRIED = Trial(False)


def try_voice(converter: DeviceConverter) -> Trial:
    """Convert silence with a voice that is on its device, if there is one.

    Nothing is loaded for it and no idle timer begins anew, so it keeps no model on the device.
    """
    ready = [name for name, state in converter.leases.states().items() if state == "ready"]
    names = [name for name in ready if name in converter.registry.voices()]
    if not names:
        return NOT_TRIED
    _, error = attempt(lambda: _convert_silence(converter, names[0]), "The canary")
    if isinstance(error, NotReady):  # offloaded, or in use by somebody
        return NOT_TRIED
    return Trial(True, None if error is None else f"A trial with {names[0]} failed: {error}")


def _convert_silence(converter: DeviceConverter, name: str) -> None:
    engine, leases, wish = converter.engine, converter.leases, Wish(HOLDER, Waits(), passing=True)
    entry = converter.registry.find(name)
    facts, options = converter.facts(entry.path, entry.identity), ConversionOptions()
    voice = engine.voice(name, converter.registry.content_hash(entry), entry.path)
    with ExitStack() as stack:
        content = stack.enter_context(leases.shared(engine.content(facts), wish))
        f0 = None
        if facts.config.uses_f0:
            method = engine.f0_method(options.f0_method)
            f0 = stack.enter_context(leases.shared(engine.f0(method), wish))
        session = stack.enter_context(leases.voice(name, voice, wish))
        models = ConversionModels(session, content, f0, None)
        engine.convert(models, engine.silence(), options, Token(TRIAL_S))


class Canary:
    """Has every device tried once in each `every_s` seconds of idleness.

    `n_at_hand` says how many conversions wait or run, `completed` how many each device has done,
    `try_all` tries them. A device that failed is bad until a trial or a conversion succeeds.
    """

    def __init__(
        self,
        every_s: float,
        n_at_hand: Callable[[], int],
        completed: Callable[[], Mapping[int, int]],
        try_all: Callable[[], Mapping[int, Trial]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every_s = every_s
        self._n_at_hand = n_at_hand
        self._completed = completed
        self._try_all = try_all
        self._clock = clock
        self._seen: Mapping[int, int] = {}
        self._quiet_since = clock()
        self._bad: dict[int, tuple[str, int]] = {}  # problem, and what it had completed by then
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="canary", daemon=True)

    def start(self) -> None:
        """Look every second from now on, unless the interval is 0."""
        if self._every_s > 0 and not self._stopped.is_set() and not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def look(self) -> None:
        """Try the devices if the server has been idle for long enough."""
        now, seen = self._clock(), dict(self._completed())
        if self._n_at_hand() or seen != self._seen:
            self._seen, self._quiet_since = seen, now
        elif now - self._quiet_since >= self._every_s:
            self._quiet_since = now
            self._note(self._try_all(), seen)

    def problems(self) -> dict[int, str]:
        """What is wrong with which device."""
        completed = self._completed()
        return {
            device: problem
            for device, (problem, before) in dict(self._bad).items()
            if completed.get(device, 0) == before
        }

    def _note(self, trials: Mapping[int, Trial], completed: Mapping[int, int]) -> None:
        for device, trial in trials.items():
            if trial.problem is not None:
                logger.error("Device %d: %s", device, trial.problem)
                self._bad[device] = (trial.problem, completed.get(device, 0))
            elif trial.tried:
                self._bad.pop(device, None)

    def _loop(self) -> None:
        while not self._stopped.wait(LOOK_S):
            attempt(self.look, "Looking for idleness")
