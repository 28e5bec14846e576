"""The models of this product keep their results through offload and restore by master copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu.copier import HostCopier
from gpu.effects import DeviceEffects
from gpu.state import ModelSpec
from rvc_core.content import load_content_encoder
from rvc_core.f0 import load_f0_estimator
from rvc_core.voice import load_voice
from tests.rvc_core.tiny import TinyVoice

SAMPLES = np.sin(np.arange(16_000) / 20).astype(np.float32)


def voice_of(folder: Path) -> Any:
    return load_voice(TinyVoice(seed=1).write(folder, "one"))


def whisper_of(models: Path) -> Any:
    return load_content_encoder(models / "content" / "whisper-tiny.en.safetensors")


def heard(model: Any) -> bytes:
    """What the model makes of a tone, bit by bit."""
    if hasattr(model, "estimate"):
        return bytes(model.estimate(SAMPLES, 100).tobytes())
    if hasattr(model, "encode"):
        features = model.encode(torch.from_numpy(SAMPLES), 768)
        return bytes(features.numpy().tobytes())
    state = model.synthesizer.state_dict()
    return b"".join(bytes(tensor.contiguous().numpy().tobytes()) for tensor in state.values())


@pytest.mark.parametrize("kind", ["voice", "whisper", "fcpe"])
def test_bits_survive(kind: str, models_dir: Path, tmp_path: Path) -> None:
    make: dict[str, Callable[[], Any]] = {
        "voice": lambda: voice_of(tmp_path),
        "whisper": lambda: whisper_of(models_dir),
        "fcpe": lambda: load_f0_estimator("fcpe"),
    }
    plain = heard(make[kind]())
    effects = DeviceEffects("cpu", copier=HostCopier())
    model: Any = effects.load(ModelSpec("m", "rvc", lambda device: make[kind]()))
    assert effects.host_bytes > 0  # it offers its modules, so a master copy is kept
    assert heard(model) == plain
    for _ in range(2):
        effects.offload(model, model.nbytes)
        effects.restore(model)
        assert heard(model) == plain
