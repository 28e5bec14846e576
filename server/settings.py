"""Every setting, declared once; the only file that reads the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from server.setting_specs import InvalidSetting as InvalidSetting
from server.setting_specs import (
    SettingSpec,
    any_path,
    any_text,
    devices,
    one_of,
    seconds,
    setting,
    whole,
)

ALIASES = {"PORT": "API_PORT", "MODEL_LRU_MAX": "MAX_VOICES", "MODEL_TTL": "GPU_IDLE_TIMEOUT"}
READ_ELSEWHERE = frozenset({"GPU_COUNT", "GPU_ID", "GPU_LOCK_DIR"})  # by scripts and Docker
PREFIXES = (
    "API_", "CONCURRENT_", "DRAIN_", "GPU_", "HOST_CACHE", "INDEX_CACHE", "MAX_AUDIO_",
    "MAX_KEEP_", "MAX_QUEUE_", "MAX_REPLICAS", "MAX_REQUEST_", "MAX_UPLOAD_", "MAX_VOICES",
    "PIN_LIMIT", "RVC_", "TORCH_THREADS", "UI_", "VOICE_", "WAITRESS_",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How the server runs; times are in seconds."""

    bind_host: str = setting(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 opens the server to the network.",
        any_text,
        flags=("--host",),
    )
    ui_port: int = setting(7860, "Port of the browser UI.", whole(0, 65_535))
    api_port: int = setting(7861, "Port of the REST API.", whole(0, 65_535))
    api_key: str | None = setting(
        None,
        "Key that every request under /api must carry; empty asks for none.",
        any_text,
    )
    models_dir: Path = setting(
        Path("models"),
        "Folder of voices, indexes, content encoders and F0 weights.",
        any_path,
        flags=("--models",),
    )
    rvc_weight_root: Path | None = setting(
        None, "Folder of voices; empty is MODELS_DIR/voices.", any_path
    )
    rvc_index_root: Path | None = setting(
        None, "Folder of indexes; empty is MODELS_DIR/indexes.", any_path
    )
    outputs_dir: Path = setting(
        Path("outputs"), "Folder of the browser UI's uploads and results.", any_path
    )
    default_voice: str | None = setting(
        None, "Voice of requests that name none; empty is the only voice there is.", any_text
    )
    device: str = setting(
        "auto",
        "Where models run; auto is the GPU where there is one.",
        one_of("auto", "cpu", "cuda"),
    )
    voice_devices: tuple[str, ...] = setting(
        (),
        "Devices to share the work, a process each if several: cuda:0,cuda:1 or cpu,cpu; empty "
        "is what DEVICE says, and every GPU that CUDA shows.",
        devices,
    )
    cuda_visible_devices: str | None = setting(
        None, "GPUs to use, by number or UUID; empty is all. start.sh chooses.", any_text
    )
    torch_threads: int = setting(
        0, "CPU threads of one conversion; 0 shares the cores out.", whole(0, 1024)
    )
    concurrent_conversions: int = setting(
        2, "Conversions that run at once in one process.", whole(1, 64)
    )
    voice_concurrency: int = setting(
        1, "Conversions of one voice that run at once on a device.", whole(1, 64)
    )
    max_queue_per_gpu: int = setting(
        10, "Conversions that may wait for each device; further ones get 503.", whole(0, 1000)
    )
    max_replicas_per_model: int = setting(
        0, "Devices that may hold the same voice; 0 is all.", whole(0, 64)
    )
    max_voices: int = setting(
        8, "Voices kept in memory on each device; the oldest idle one leaves.", whole(1, 10_000)
    )
    gpu_vram_budget: str = setting(
        "",
        "Memory of models on each device: bytes, 6GB, 512MiB, or 0.5 of a GPU; empty is 92 % "
        "of a GPU less 1 GiB, and no bound on a CPU.",
        any_text,
    )
    host_cache_mb: int = setting(
        0, "RAM for idle models, in MiB; 0 is a quarter of it.", whole(0, 16_777_216)
    )
    index_cache_mb: int = setting(
        1024, "RAM for feature indexes, in MiB; the one used last stays.", whole(0, 16_777_216)
    )
    pin_limit_mb: int = setting(
        0,
        "RAM pinned for fast copies to a GPU, in MiB; 0 is an eighth of it.",
        whole(0, 16_777_216),
    )
    gpu_offload_after: float = setting(
        300.0,
        "Idle time after which a model moves from the GPU to RAM; 0 at once, -1 never.",
        seconds(0, 31_536_000, also=-1),
    )
    gpu_idle_timeout: float = setting(
        600.0,
        "Idle time after which a voice leaves memory; 0 at once, -1 never.",
        seconds(0, 31_536_000, also=-1),
    )
    max_keep_alive: float = setting(
        3600.0, "Longest keep_alive that a request may ask for.", seconds(0, 31_536_000)
    )
    max_upload_mb: int = setting(100, "Largest request body in MiB.", whole(1, 4096))
    max_audio_seconds: float = setting(1800.0, "Longest recording.", seconds(1, 86_400))
    max_request_seconds: float = setting(
        600.0, "Longest time for one request, waiting included.", seconds(1, 86_400)
    )
    waitress_threads: int = setting(64, "Threads that answer API requests.", whole(4, 1024))
    drain_seconds: float = setting(
        30.0, "Time that running work gets when the server stops.", seconds(0, 3600)
    )
    log_level: str = setting(
        "info", "Least level that is logged.", one_of("debug", "info", "warning", "error")
    )

    @property
    def voices_dir(self) -> Path:
        """The folder of voices."""
        return self.rvc_weight_root or self.models_dir / "voices"

    @property
    def indexes_dir(self) -> Path:
        """The folder of indexes."""
        return self.rvc_index_root or self.models_dir / "indexes"

    @property
    def max_upload_bytes(self) -> int:
        """The largest request body."""
        return self.max_upload_mb * 1024 * 1024

    def threads_per_conversion(self, n_at_once: int) -> int:
        """`torch_threads` with 0 resolved, where `n_at_once` conversions share the cores."""
        return self.torch_threads or max(1, _n_cores() // n_at_once)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ip_address(self.bind_host).is_loopback
        except ValueError:
            return self.bind_host == "localhost"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environment` (the process's own when None), once."""
        given = _resolve_aliases(os.environ if environment is None else environment)
        read = {s.name: s.read(given[s.key], s.key) for s in SETTING_SPECS if s.key in given}
        return cls(**read)

    def with_flags(self, arguments: Sequence[str]) -> Settings:
        """Return the settings with command-line flags applied; `--help` and errors exit."""
        parser = argparse.ArgumentParser(
            prog="main.py", description="Start the voice server: browser UI and REST API."
        )
        for spec in SETTING_SPECS:
            default = spec.default_text or "empty"
            help = f"{spec.help} (default: {default}; environment: {spec.key})"
            parser.add_argument(
                *spec.flags, dest=spec.name, help=help.replace("%", "%%"), metavar="VALUE"
            )
        texts = {name: text for name, text in vars(parser.parse_args(arguments)).items() if text}
        specs = {spec.name: spec for spec in SETTING_SPECS}
        return replace(self, **{n: specs[n].read(t, specs[n].flags[0]) for n, t in texts.items()})


def unknown_keys(environment: Mapping[str, str] | None = None) -> list[str]:
    """Keys that look like ours and that nothing reads, with aliases in use; for a warning each."""
    given = os.environ if environment is None else environment
    known = {spec.key for spec in SETTING_SPECS} | READ_ELSEWHERE
    strangers = [key for key in given if key.startswith(PREFIXES) and key not in known]
    notes = [f"{key} is set, but there is no such setting." for key in sorted(strangers)]
    aliases = [(old, new) for old, new in ALIASES.items() if old in given]
    return notes + [
        f"{old} is set but {new} counts." if new in given else f"{old} is read as {new}; use {new}."
        for old, new in aliases
    ]


def prepare_environment(settings: Settings) -> None:
    """Set what third-party packages read from the environment, before they are imported."""
    if settings.cuda_visible_devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.cuda_visible_devices
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no look-ups in the name of statistics
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("GRADIO_TEMP_DIR", str((settings.outputs_dir / "ui").resolve()))
    os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")


def prepare_worker(settings: Settings, device: str) -> str:
    """Show CUDA only the GPU of this process, before torch is imported; return its new name."""
    if not device.startswith("cuda:"):
        return device
    n, shown = int(device[5:]), settings.cuda_visible_devices
    names = [name.strip() for name in shown.split(",")] if shown else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[n] if n < len(names) else str(n)
    return "cuda:0"


def example_environment() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    head = "# Settings of the voice server; copy to .env and uncomment what you change.\n"
    blocks = [f"\n# {s.help}\n# {s.key}={s.default_text}\n" for s in SETTING_SPECS]
    return head + "".join(blocks)


def _resolve_aliases(environment: Mapping[str, str]) -> dict[str, str]:
    # Empty means unset, but for CUDA_VISIBLE_DEVICES, where it means no GPU.
    given = {k: text for k, text in environment.items() if text or k == "CUDA_VISIBLE_DEVICES"}
    for old, new in ALIASES.items():
        if old in given:
            given.setdefault(new, given[old])
    return given


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _spec_of(declared: Any) -> SettingSpec:
    metadata = dict(declared.metadata)
    flag = "--" + declared.name.replace("_", "-")
    metadata["flags"] = (*metadata.get("flags", ()), flag)
    return SettingSpec(name=declared.name, default=declared.default, **metadata)


SETTING_SPECS: tuple[SettingSpec, ...] = tuple(_spec_of(f) for f in fields(Settings))
