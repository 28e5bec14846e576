from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rvc_core.errors import InvalidWeights
from rvc_core.f0 import F0Estimator
from rvc_core.f0.fcpe import read_fcpe_network
from rvc_core.f0.frames import package_folder
from tests.rvc_core.f0.signals import cents, glide, recording

WEIGHTS = Path("assets", "fcpe_c_v001.pt")


def test_the_curve_is_that_of_the_package(
    estimator_of: Callable[[str], F0Estimator], capfd: pytest.CaptureFixture[str]
) -> None:
    from torchfcpe import spawn_bundled_infer_model

    samples = np.concatenate([glide(0.7), np.zeros(3_000, dtype=np.float32), glide(0.3)])
    packaged = spawn_bundled_infer_model("cpu")
    expected = packaged.infer(
        torch.from_numpy(samples)[None], sr=16_000, decoder_mode="local_argmax", threshold=0.006
    )
    f0 = estimator_of("fcpe").estimate(samples, len(samples) // 160 + 1)
    np.testing.assert_allclose(f0, expected.flatten().numpy(), rtol=1e-5)
    assert "device" in capfd.readouterr().out  # the package's loader prints; ours may not


def test_a_curve_that_is_too_short_holds_its_last_value(
    estimator_of: Callable[[str], F0Estimator],
) -> None:
    f0 = estimator_of("fcpe").estimate(glide(0.5), 60)
    assert f0[51:].tolist() == [f0[50]] * 9


@pytest.fixture(scope="module")
def bundled() -> dict[str, Any]:
    """The content of the package's file."""
    path = package_folder("torchfcpe", "torchfcpe", None) / WEIGHTS
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def packaged_network(content: dict[str, Any]) -> Any:
    """The package's own network, for the log-mel pictures of our front end."""
    from torchfcpe.models import CFNaiveMelPE

    keys = ("out_dims", "hidden_dims", "n_layers", "n_heads", "f0_max", "f0_min", "conv_only")
    network = CFNaiveMelPE(128, **{key: content["config_dict"]["model"][key] for key in keys})
    network.load_state_dict(content["model"])
    return network.eval()


SOUNDS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "speech": lambda: recording("quick_brown_fox"),
    "glide": lambda: glide(2.0, 40, 1500),
    "noise": lambda: np.random.default_rng(1).normal(0, 0.05, 48_000).astype(np.float32),
    "silence": lambda: np.zeros(16_000, dtype=np.float32),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_the_network_is_that_of_the_package(
    estimator_of: Callable[[str], F0Estimator], bundled: dict[str, Any], sound: str
) -> None:
    estimator: Any = estimator_of("fcpe")
    log_mel = estimator._log_mel(torch.from_numpy(SOUNDS[sound]()))[None]
    with torch.inference_mode():
        theirs = packaged_network(bundled).infer(log_mel, "local_argmax", threshold=0.006)
        ours = estimator._network.decode(estimator._network(log_mel), 0.006)
    expected, f0 = theirs[0, :, 0].nan_to_num(nan=0.0).numpy(), ours[0].numpy()
    np.testing.assert_array_equal(f0 > 0, expected > 0)
    assert cents(f0, expected).max(initial=0) < 2e-3  # steps of float32 at 9000 cents: 1e-3


@pytest.mark.parametrize("peak", [0, 2, 180, 357, 359])
def test_salience_is_decoded_as_the_package_does(
    estimator_of: Callable[[str], F0Estimator], bundled: dict[str, Any], peak: int
) -> None:
    estimator: Any = estimator_of("fcpe")
    salience = 0.9 * torch.exp(-0.1 * (torch.arange(360) - peak).square())[None, None]
    theirs = packaged_network(bundled).latent2cents_local_decoder(salience, threshold=0.006)
    hz = estimator._network.decode(salience, 0.006)
    torch.testing.assert_close(hz, 10 * 2 ** (theirs[..., 0] / 1200), rtol=1e-6, atol=0)


def test_a_frame_without_any_salience_is_unvoiced(
    estimator_of: Callable[[str], F0Estimator],
) -> None:
    estimator: Any = estimator_of("fcpe")
    assert estimator._network.decode(torch.zeros(1, 3, 360), 0.006).tolist() == [[0.0] * 3]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("model", "type", "Unet"),
        ("model", "conv_only", False),
        ("mel", "sr", 44_100),
        ("mel", "fmax", 16_000),
        ("mel", "hop_size", None),
    ],
)
def test_another_configuration_is_refused_by_name(
    bundled: dict[str, Any], tmp_path: Path, part: str, key: str, value: object
) -> None:
    stated = {**bundled["config_dict"], part: {**bundled["config_dict"][part], key: value}}
    torch.save({"model": {}, "config_dict": stated}, tmp_path / "other.pt")
    with pytest.raises(InvalidWeights, match=rf"other.pt states {part}.{key} = {value!r}"):
        read_fcpe_network(tmp_path / "other.pt")


def test_weights_of_more_layers_are_refused(bundled: dict[str, Any], tmp_path: Path) -> None:
    layer = "net.encoder_layers.6.conformer.net.0.weight"
    state = {**bundled["model"], layer: torch.ones(512)}
    torch.save({**bundled, "model": state}, tmp_path / "deep.pt")
    with pytest.raises(InvalidWeights, match=f"deep.pt has the unknown {layer}"):
        read_fcpe_network(tmp_path / "deep.pt")
