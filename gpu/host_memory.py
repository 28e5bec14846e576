"""Memory of the host as this process may use it: containers allow less than there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CACHE_SHARE = 0.25
PIN_SHARE = 0.125


@dataclass(frozen=True)
class HostMemory:
    """Bytes this process may use at all, bytes it may still take, and bytes it holds.

    `cgroup_bytes` is the limit of its control group, None without one.
    """

    limit_bytes: int
    available_bytes: int
    rss_bytes: int
    cgroup_bytes: int | None = None

    @property
    def default_cache_bytes(self) -> int:
        """How much offloaded models may take together: a quarter."""
        return int(CACHE_SHARE * self.limit_bytes)

    @property
    def default_pin_bytes(self) -> int:
        """How much of it may be pinned: an eighth."""
        return int(PIN_SHARE * self.limit_bytes)

    @property
    def free_fraction(self) -> float:
        """Available share, [0, 1], as the pressure gauge takes it."""
        return self.available_bytes / self.limit_bytes


@dataclass(frozen=True)
class _Group:
    """A control group's limit, and what it uses without the file cache that can be dropped."""

    limit_bytes: int
    used_bytes: int


def read_host_memory(root: Path = Path("/")) -> HostMemory:
    """Read /proc and /sys below `root`, control groups of version 1 and 2."""
    system = _read_table(root / "proc/meminfo")
    total, available = system["MemTotal"], system["MemAvailable"]
    groups = [group for group in _groups(root) if group.limit_bytes < total]
    return HostMemory(
        limit_bytes=min([total, *(group.limit_bytes for group in groups)]),
        available_bytes=max(
            0, min([available, *(group.limit_bytes - group.used_bytes for group in groups)])
        ),
        rss_bytes=_read_table(root / "proc/self/status").get("VmRSS", 0),
        cgroup_bytes=min((group.limit_bytes for group in groups), default=None),
    )


def _groups(root: Path) -> Iterator[_Group]:
    """All limited groups this process is in.

    Inside of a container the path may be the host's and lead nowhere, but then its parent in
    the mounted tree is the container's own group: every parent is looked at, and counts.
    """
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents):
            yield from _read_group(root / mount / folder, names)


def _read_group(folder: Path, names: tuple[str, str, str]) -> Iterator[_Group]:
    limit, used = _read_text(folder / names[0]).strip(), _read_text(folder / names[1]).strip()
    if limit.isdigit() and used.isdigit():  # else "max", or no such file
        droppable = _read_table(folder / "memory.stat").get(names[2], 0)
        yield _Group(int(limit), max(0, int(used) - droppable))


def _read_table(path: Path) -> dict[str, int]:
    """Numbers by name from lines like "MemTotal:  24 kB" or "inactive_file 24", in bytes."""
    table = {}
    for line in _read_text(path).splitlines():
        words = line.replace(":", " ").split()
        if len(words) >= 2 and words[1].isdigit():
            table[words[0]] = int(words[1]) * (1024 if words[2:] == ["kB"] else 1)
    return table


def _read_text(path: Path) -> str:
    """The file; nothing if there is none or it is not for us."""
    try:
        return path.read_text()
    except OSError:
        return ""
