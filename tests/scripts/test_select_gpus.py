"""select_gpus.sh: which GPUs the server takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash") or "bash"
SHOW = 'printf "%s" "${CUDA_VISIBLE_DEVICES-unset}"'
SELECT = ". scripts/environment.sh; . scripts/select_gpus.sh; select_gpus; "

# index, uuid, free MiB, per cent busy
GPUS = [
    (0, "GPU-small-idle", 8000, 0),
    (1, "GPU-large-busy", 60000, 90),
    (2, "GPU-large-calm", 60000, 5),
    (3, "GPU-full", 100, 0),
]

NVIDIA_SMI = """#!/bin/sh
# answers only the question that it knows how to answer
[ "$1" = --query-gpu=index,uuid,memory.free,utilization.gpu ] || exit 2
[ "$2" = --format=csv,noheader,nounits ] || exit 2
cat <<'ROWS'
{rows}
ROWS
"""

Gpus = list[tuple[int, str, object, object]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def install_gpus(tools: Path) -> Callable[[Gpus], None]:
    """Put an nvidia-smi that lists the given GPUs on the PATH."""

    def install(gpus: Gpus) -> None:
        rows = "\n".join(", ".join(map(str, gpu)) for gpu in gpus)
        (tools / "nvidia-smi").write_text(NVIDIA_SMI.format(rows=rows))
        (tools / "nvidia-smi").chmod(0o755)

    return install


@pytest.fixture
def select(environment: dict[str, str]) -> Run:
    """Run the choice of GPUs; its standard output is CUDA_VISIBLE_DEVICES."""

    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BASH, "-euo", "pipefail", "-c", SELECT + SHOW],
            cwd=ROOT,
            env=environment | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_without_nvidia_smi_it_runs_on_the_cpu_and_sets_nothing(select: Run) -> None:
    done = select()
    assert done.stdout == "unset"
    assert "CPU" in done.stderr
    assert done.returncode == 0


def test_a_failing_nvidia_smi_means_cpu(select: Run, tools: Path) -> None:
    (tools / "nvidia-smi").write_text("#!/bin/sh\necho 'driver mismatch'\nexit 9\n")
    (tools / "nvidia-smi").chmod(0o755)
    done = select()
    assert (done.returncode, done.stdout) == (0, "unset")


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        ({}, "GPU-large-calm"),
        ({"GPU_COUNT": "2"}, "GPU-large-calm,GPU-large-busy"),
        ({"GPU_COUNT": "all"}, "GPU-large-calm,GPU-large-busy,GPU-small-idle,GPU-full"),
        ({"GPU_COUNT": "9"}, "GPU-large-calm,GPU-large-busy,GPU-small-idle,GPU-full"),
        ({"GPU_COUNT": "0"}, ""),
    ],
)
def test_the_gpus_with_most_free_memory_then_least_use_are_taken(
    select: Run, install_gpus: Callable[[Gpus], None], count: dict[str, str], chosen: str
) -> None:
    install_gpus(list(GPUS))
    assert select(**count).stdout == chosen


def test_unknown_figures_count_as_none(select: Run, install_gpus: Callable[[Gpus], None]) -> None:
    install_gpus([(0, "GPU-silent", "[Not Supported]", "[N/A]"), (1, "GPU-known", 500, 50)])
    assert select().stdout == "GPU-known"


@pytest.mark.parametrize("count", ["many", "-1", "1.5"])
def test_a_wrong_gpu_count_is_an_error(
    select: Run, install_gpus: Callable[[Gpus], None], count: str
) -> None:
    install_gpus(list(GPUS))
    done = select(GPU_COUNT=count)
    assert done.returncode == 1
    assert f"not '{count}'" in done.stderr


@pytest.mark.parametrize("own", ["3", "GPU-full", ""])
def test_the_users_own_cuda_devices_stay(
    select: Run, install_gpus: Callable[[Gpus], None], own: str
) -> None:
    install_gpus(list(GPUS))
    assert select(CUDA_VISIBLE_DEVICES=own, NVIDIA_VISIBLE_DEVICES="0").stdout == own


@pytest.mark.parametrize(
    ("own", "seen"),
    [
        ("3", "GPU-full"),
        ("3,GPU-small-idle", "GPU-full,GPU-small-idle"),
        ("all", "unset"),
        ("none", ""),
        ("7", "unset"),  # applied and renumbered by a container runtime
    ],
)
def test_nvidia_visible_devices_is_followed(
    select: Run, install_gpus: Callable[[Gpus], None], own: str, seen: str
) -> None:
    install_gpus(list(GPUS))
    assert select(NVIDIA_VISIBLE_DEVICES=own).stdout == seen


@pytest.fixture
def first_service(
    environment: dict[str, str], install_gpus: Callable[[Gpus], None]
) -> Iterator[subprocess.Popen[str]]:
    """A service that has chosen its GPU, then became another program, as start.sh does."""
    install_gpus(list(GPUS))
    program = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(
        [BASH, "-euo", "pipefail", "-c", SELECT + SHOW + '; echo; exec "$@"', "bash", *program],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.communicate()


def test_two_services_take_different_gpus(
    select: Run, first_service: subprocess.Popen[str]
) -> None:
    assert first_service.stdout is not None
    assert first_service.stdout.readline() == "GPU-large-calm\n"
    assert select().stdout == "GPU-large-busy"


def test_a_gpu_is_shared_with_a_warning_when_all_are_claimed(
    select: Run, first_service: subprocess.Popen[str]
) -> None:
    assert first_service.stdout is not None
    first_service.stdout.readline()
    done = select(GPU_COUNT="all")
    assert done.stdout == "GPU-large-busy,GPU-small-idle,GPU-full,GPU-large-calm"
    assert "GPU-large-calm is shared" in done.stderr


def test_the_claim_ends_with_the_service(select: Run, first_service: subprocess.Popen[str]) -> None:
    assert first_service.stdout is not None
    first_service.stdout.readline()
    first_service.communicate()
    assert select().stdout == "GPU-large-calm"
