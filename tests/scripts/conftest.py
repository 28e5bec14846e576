"""A small world for the shell scripts: no nvidia-smi, no Python, nothing of ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that is the whole PATH: what the scripts need, and no nvidia-smi."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("awk", "sort", "wc", "cat", "flock", "timeout", "dirname", "sh", "bash"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def environment(tools: Path, tmp_path: Path) -> dict[str, str]:
    """What the scripts see of the environment, and nothing of ours."""
    return {"PATH": str(tools), "GPU_LOCK_DIR": str(tmp_path), "HOME": str(tmp_path)}
