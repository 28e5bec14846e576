"""start.sh: how it prepares the environment and hands over to main.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash") or "bash"

PYTHON = """#!/bin/sh
echo "$0|$*|$NO_PROXY|$PORT_A|$PORT_B|$PWD"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A prepared copy of the repository, in a folder with a space, with a Python that reports."""
    folder = tmp_path / "a clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("start.sh", "scripts/environment.sh", "scripts/select_gpus.sh"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("pyproject.toml", "requirements.lock"):
        (folder / name).write_text(f"{name}\n")
    for name in ("models/voices/demo.pth", "models/content/whisper-tiny.en.safetensors"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    recipe = subprocess.check_output(
        [BASH, "-c", ". scripts/environment.sh; environment_recipe"], cwd=folder, text=True
    )
    (folder / ".venv/.installed-server").write_text(recipe)
    return folder


def start(clone: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run start.sh from a folder that is not the clone."""
    return subprocess.run(
        [BASH, str(clone / "start.sh"), "--api-port", "1 2"],
        cwd=clone.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def calls_of_python(clone: Path, environment: dict[str, str]) -> list[list[str]]:
    """Run start.sh and return what each call of Python reported."""
    done = start(clone, environment)
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def test_a_prepared_start_calls_nothing_but_main(clone: Path, environment: dict[str, str]) -> None:
    calls = calls_of_python(clone, environment | {"NO_PROXY": "example.org"})
    assert [call[1:] for call in calls] == [
        ["main.py --api-port 1 2", "example.org,localhost,127.0.0.1", "", "", str(clone)]
    ]


def test_changed_pins_are_installed_once(clone: Path, environment: dict[str, str]) -> None:
    with (clone / "requirements.lock").open("a") as lock:
        lock.write("another==1\n")
    calls = [call[1] for call in calls_of_python(clone, environment)]
    assert any(call.startswith("-m pip install") for call in calls)
    calls = [call[1] for call in calls_of_python(clone, environment)]
    assert calls == ["main.py --api-port 1 2"]


def test_a_missing_optional_part_is_a_warning(clone: Path, environment: dict[str, str]) -> None:
    (clone / ".venv/.installed-server").unlink()
    (clone / ".venv/bin/python").write_text(
        '#!/bin/sh\ncase "$*" in *swift*) exit 1;; *pip*) ;; *) echo "$*";; esac\n'
    )
    done = start(clone, environment)
    assert done.stdout == "main.py --api-port 1 2\n"
    assert "optional part 'swift' is missing" in done.stderr
    assert "optional part 'demo'" not in done.stderr


def test_packages_that_cannot_be_had_end_the_start(
    clone: Path, environment: dict[str, str]
) -> None:
    (clone / ".venv/.installed-server").unlink()
    (clone / ".venv/bin/python").write_text(
        '#!/bin/sh\ncase "$*" in *install*) exit 1;; *pip*) ;; *) echo "$*";; esac\n'
    )
    done = start(clone, environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the packages could not be installed" in done.stderr


def test_a_missing_demo_voice_is_built(clone: Path, environment: dict[str, str]) -> None:
    (clone / "models/voices/demo.pth").unlink()
    python = clone / ".venv/bin/python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *demo_voice*) echo built >&2; exit 1;; esac\necho "$*"\n'
    )
    done = start(clone, environment)
    assert done.stdout == "main.py --api-port 1 2\n"
    assert "built\nwarning: the demo voice could not be built" in done.stderr


def test_settings_come_from_the_env_file_unless_they_are_set(
    clone: Path, environment: dict[str, str]
) -> None:
    (clone / ".env").write_text("# PORT_A=0\nPORT_A=1\nPORT_B='2 $x'\r\nnot a setting\n")
    assert calls_of_python(clone, environment)[0][3:5] == ["1", "2 $x"]
    assert calls_of_python(clone, environment | {"PORT_A": "3"})[0][3:5] == ["3", "2 $x"]


def test_a_machine_without_python_is_told_what_is_needed(
    clone: Path, environment: dict[str, str]
) -> None:
    shutil.rmtree(clone / ".venv")
    done = start(clone, environment)
    assert done.returncode == 1
    assert "Python 3.10 to 3.13 is needed" in done.stderr


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_a_python_out_of_range_is_refused(
    clone: Path, environment: dict[str, str], tools: Path, version: tuple[int, int]
) -> None:
    shutil.rmtree(clone / ".venv")
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1][len('import sys; '):])"
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$2"\n')
    (tools / "python3").chmod(0o755)
    done = start(clone, environment)
    assert "Python 3.10 to 3.13 is needed" in done.stderr


def test_a_python_without_venv_is_told_what_to_install(
    clone: Path, environment: dict[str, str], tools: Path
) -> None:
    shutil.rmtree(clone / ".venv")
    (tools / "python3").write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    (tools / "python3").chmod(0o755)
    done = start(clone, environment)
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr


def test_scripts_are_executable() -> None:
    assert all(os.access(ROOT / name, os.X_OK) for name in ("start.sh", "test.sh", ".ci/run"))
