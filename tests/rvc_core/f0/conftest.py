from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rvc_core.f0 import F0Estimator, load_f0_estimator
from rvc_core.f0.rmvpe import RMVPE, load_rmvpe
from tests.parity import recipe
from tests.parity.weights import write_rmvpe


@pytest.fixture(scope="session")
def estimator_of() -> Callable[[str], F0Estimator]:
    """Estimators by method, each loaded once; all but rmvpe, which has no weights here."""
    loaded: dict[str, F0Estimator] = {}

    def load(method: str) -> F0Estimator:
        if method not in loaded:
            loaded[method] = load_f0_estimator(method)
        return loaded[method]

    return load


@pytest.fixture(scope="session")
def rmvpe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an RMVPE with the random weights of the parity recipe."""
    path = tmp_path_factory.mktemp("f0") / "rmvpe.pt"
    return write_rmvpe(path, recipe.load_manifest())


@pytest.fixture(scope="session")
def rmvpe(rmvpe_file: Path) -> RMVPE:
    """The estimator of that file."""
    return load_rmvpe(rmvpe_file)
