"""What all models that are one network have in common: their size, and moving them."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn

from rvc_core.weights import module_bytes

N = TypeVar("N", bound=nn.Module)


class NetworkModel(Generic[N]):
    """A network and the tables of its front end, which move with it.

    `TABLES` names the attributes that hold them; set these before calling `__init__`.
    """

    TABLES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, network: N, device: str = "cpu") -> None:
        self._network = network.eval()
        self.to(device)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and the tables."""
        return module_bytes(self._network) + sum(table.nbytes for table in self._tables().values())

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What holds the weights."""
        return (self._network,)

    def to(self, device: str) -> None:
        """Move everything to `device`; not while the model is used."""
        self._network.to(device)
        for name, table in self._tables().items():
            setattr(self, name, table.to(device))

    def _tables(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.TABLES}
