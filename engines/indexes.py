"""Feature indexes in host memory: read once for each file, the least recently used leave first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from rvc_core.errors import InvalidIndex

if TYPE_CHECKING:
    from rvc_core.retrieval import FeatureIndex

Identity = tuple[Path, int, int]  # changes when the file does; the second is its size in bytes


class IndexCache:
    """Keeps indexes up to `max_bytes`, and the one used last however large; any thread may ask."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._indexes: OrderedDict[Identity, FeatureIndex] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # one at a time: two readers would hold the bytes twice

    @property
    def nbytes(self) -> int:
        """Bytes of the files of all indexes kept."""
        return sum(size for _, size, _ in list(self._indexes))

    def get(self, path: Path) -> FeatureIndex:
        """The index at `path`; raise `InvalidIndex` if it cannot be searched."""
        identity = _identity(path)
        kept = self._find(identity)
        if kept is not None:
            return kept
        with self._reading:
            return self._find(identity) or self._read(identity)

    def clear(self) -> None:
        """Forget all indexes; conversions that use one finish."""
        with self._lock:
            self._indexes.clear()

    def _find(self, identity: Identity) -> FeatureIndex | None:
        with self._lock:
            if identity in self._indexes:
                self._indexes.move_to_end(identity)
            return self._indexes.get(identity)

    def _read(self, identity: Identity) -> FeatureIndex:
        from rvc_core.retrieval import load_index

        self._make_room(identity)
        index = load_index(identity[0])
        with self._lock:
            self._indexes[identity] = index
        return index

    def _make_room(self, coming: Identity) -> None:
        # Before it is read: two need not fit in memory.
        with self._lock:
            for old in [kept for kept in self._indexes if kept[0] == coming[0]]:
                del self._indexes[old]
            while self._indexes and self.nbytes + coming[1] > self._max_bytes:
                self._indexes.popitem(last=False)


def _identity(path: Path) -> Identity:
    try:
        stat = path.stat()
    except OSError:
        raise InvalidIndex(f"There is no index {path}.", value=str(path)) from None
    return path, stat.st_size, stat.st_mtime_ns
