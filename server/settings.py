"""All settings together; the only file that reads the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from server.keys import Key, digest_of
from server.setting_groups import (
    DeviceSettings,
    DoorSettings,
    HealthSettings,
    IntakeSettings,
    JobSettings,
    LogSettings,
    MemorySettings,
    ModelSettings,
)
from server.setting_specs import InvalidSetting as InvalidSetting
from server.setting_specs import SettingSpec

ALIASES = {"PORT": "API_PORT", "MODEL_LRU_MAX": "MAX_VOICES", "MODEL_TTL": "GPU_IDLE_TIMEOUT"}
READ_ELSEWHERE = frozenset({"GPU_COUNT", "GPU_ID", "GPU_LOCK_DIR"})  # by scripts and Docker
PREFIXES = (
    "API_", "AUDIO_URL", "AUDIT_", "CANARY_", "CONCURRENT_", "DRAIN_", "ENABLE_AUDIO",
    "ENABLE_WEBHOOKS", "GPU_", "JOB_", "WEBHOOK_",
    "HOST_CACHE", "INDEX_CACHE", "LOG_", "MAX_AUDIO_", "MAX_KEEP_", "MAX_QUEUE_", "MAX_REPLICAS",
    "MAX_REQUEST_", "MAX_UPLOAD_", "MAX_VOICE", "METRICS_", "PIN_LIMIT", "RATE_LIMIT", "RVC_",
    "TORCH_THREADS", "UI_", "VOICE_", "WAITRESS_",
)  # fmt: skip


@dataclass(frozen=True)
class Settings(
    LogSettings,
    HealthSettings,
    MemorySettings,
    DeviceSettings,
    IntakeSettings,
    JobSettings,
    ModelSettings,
    DoorSettings,
):
    """How the server runs; times are in seconds."""

    @property
    def voices_dir(self) -> Path:
        """The folder of voices."""
        return self.rvc_weight_root or self.models_dir / "voices"

    @property
    def indexes_dir(self) -> Path:
        """The folder of indexes."""
        return self.rvc_index_root or self.models_dir / "indexes"

    @property
    def keys(self) -> tuple[Key, ...]:
        """All API keys; that of `api_key` is called "key" and may do everything."""
        single = (Key("key", digest_of(self.api_key)),) if self.api_key else ()
        return (*single, *self.api_keys)

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
