"""The weights and clips of the parity cases, written once a session."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.parity import recipe
from tests.parity.clips import make_clip, write_clip
from tests.parity.weights import write_hubert, write_index, write_rmvpe, write_voices


def load_cases() -> dict[str, Any]:
    """Clips and cases with the settings that Official RVC was run with."""
    return cast("dict[str, Any]", json.loads((recipe.DATA / "cases.json").read_text()))


@dataclass(frozen=True)
class ParityFiles:
    """Where the files that a case names lie."""

    folder: Path

    @property
    def hubert(self) -> Path:
        """The content encoder."""
        return self.folder / "hubert_base"

    @property
    def rmvpe(self) -> Path:
        """The F0 estimator."""
        return self.folder / "rmvpe.pt"

    def voice(self, name: str) -> Path:
        """The checkpoint of a voice such as `v2_40k_f0`."""
        return self.folder / f"{name}.pth"

    def index(self, version: str) -> Path:
        """The index of a version."""
        return self.folder / f"added_{version}.index"

    def clip(self, name: str) -> Path:
        """The recording."""
        return self.folder / f"{name}.wav"


@pytest.fixture(scope="session")
def parity_files(tmp_path_factory: pytest.TempPathFactory) -> ParityFiles:
    """Everything that the cases need; clips are checked against their stored hashes."""
    files = ParityFiles(tmp_path_factory.mktemp("parity"))
    manifest, cases = recipe.load_manifest(), load_cases()
    write_hubert(files.hubert, manifest)
    write_rmvpe(files.rmvpe, manifest)
    write_voices(files.folder, {case["voice"] for case in cases["cases"].values()}, manifest)
    write_index(files.index("v2"), "v2")
    for name, expected in cases["clips"].items():
        assert write_clip(files.clip(name), *make_clip(name)) == expected
    return files


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """The long cases take minutes on one core; their results do not depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(before)
