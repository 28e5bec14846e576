"""Models on loan from the GPU manager: registered when first needed, forgotten with their file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.rvc import LoadableModel
from gpu.errors import GpuError
from gpu.state import NEVER, ModelSpec
from rvc_core.errors import CoreError
from rvc_core.token import Token
from server.errors import ServerError
from server.settings import Settings

if TYPE_CHECKING:
    from gpu_manager import GPUResourceManager

STUCK_AFTER_S = 30.0


@dataclass
class Waits:
    """What a request waited for, in seconds, and how it found the model acquired last."""

    queue_s: float = 0.0
    load_s: float = 0.0
    state: str = "unloaded"

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Count the time of the block as waiting in line."""
        started = time.perf_counter()
        yield
        self.queue_s += time.perf_counter() - started


@dataclass(frozen=True)
class Wish:
    """On whose behalf a model is leased and on what terms; `waits` is added to."""

    holder: str
    waits: Waits
    token: Token | None = None
    is_batch: bool = False
    keep_alive_s: float | None = None
    passing: bool = False  # only look: nothing is loaded for it, and idle timers run on


class Leases:
    """Hands out models of one device; nothing else calls the manager's `acquire`.

    `on_pressure` is told each new level of memory pressure: none, soft, hard or critical.
    `drop_caches` is called first when the memory that models are in has run out.
    """

    def __init__(self, settings: Settings, build_gpu: Callable[[], GPUResourceManager]) -> None:
        self.on_pressure: Callable[[str], None] = lambda level: None
        self.drop_caches: Callable[[], None] = lambda: None
        self._settings = settings
        self._build_gpu = build_gpu
        self._gpu: GPUResourceManager | None = None
        self._is_changed = False  # whether settings differ from those that the manager begins with
        self._building = threading.Lock()
        self._voice_ids: dict[str, str] = {}  # by name, of the file as it was last used
        self._pinned: set[str] = set()  # names of voices
        self._registered: set[str] = set()
        self._registering = threading.Lock()

    @property
    def gpu(self) -> GPUResourceManager:
        """The manager; the first call builds it, which imports torch."""
        with self._building:
            if self._gpu is None:
                self._gpu = self._build_gpu()
                if self._is_changed:
                    self._set_bounds(self._gpu)
                self._gpu.on_pressure(lambda level: self.on_pressure(level))
                if self._gpu.device == "cpu":  # what is cached is in host memory
                    self._gpu.on_memory_failure(lambda: self.drop_caches())
            return self._gpu

    @property
    def is_open(self) -> bool:
        """Whether the manager was built."""
        return self._gpu is not None

    @property
    def device(self) -> str:
        """The device of models, or what the settings ask for while that is not known."""
        return self._settings.device if self._gpu is None else self._gpu.device

    @contextmanager
    def shared(self, model: LoadableModel, wish: Wish) -> Iterator[Any]:
        """Hold a model that many requests use at once and that stays in memory."""
        spec = ModelSpec(
            id=model.id,
            engine="rvc",
            load=model.load,
            concurrency=self._settings.concurrent_conversions + 2,  # warm-up and curves too
            offload_after_s=self._settings.gpu_offload_after,
            release_after_s=NEVER,
            nbytes_estimate=model.nbytes_estimate,
        )
        with self._hold(spec, wish) as held:
            yield held

    @contextmanager
    def voice(self, name: str, model: LoadableModel, wish: Wish) -> Iterator[Any]:
        """Hold a voice; a former file of that name is let go."""
        self._forget(name, unless=model.id)
        self._voice_ids[name] = model.id
        spec = ModelSpec(
            id=model.id,
            engine="rvc",
            load=model.load,
            concurrency=self._settings.voice_concurrency,
            offload_after_s=self._settings.gpu_offload_after,
            release_after_s=self._settings.gpu_idle_timeout,
            counted=True,
            nbytes_estimate=model.nbytes_estimate,
        )
        with self._hold(spec, wish, pinned=name in self._pinned) as session:
            yield session

    def set_pinned(self, name: str, pinned: bool) -> None:
        """Keep a voice on its device once it is there, or no longer."""
        with self._registering:
            (self._pinned.add if pinned else self._pinned.discard)(name)
            model_id = self._voice_ids.get(name)
            if model_id in self._registered:
                self.gpu.set_pinned(str(model_id), pinned)

    def change(self, settings: Settings) -> None:
        """Work by other timers and bounds from now on; what is due or too much by them goes."""
        with self._building:
            self._settings, self._is_changed = settings, True
            if self._gpu is None:
                return
            self._set_bounds(self._gpu)
        with self._registering:
            voices = set(self._voice_ids.values())
            for model_id in self._registered:
                release_after_s = settings.gpu_idle_timeout if model_id in voices else NEVER
                self._gpu.set_timers(model_id, settings.gpu_offload_after, release_after_s)

    def is_pinned(self, name: str) -> bool:
        """Whether the voice is to stay on its device."""
        return name in self._pinned

    def model_id(self, name: str) -> str | None:
        """Under which id the manager knows a voice; None if it does not."""
        model_id = self._voice_ids.get(name)
        return model_id if model_id in self._registered else None

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Let voices go whose files are gone; conversions that hold one finish."""
        for name in set(self._voice_ids) - set(names):
            self._forget(name)

    def states(self) -> dict[str, str]:
        """State by voice name; voices that were never used are missing."""
        if self._gpu is None:
            return {}
        by_id = self._gpu.states()
        return {name: by_id[id] for name, id in dict(self._voice_ids).items() if id in by_id}

    def is_alive(self) -> bool:
        """Whether the manager's loop still turns."""
        return self._gpu is None or self._gpu.heartbeat_age_s() <= STUCK_AFTER_S

    def close(self) -> None:
        """Let all models go."""
        if self._gpu is not None:
            self._gpu.close()

    @contextmanager
    def _hold(self, spec: ModelSpec, wish: Wish, pinned: bool = False) -> Iterator[Any]:
        with self._registering:
            if spec.id not in self._registered:
                self.gpu.register(spec)
                self._registered.add(spec.id)
                if pinned:
                    self.gpu.set_pinned(spec.id, True)
        try:
            if wish.passing:
                lease = self.gpu.borrow(spec.id, wish.holder)
            else:
                lease = self.gpu.acquire(
                    spec.id, wish.token, wish.holder, wish.is_batch, wish.keep_alive_s
                )
        except GpuError as error:
            raise cause_of(error) from None
        with lease as model:
            waits = wish.waits
            waits.queue_s += max(0.0, lease.waited_s - lease.load_s)
            waits.load_s += lease.load_s
            waits.state = lease.state_at_arrival
            yield model

    def _set_bounds(self, gpu: GPUResourceManager) -> None:
        from gpu.probe import budget_of, probe_device

        total = probe_device(gpu.device).total_bytes
        budget = budget_of(total, self._settings.gpu_vram_budget)
        gpu.set_bounds(budget, self._settings.max_voices)

    def _forget(self, name: str, unless: str | None = None) -> None:
        with self._registering:
            old = self._voice_ids.get(name)
            if old is None or old == unless:
                return
            del self._voice_ids[name]
            if old in self._registered:
                self._registered.discard(old)
                self.gpu.unregister(old)


def cause_of(error: GpuError) -> GpuError | CoreError | ServerError:
    """What a loader raised, if that is an error of ours, else the manager's own error.

    A copy: the manager keeps the one error for all who come, and raising it in several threads
    would gather the tracebacks of all of them.
    """
    if not isinstance(error.cause, (CoreError, ServerError)):
        return error
    cause = copy(error.cause)
    cause.__traceback__ = None
    return cause
