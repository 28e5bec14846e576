"""Models on loan from the GPU manager: registered when first needed, forgotten with their file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.rvc import LoadableModel
from gpu.errors import GpuError
from gpu.state import NEVER, ModelSpec, Terms
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


class Leases:
    """Hands out models; nothing else calls the manager's `acquire`."""

    def __init__(self, settings: Settings, build_gpu: Callable[[], GPUResourceManager]) -> None:
        self._settings = settings
        self._build_gpu = build_gpu
        self._gpu: GPUResourceManager | None = None
        self._building = threading.Lock()
        self._voice_ids: dict[str, str] = {}  # by name, of the file as it was last used
        self._registered: set[str] = set()
        self._registering = threading.Lock()

    @property
    def gpu(self) -> GPUResourceManager:
        """The manager; the first call builds it, which imports torch."""
        with self._building:
            if self._gpu is None:
                self._gpu = self._build_gpu()
            return self._gpu

    @property
    def device(self) -> str:
        """The device of models, or what the settings ask for while that is not known."""
        return self._settings.device if self._gpu is None else self._gpu.device

    @contextmanager
    def shared(
        self, model: LoadableModel, token: Token | None, holder: str, waits: Waits
    ) -> Iterator[Any]:
        """Hold a model that many requests use at once and that stays in memory."""
        with self._hold(self._spec(model, self._most_users(), NEVER), token, holder, waits) as held:
            yield held

    @contextmanager
    def voice(
        self, name: str, model: LoadableModel, token: Token, holder: str, waits: Waits
    ) -> Iterator[Any]:
        """Hold a voice, alone; a former file of that name is let go."""
        self._forget(name, unless=model.id)
        self._voice_ids[name] = model.id
        spec = self._spec(model, 1, self._settings.gpu_idle_timeout)
        with self._hold(spec, token, holder, waits) as session:
            yield session

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Let voices go whose files are gone; conversions that hold one finish."""
        for name in set(self._voice_ids) - set(names):
            self._forget(name)

    def states(self) -> dict[str, str]:
        """State by voice name; voices that were never used are missing."""
        if self._gpu is None:
            return {}
        devices = self._gpu.get_status()["devices"]
        by_id = {model["id"]: model["state"] for device in devices for model in device["models"]}
        ids = dict(self._voice_ids)
        return {name: str(by_id[id]) for name, id in ids.items() if id in by_id}

    def is_alive(self) -> bool:
        """Whether the manager's loop still turns."""
        return self._gpu is None or self._gpu.heartbeat_age_s() <= STUCK_AFTER_S

    def close(self) -> None:
        """Let all models go."""
        if self._gpu is not None:
            self._gpu.close()

    def _most_users(self) -> int:
        return self._settings.concurrent_conversions + self._settings.max_queue_per_gpu + 1

    def _spec(self, model: LoadableModel, concurrency: int, release_after_s: float) -> ModelSpec:
        return ModelSpec(
            id=model.id,
            engine="rvc",
            load=model.load,
            concurrency=concurrency,
            offload_after_s=self._settings.gpu_offload_after,
            release_after_s=release_after_s,
        )

    @contextmanager
    def _hold(
        self, spec: ModelSpec, token: Token | None, holder: str, waits: Waits
    ) -> Iterator[Any]:
        with self._registering:
            if spec.id not in self._registered:
                self.gpu.register(spec)
                self._registered.add(spec.id)
        try:
            lease = self.gpu.acquire(spec.id, token, Terms(holder))
        except GpuError as error:
            raise cause_of(error) from None
        with lease as model:
            waits.queue_s += max(0.0, lease.waited_s - lease.load_s)
            waits.load_s += lease.load_s
            waits.state = lease.state_at_arrival
            yield model

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
    """What a loader raised, if that is an error of ours, else the manager's own error."""
    return error.cause if isinstance(error.cause, (CoreError, ServerError)) else error
