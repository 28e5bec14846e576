"""Host memory under control groups of either version."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu.host_memory import HostMemory, read_host_memory

MEMINFO = "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  600 kB\nHugePages_Total:  0\n"
KB = 1024
UNLIMITED = "9223372036854771712"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 1000 kB of which 600 are available; this process holds 50."""
    write(tmp_path, "proc/meminfo", MEMINFO)
    write(tmp_path, "proc/self/status", "Name:\tpython\nVmRSS:\t   50 kB\nThreads:\t3\n")
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def limit_v2(root: Path, folder: str, limit: str, used: int, inactive: int = 0) -> None:
    write(root, f"{folder}/memory.max", f"{limit}\n")
    write(root, f"{folder}/memory.current", f"{used}\n")
    write(root, f"{folder}/memory.stat", f"anon 5\ninactive_file {inactive}\nactive_file 7\n")


def limit_v1(root: Path, folder: str, limit: str, used: int, inactive: int = 0) -> None:
    write(root, f"{folder}/memory.limit_in_bytes", f"{limit}\n")
    write(root, f"{folder}/memory.usage_in_bytes", f"{used}\n")
    write(root, f"{folder}/memory.stat", f"inactive_file 3\ntotal_inactive_file {inactive}\n")


def test_without_a_control_group_the_machine_is_the_limit(root: Path) -> None:
    assert read_host_memory(root) == HostMemory(1000 * KB, 600 * KB, 50 * KB, None)


def test_a_group_of_version_2_limits_without_counting_files_that_can_be_dropped(
    root: Path,
) -> None:
    write(root, "proc/self/cgroup", "0::/\n")
    limit_v2(root, "sys/fs/cgroup", str(400 * KB), used=300 * KB, inactive=50 * KB)
    memory = read_host_memory(root)
    assert (memory.limit_bytes, memory.available_bytes) == (400 * KB, 150 * KB)
    assert memory.cgroup_bytes == 400 * KB


def test_the_tightest_parent_counts(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/user/server\n")
    limit_v2(root, "sys/fs/cgroup/user/server", "max", used=9)
    limit_v2(root, "sys/fs/cgroup/user", str(300 * KB), used=100 * KB)
    limit_v2(root, "sys/fs/cgroup", str(500 * KB), used=450 * KB)
    memory = read_host_memory(root)
    assert (memory.limit_bytes, memory.available_bytes) == (300 * KB, 50 * KB)


def test_a_group_of_version_1_limits(root: Path) -> None:
    write(root, "proc/self/cgroup", "5:cpu:/x\n4:memory,hugetlb:/docker/abc\n0::/\n")
    limit_v1(root, "sys/fs/cgroup/memory/docker/abc", str(200 * KB), used=90 * KB, inactive=KB)
    memory = read_host_memory(root)
    assert (memory.limit_bytes, memory.available_bytes) == (200 * KB, 111 * KB)


def test_inside_a_container_the_mounted_root_is_the_own_group(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/docker/of-the-host\n")
    limit_v1(root, "sys/fs/cgroup/memory", str(200 * KB), used=90 * KB)
    assert read_host_memory(root).limit_bytes == 200 * KB


def test_no_limit_is_no_group(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/\n0::/\n")
    limit_v1(root, "sys/fs/cgroup/memory", UNLIMITED, used=90 * KB)
    limit_v2(root, "sys/fs/cgroup", "max", used=90 * KB)
    assert read_host_memory(root) == HostMemory(1000 * KB, 600 * KB, 50 * KB, None)


def test_a_group_over_its_limit_leaves_nothing(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/\n")
    limit_v2(root, "sys/fs/cgroup", str(100 * KB), used=101 * KB)
    memory = read_host_memory(root)
    assert (memory.available_bytes, memory.free_fraction) == (0, 0.0)


def test_a_quarter_may_be_cached_and_an_eighth_pinned() -> None:
    memory = HostMemory(limit_bytes=800, available_bytes=200, rss_bytes=1)
    assert (memory.default_cache_bytes, memory.default_pin_bytes) == (200, 100)
    assert memory.free_fraction == 0.25


def test_this_machine_can_be_read() -> None:
    memory = read_host_memory()
    assert 0 < memory.rss_bytes < memory.limit_bytes
    assert 0 < memory.available_bytes <= memory.limit_bytes
