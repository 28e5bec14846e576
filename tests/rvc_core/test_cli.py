"""The command line: names, outputs, reports, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from rvc_core import content, f0
from rvc_core.audio import write_audio
from rvc_core.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, main
from rvc_core.options import OPTION_SPECS
from tests.rvc_core.tiny import FakeContentEncoder, FakeF0Estimator, TinyVoice, tone


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models/voices/tiny.pth and in.wav; the large networks are stand-ins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(content, "load_content_encoder", lambda *_: FakeContentEncoder())
    monkeypatch.setattr(f0, "load_f0_estimator", lambda *_: FakeF0Estimator())
    (tmp_path / "models/voices").mkdir(parents=True)
    TinyVoice().write(tmp_path / "models/voices")
    write_audio(tmp_path / "in.wav", tone(0.5))
    return tmp_path


def test_every_option_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for spec in OPTION_SPECS:
        assert spec.flag in shown


def test_a_recording_is_converted_by_the_name_of_a_voice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "in.wav", "-o", "out.wav", "--voice", "tiny"]) == EXIT_OK
    info = soundfile.info(folder / "out.wav")
    assert (info.samplerate, info.frames, info.subtype) == (40_000, 20_000, "PCM_16")
    captured = capsys.readouterr()
    assert captured.out.startswith("out.wav  0.50 s of audio in ")
    assert captured.err == ""


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_the_suffix_chooses_the_format(suffix: str, folder: Path) -> None:
    arguments = ["convert", "in.wav", "-o", f"out.{suffix}", "--voice", "models/voices/tiny.pth"]
    assert main(arguments) == EXIT_OK
    assert soundfile.info(folder / f"out.{suffix}").format in ("FLAC", "MP3", "MPEG")


def test_several_recordings_go_into_a_folder_and_keep_apart(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b").mkdir()
    write_audio(folder / "b/in.flac", tone(0.25))
    arguments = ["convert", "in.wav", "b/in.flac", "-o", "out", "--voice", "tiny", "--json"]
    assert main(arguments) == EXIT_OK
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["output"] for r in reports] == ["out/in.wav", "out/in-2.wav"]
    assert [r["duration_s"] for r in reports] == [0.5, 0.25]
    assert reports[0]["timings"].keys() == {"f0", "feature", "synth", "total"}


def test_one_bad_recording_leaves_the_others_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.wav").write_text("no audio")
    arguments = ["convert", "bad.wav", "in.wav", "-o", "out/", "--voice", "tiny", "--json"]
    assert main(arguments) == EXIT_FAILED
    captured = capsys.readouterr()
    first, second = (json.loads(line) for line in captured.out.splitlines())
    assert first["error"]["code"] == "undecodable_audio"
    assert second["output"] == "out/in.wav"
    assert captured.err.startswith("undecodable_audio: bad.wav: ")
    assert captured.err.count("\n") == 1


def test_options_reach_the_conversion(folder: Path) -> None:
    common = ["convert", "in.wav", "--voice", "tiny", "--noise-scale", "0", "--source-noise", "0"]
    main([*common, "-o", "a.wav"])
    main([*common, "-o", "b.wav", "--f0-up-key", "7"])
    main([*common, "-o", "c.wav", "--resample-sr", "16000", "--loudnorm"])
    assert (folder / "a.wav").read_bytes() != (folder / "b.wav").read_bytes()
    assert soundfile.info(folder / "c.wav").samplerate == 16_000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["in.wav", "-o", "out.wav", "--voice", "nobody"], EXIT_FAILED, "voice_not_found: "),
        (["in.wav", "-o", "out.wav", "--voice", "x/nobody.pth"], EXIT_FAILED, "voice_not_found: "),
        (["gone.wav", "-o", "out.wav", "--voice", "tiny"], EXIT_FAILED, "undecodable_audio: "),
        (["in.wav", "-o", "in.wav", "--voice", "tiny"], EXIT_USAGE, "invalid_option: "),
        (["in.wav", "-o", "out.aiff", "--voice", "tiny"], EXIT_USAGE, "invalid_option: "),
        (["in.wav", "in.wav", "-o", "in.wav", "--voice", "tiny"], EXIT_USAGE, "invalid_option: "),
        (
            ["in.wav", "-o", "out.wav", "--voice", "tiny", "--protect", "9"],
            EXIT_USAGE,
            "invalid_option: protect is '9'",
        ),
        (
            ["in.wav", "-o", "out.wav", "--voice", "tiny", "--index", "gone.index"],
            EXIT_FAILED,
            "invalid_index: ",
        ),
        (
            ["in.wav", "-o", "out.wav", "--voice", "tiny", "--spk-id", "2"],
            EXIT_USAGE,
            "speaker_out_of_range: ",
        ),
    ],
)
def test_failures_are_one_line_with_a_code(
    arguments: list[str],
    code: int,
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["convert", *arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not (folder / "out.wav").exists()


def test_an_interrupt_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(content, "load_content_encoder", interrupt)
    assert main(["convert", "in.wav", "-o", "o.wav", "--voice", "tiny"]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_wrong_number_of_threads_is_wrong_usage(threads: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", "a", "-o", "b", "--voice", "c", "--threads", threads])
    assert caught.value.code == EXIT_USAGE


def test_a_voice_is_described(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "models/voices/tiny.pth", "--json"]) == EXIT_OK
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["version"], facts["sample_rate"]) == ("voice", "v2", 40_000)
    assert (facts["f0"], facts["speakers"], facts["content"]) == (True, 2, "hubert")
    assert main(["inspect", "models/voices/tiny.pth"]) == EXIT_OK
    assert "f0              yes" in capsys.readouterr().out


def test_an_index_is_described(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.rvc_core.test_retrieval import ivf, write

    write(folder, ivf())
    assert main(["inspect", "added_x.index", "--json"]) == EXIT_OK
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["content_dim"], facts["vectors"]) == ("index", 16, 400)


def test_a_file_that_is_neither_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "in.wav"]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("invalid_checkpoint: in.wav is no torch file")
    assert main(["inspect", "gone"]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("missing_weights: ")
