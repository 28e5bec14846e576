"""The right to use a model now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from gpu.errors import LeaseReleased
from gpu.state import RequestToken, Terms


@dataclass(frozen=True)
class Arrival:
    """How a request found its model and what it waited for.

    `state` is ready, offloaded or unloaded; `load_s` is the part of `waited_s` spent loading.
    """

    state: str
    waited_s: float
    load_s: float


class Lease:
    """Keeps one model on its device until released; `with lease as model` releases at the end."""

    def __init__(
        self,
        model_id: str,
        request: tuple[Terms, RequestToken | None],
        model: Any,
        arrival: Arrival,
        granted_at: float,
        give_back: Callable[[Lease], None],
    ) -> None:
        self.model_id = model_id
        self.terms, self.token = request
        self.holder = self.terms.holder
        self.is_overdue = False
        self.state_at_arrival = arrival.state
        self.waited_s = arrival.waited_s
        self.load_s = arrival.load_s
        self.granted_at = granted_at
        self._model = model
        self._give_back: Callable[[Lease], None] | None = give_back

    @property
    def model(self) -> Any:
        """The model; raise `LeaseReleased` once the lease was given back."""
        model = self._model
        if model is None:
            raise LeaseReleased(f"The lease on {self.model_id} was released.")
        return model

    @property
    def released(self) -> bool:
        """Whether the lease was given back."""
        return self._give_back is None

    def release(self) -> None:
        """Give the model back; a second call does nothing. Never waits for a lock."""
        give_back, self._give_back, self._model = self._give_back, None, None
        if give_back is not None:
            give_back(self)

    def __enter__(self) -> Any:
        return self.model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
