"""A real server on loopback, over real models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from api_server import create_app
from rvc_core.whisper import CONTENT_NAME
from server.services import Services, build_services
from server.settings import Settings
from server.sockets import bind, url_of
from server.waitress_server import ApiServer
from tests.rvc_core.tiny import TinyVoice


def write_models(demo: Path, folder: Path) -> Path:
    """The demo voice, and `one`, `two` and `plain` (without F0) that share its encoder."""
    shutil.copytree(demo, folder)
    voices, stated = folder / "voices", {"content": CONTENT_NAME}
    TinyVoice(seed=1, extras=stated).write(voices, "one")
    TinyVoice(seed=2, extras=stated, sample_rate=32_000).write(voices, "two")
    TinyVoice(seed=3, extras=stated, uses_f0=False).write(voices, "plain")
    return folder


def write_index(path: Path, width: int, n_vectors: int = 64) -> None:
    """A flat index of random vectors."""
    index = faiss.IndexFlatL2(width)
    index.add(np.random.default_rng(0).normal(size=(n_vectors, width)).astype(np.float32))
    path.parent.mkdir(exist_ok=True)
    faiss.write_index(index, str(path))


def live_services(models: Path, **settings: Any) -> Services:
    """Services over `models`, on one CPU thread where `settings` say nothing else."""
    usual = {"models_dir": models, "waitress_threads": 8, "torch_threads": 1, "device": "cpu"}
    usual["job_db"] = models.with_name(f"{models.name}-jobs") / "jobs.sqlite3"
    return build_services(Settings(**{**usual, **settings}))


@contextmanager
def running(services: Services) -> Iterator[str]:
    """The address of an API over `services`, which are closed in the end."""
    bound = bind("127.0.0.1", 0, "API_PORT")
    server = ApiServer(create_app(services), bound, services.settings)
    server.start()
    try:
        yield url_of(bound)
    finally:
        services.drain(0)
        server.drain(5)
        services.close()


@contextmanager
def serving(models: Path, **settings: Any) -> Iterator[str]:
    """The address of an API over `models`."""
    with running(live_services(models, **settings)) as url:
        yield url
