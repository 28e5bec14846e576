"""The device that models run on."""

from __future__ import annotations

from server.errors import DeviceUnavailable


def open_device(wanted: str, n_threads: int) -> str:
    """Resolve auto, cpu or cuda to a device for torch and set torch's CPU threads."""
    import torch

    torch.set_num_threads(n_threads)
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda:0"
    if wanted == "cuda":
        raise DeviceUnavailable("DEVICE is cuda, but torch finds no GPU that it can use.")
    return "cpu"
