"""Every setting, declared once; the only file that reads the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

Parser = Callable[[str], Any]

ALIASES = {"PORT": "API_PORT"}
READ_ELSEWHERE = frozenset({"GPU_COUNT", "GPU_ID", "GPU_LOCK_DIR"})  # by scripts and Docker
PREFIXES = (
    "API_", "CONCURRENT_", "DRAIN_", "GPU_", "MAX_AUDIO_", "MAX_QUEUE_",
    "MAX_REQUEST_", "MAX_UPLOAD_", "RVC_", "TORCH_THREADS", "UI_", "WAITRESS_",
)  # fmt: skip


class InvalidSetting(ValueError):
    """A setting has a value that cannot be used."""


def _number(kind: type[int] | type[float], low: float, high: float, also: float | None) -> Parser:
    def parse(text: str) -> float:
        value = kind(text)
        if value != also and not low <= value <= high:
            raise ValueError
        return value

    word = "a whole number" if kind is int else "a number"
    extra = "" if also is None else f"{also:.0f} or "
    parse.__doc__ = f"{extra}{word} from {low:.0f} to {high:.0f}"
    return parse


def whole(low: int, high: int) -> Parser:
    """A parser of whole numbers from `low` to `high`."""
    return _number(int, low, high, None)


def seconds(low: float, high: float, also: float | None = None) -> Parser:
    """A parser of seconds from `low` to `high`; `also` is allowed beside them."""
    return _number(float, low, high, also)


def one_of(*words: str) -> Parser:
    """A parser of one word out of `words`, upper and lower case alike."""

    def parse(text: str) -> str:
        return {word.lower(): word for word in words}[text.lower()]

    parse.__doc__ = "one of " + ", ".join(words)
    return parse


def _text(text: str) -> str:
    """text"""
    return text


def _path(text: str) -> Path:
    """a path"""
    return Path(text).expanduser()


def setting(default: Any, help: str, parse: Parser, **more: Any) -> Any:
    """Declare a field of `Settings`; its environment key is the field's name in capitals."""
    return field(default=default, metadata={"help": help, "parse": parse, **more})


@dataclass(frozen=True)
class SettingSpec:
    """What a setting is called, holds by default and allows."""

    name: str
    default: Any
    help: str
    parse: Parser
    flags: tuple[str, ...]

    @property
    def key(self) -> str:
        """The environment variable."""
        return self.name.upper()

    @property
    def allowed(self) -> str:
        """What the setting accepts, in words."""
        return self.parse.__doc__ or "text"

    @property
    def default_text(self) -> str:
        """The default as it would be written in the environment."""
        if self.default is None:
            return ""
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def read(self, text: str, source: str) -> Any:
        """Return `text` in the setting's type; raise `InvalidSetting`, naming `source`."""
        try:
            return self.parse(text)
        except (ValueError, KeyError, OverflowError):
            raise InvalidSetting(f"{source} is {text!r}; it must be {self.allowed}.") from None


@dataclass(frozen=True)
class Settings:
    """How the server runs; times are in seconds."""

    bind_host: str = setting(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 opens the server to the network.",
        _text,
        flags=("--host",),
    )
    ui_port: int = setting(7860, "Port of the browser UI.", whole(0, 65_535))
    api_port: int = setting(7861, "Port of the REST API.", whole(0, 65_535))
    api_key: str | None = setting(
        None,
        "Key that every request under /api must carry; empty asks for none.",
        _text,
    )
    models_dir: Path = setting(
        Path("models"),
        "Folder of voices, indexes, content encoders and F0 weights.",
        _path,
        flags=("--models",),
    )
    rvc_weight_root: Path | None = setting(
        None, "Folder of voices; empty is MODELS_DIR/voices.", _path
    )
    rvc_index_root: Path | None = setting(
        None, "Folder of indexes; empty is MODELS_DIR/indexes.", _path
    )
    outputs_dir: Path = setting(
        Path("outputs"), "Folder of the browser UI's uploads and results.", _path
    )
    default_voice: str | None = setting(
        None, "Voice of requests that name none; empty is the only voice there is.", _text
    )
    device: str = setting(
        "auto",
        "Where models run; auto is the GPU where there is one.",
        one_of("auto", "cpu", "cuda"),
    )
    torch_threads: int = setting(
        0, "CPU threads of one conversion; 0 is half of the cores.", whole(0, 1024)
    )
    concurrent_conversions: int = setting(
        2, "Conversions that run at once; one voice converts one at a time.", whole(1, 64)
    )
    max_queue_per_gpu: int = setting(
        10, "Conversions that may wait; further ones get 503.", whole(0, 1000)
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

    @property
    def threads_per_conversion(self) -> int:
        """`torch_threads` with 0 resolved."""
        return self.torch_threads or max(1, _n_cores() // 2)

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
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no look-ups in the name of statistics
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("GRADIO_TEMP_DIR", str((settings.outputs_dir / "ui").resolve()))
    os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")


def example_environment() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    head = "# Settings of the voice server; copy to .env and uncomment what you change.\n"
    blocks = [f"\n# {s.help}\n# {s.key}={s.default_text}\n" for s in SETTING_SPECS]
    return head + "".join(blocks)


def _resolve_aliases(environment: Mapping[str, str]) -> dict[str, str]:
    given = {key: text for key, text in environment.items() if text}  # empty means unset
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
