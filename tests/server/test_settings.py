from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.settings import (
    SETTING_SPECS,
    InvalidSetting,
    Settings,
    example_environment,
    prepare_environment,
    prepare_worker,
    unknown_keys,
)

ROOT = Path(__file__).parents[2]


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_values_are_read_in_their_types() -> None:
    settings = Settings.from_environment(
        {"API_PORT": "99", "GPU_IDLE_TIMEOUT": "-1", "DEVICE": "CPU", "MODELS_DIR": "/m"}
    )
    assert settings.api_port == 99
    assert settings.gpu_idle_timeout == -1
    assert settings.device == "cpu"
    assert settings.voices_dir == Path("/m/voices")


def test_an_empty_value_counts_as_unset() -> None:
    assert Settings.from_environment({"UI_PORT": "", "API_KEY": ""}) == Settings()


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("API_PORT", "eighty", "a whole number from 0 to 65535"),
        ("API_PORT", "70000", "a whole number from 0 to 65535"),
        ("DEVICE", "tpu", "one of auto, cpu, cuda"),
        ("VOICE_DEVICES", "gpu", "cpu, cuda or cuda:N, separated by commas, each GPU once"),
        ("VOICE_DEVICES", "cuda,cuda:0", "cpu, cuda or cuda:N, separated by commas, each GPU once"),
        ("GPU_OFFLOAD_AFTER", "-2", "-1 or a number from 0 to 31536000"),
        ("MAX_AUDIO_SECONDS", "nan", "a number from 1 to 86400"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(
    key: str, value: str, allowed: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings.from_environment({key: value})
    assert str(caught.value) == f"{key} is '{value}'; it must be {allowed}."


def test_flags_win_over_the_environment() -> None:
    settings = Settings.from_environment({"API_PORT": "1", "UI_PORT": "2"})
    flagged = settings.with_flags(["--api-port", "3", "--host", "::1", "--models", "x"])
    assert (flagged.api_port, flagged.ui_port) == (3, 2)
    assert (flagged.bind_host, flagged.models_dir) == ("::1", Path("x"))


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(InvalidSetting, match="--api-port is 'x'"):
        Settings().with_flags(["--api-port", "x"])


def test_help_shows_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Settings().with_flags(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(spec.flags[0] in shown and spec.key in shown for spec in SETTING_SPECS)


def test_port_is_an_alias_that_is_reported() -> None:
    assert Settings.from_environment({"PORT": "5"}).api_port == 5
    assert unknown_keys({"PORT": "5"}) == ["PORT is read as API_PORT; use API_PORT."]


def test_the_real_name_wins_over_its_alias() -> None:
    given = {"PORT": "5", "API_PORT": "6"}
    assert Settings.from_environment(given).api_port == 6
    assert unknown_keys(given) == ["PORT is set but API_PORT counts."]


def test_keys_that_look_like_ours_are_reported_and_others_are_not() -> None:
    given = {"GPU_TIMEOUT": "1", "HOME": "/", "GPU_COUNT": "2", "API_PORT": "1"}
    assert unknown_keys(given) == ["GPU_TIMEOUT is set, but there is no such setting."]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("box", False)],
)
def test_loopback_is_told_from_the_network(host: str, loopback: bool) -> None:
    assert Settings(bind_host=host).is_loopback is loopback


def test_conversions_that_run_at_once_share_the_cores() -> None:
    assert Settings(torch_threads=3).threads_per_conversion(2) == 3
    n_cores = Settings().threads_per_conversion(1)
    assert Settings().threads_per_conversion(n_cores) == 1
    assert Settings().threads_per_conversion(10 * n_cores) == 1


def test_the_example_file_is_up_to_date() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == example_environment()


def test_preparing_the_environment_keeps_gradio_off_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    for key in (
        "GRADIO_ANALYTICS_ENABLED",
        "GRADIO_TEMP_DIR",
        "NO_PROXY",
        "HF_HUB_DISABLE_TELEMETRY",
    ):
        monkeypatch.setenv(key, "before")
        monkeypatch.delenv(key)
    prepare_environment(Settings(outputs_dir=tmp_path))
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "ui")


def test_devices_are_a_list() -> None:
    settings = Settings.from_environment({"VOICE_DEVICES": "CPU, cpu,cuda:1"})
    assert settings.voice_devices == ("cpu", "cpu", "cuda:1")


def test_an_empty_list_of_visible_gpus_is_not_the_same_as_none() -> None:
    assert Settings.from_environment({"CUDA_VISIBLE_DEVICES": ""}).cuda_visible_devices == ""
    assert Settings.from_environment({}).cuda_visible_devices is None


@pytest.mark.parametrize(
    ("shown", "device", "name", "visible"),
    [
        (None, "cuda:2", "cuda:0", "2"),
        ("5,7", "cuda:1", "cuda:0", "7"),
        ("GPU-a, GPU-b", "cuda:0", "cuda:0", "GPU-a"),
        ("5,7", "cpu", "cpu", "unchanged"),
    ],
)
def test_a_worker_sees_its_own_gpu_only(
    shown: str | None, device: str, name: str, visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "unchanged")
    assert prepare_worker(Settings(cuda_visible_devices=shown), device) == name
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
