"""Every setting, declared once, in groups by what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.keys import Key, api_keys
from server.setting_specs import (
    any_path,
    any_text,
    devices,
    host_names,
    one_of,
    seconds,
    setting,
    switch,
    whole,
)


@dataclass(frozen=True)
class DoorSettings:
    """Where the server listens, who may call, and what a request may ask for."""

    bind_host: str = setting(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 opens the server to the network.",
        any_text,
        flags=("--host",),
    )
    ui_port: int = setting(7860, "Port of the browser UI.", whole(0, 65_535))
    api_port: int = setting(7861, "Port of the REST API.", whole(0, 65_535))
    api_keys: tuple[Key, ...] = setting(
        (),
        "Keys for several callers, by their SHA-256; docs/api.md shows one.",
        api_keys,
    )
    api_key: str | None = setting(
        None,
        "Key that every request under /api must carry; empty asks for none.",
        any_text,
    )
    rate_limit_rpm: int = setting(
        0,
        "Requests a minute for callers whose key states no rate of its own, each counted by "
        "itself; 0 is no limit.",
        whole(0, 1_000_000),
    )
    metrics_public: bool = setting(False, "Whether /metrics answers without a key.", switch)
    max_upload_mb: int = setting(100, "Largest request body in MiB.", whole(1, 4096))
    max_audio_seconds: float = setting(1800.0, "Longest recording.", seconds(1, 86_400))
    max_request_seconds: float = setting(
        600.0, "Longest time for one request, waiting included.", seconds(1, 86_400)
    )
    max_keep_alive: float = setting(
        3600.0, "Longest keep_alive that a request may ask for.", seconds(0, 31_536_000)
    )
    waitress_threads: int = setting(64, "Threads that answer API requests.", whole(4, 1024))
    drain_seconds: float = setting(
        30.0, "Time that running work gets when the server stops.", seconds(0, 3600)
    )


@dataclass(frozen=True)
class ModelSettings:
    """Where models and files are."""

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


@dataclass(frozen=True)
class DeviceSettings:
    """What models run on, and how much runs and waits."""

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


@dataclass(frozen=True)
class MemorySettings:
    """What may stay in memory, and for how long."""

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


@dataclass(frozen=True)
class LogSettings:
    """What is written down."""

    log_level: str = setting(
        "info", "Least level that is logged.", one_of("debug", "info", "warning", "error")
    )
    log_format: str = setting(
        "text", "How log lines look: for people or for programs.", one_of("text", "json")
    )
    log_file: Path | None = setting(
        None,
        "File for the log beside standard error; worker processes write NAME.worker-N beside it.",
        any_path,
    )
    audit_log: Path | None = setting(
        None, "File for a record of each administrative request and refused key.", any_path
    )
    log_max_mb: int = setting(
        50, "Size in MiB at which a log file is put aside and a new one begun.", whole(1, 100_000)
    )
    log_backups: int = setting(10, "Log files put aside that are kept.", whole(1, 10_000))


@dataclass(frozen=True)
class JobSettings:
    """Work that callers do not wait for."""

    job_db: Path | None = setting(
        None,
        "SQLite file of jobs, with their recordings and results beside it; empty is "
        "OUTPUTS_DIR/jobs/jobs.sqlite3.",
        any_path,
    )
    job_workers: int = setting(2, "Jobs that run at once in this server.", whole(1, 64))
    job_queued_per_key: int = setting(
        100, "Jobs of one key that may wait; further ones get 429.", whole(1, 100_000)
    )
    job_running_per_key: int = setting(2, "Jobs of one key that run at once.", whole(1, 64))
    job_max_seconds: float = setting(
        3600.0, "Longest time that a job may run.", seconds(1, 604_800)
    )
    job_retention_hours: float = setting(
        24.0, "Hours after which the files of a job that has ended are removed.", seconds(1, 8760)
    )
    job_disk_mb: int = setting(
        10_240,
        "Disk space of jobs in MiB; results that are older leave first, then new jobs get 507.",
        whole(1, 16_777_216),
    )
    enable_webhooks: bool = setting(
        False,
        "Whether the server calls webhook_url when a job ends; that needs WEBHOOK_SECRET too.",
        switch,
    )
    webhook_secret: str | None = setting(None, "Secret that signs what webhooks send.", any_text)
    webhook_hosts: tuple[str, ...] = setting(
        (),
        "Hosts that webhooks may call, separated by commas; *.example.org is all below it, and "
        "empty is every public host.",
        host_names,
    )
    webhook_http: bool = setting(
        False, "Whether webhook_url may be http and not https alone.", switch
    )
    webhook_private: bool = setting(
        False, "Whether webhooks may call private and loopback addresses.", switch
    )


@dataclass(frozen=True)
class HealthSettings:
    """How the server looks after itself."""

    canary_seconds: float = setting(
        60.0,
        "Idle time after which a voice on its device is tried with a moment of silence; 0 never.",
        seconds(0, 86_400),
    )


@dataclass(frozen=True)
class IntakeSettings:
    """What callers may bring in beside the recording in their request: voices and addresses."""

    max_voice_mb: int = setting(
        1024, "Largest voice with its index in MiB, once it is unpacked.", whole(1, 65_536)
    )
    enable_audio_url: bool = setting(
        False, "Whether requests may name the address of a recording, as audio_url.", switch
    )
    audio_url_hosts: tuple[str, ...] = setting(
        (),
        "Hosts that audio_url may name, separated by commas; *.example.org is all below it, and "
        "empty is every public host.",
        host_names,
    )
    audio_url_http: bool = setting(
        False, "Whether audio_url may be http and not https alone.", switch
    )
