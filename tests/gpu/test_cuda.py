"""What only a GPU can show; the same measurements run on host memory, to see that they run.

`pytest -m gpu` picks these tests. Their limits are those of issue and manual: an offload in 50 ms,
a restore at 80 % of the pinned rate, an idle process below 1 GB, no drift.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.gpu import GB, Dummy, Rig, main, measure_copies, measure_moves, seconds
from gpu.copier import host_buffer
from gpu.effects import DeviceEffects, default_effects
from gpu.oom import is_out_of_memory
from gpu.peak import run_and_measure
from gpu.pinning import CudaPinning
from gpu.probe import probe_device
from gpu.state import Model, ModelSpec
from gpu_manager import GPUResourceManager
from tests.gpu.networks import INPUT, Network

MB = 2**20
N_CYCLES = 1000
WARM_UP = 50


@pytest.fixture
def cuda() -> str:
    """The first GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; torch finds none")
    return "cuda:0"


class NetworkModel:
    """A network with a recurrent layer, which cuDNN lays out anew."""

    def __init__(self) -> None:
        self.modules = [Network()]
        self.nbytes = 10_000

    def to(self, device: str) -> None:
        self.modules[0].to(device)

    def answer(self, device: str) -> torch.Tensor:
        with torch.inference_mode():
            return torch.as_tensor(self.modules[0](INPUT.to(device))).cpu()


class StoredModel:
    """A linear network that is read from a file."""

    def __init__(self, path: Path, device: str) -> None:
        state = torch.load(path, weights_only=True)
        with torch.device("meta"):
            layers = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(len(state))))
        layers.load_state_dict(state, assign=True)
        self.modules = [layers.requires_grad_(False).to(device)]
        self.nbytes = sum(tensor.nbytes for tensor in state.values())

    def to(self, device: str) -> None:
        self.modules[0].to(device)


def stored_spec(folder: Path, n_layers: int) -> ModelSpec:
    """A model of 16 MB a layer on disk."""
    path = folder / "model.pt"
    torch.save({f"{n}.weight": torch.randn(2048, 2048) for n in range(n_layers)}, path)
    return ModelSpec("stored", "fake", lambda device: StoredModel(path, device))


def cold_and_restored_s(effects: DeviceEffects, spec: ModelSpec) -> tuple[float, float]:
    """Seconds of a load from disk and of a restore, the second of each."""
    effects.load(spec)  # loads kernels and starts CUDA
    models: list[Model] = []
    cold_s = seconds(lambda: models.append(effects.load(spec)))
    for _ in range(2):
        effects.offload(models[0], models[0].nbytes)
        restored_s = seconds(lambda: effects.restore(models[0]))
    return cold_s, restored_s


def cycle(manager: GPUResourceManager, model_id: str, n_cycles: int) -> None:
    """Load, offload, restore, release."""
    for _ in range(n_cycles):
        for expected in ("unloaded", "offloaded"):
            with (lease := manager.acquire(model_id)):
                assert lease.state_at_arrival == expected
            (manager.force_offload if expected == "unloaded" else manager.force_release)(model_id)


# On a GPU.


@pytest.mark.gpu
def test_an_offload_takes_at_most_50_ms(cuda: str) -> None:
    assert measure_moves(Rig(cuda), GB)["offload_s"] <= 0.050


@pytest.mark.gpu
def test_a_restore_reaches_80_percent_of_the_pinned_rate(cuda: str) -> None:
    rig = Rig(cuda)
    pinned_gbps = measure_copies(rig, GB)["pinned"]["upload_gbps"]
    moves = measure_moves(rig, GB)
    assert moves["pinned"]
    assert moves["restore_gbps"] >= 0.8 * pinned_gbps


@pytest.mark.gpu
def test_a_restored_model_is_five_times_faster_than_a_cold_one(cuda: str, tmp_path: Path) -> None:
    cold_s, restored_s = cold_and_restored_s(default_effects(cuda), stored_spec(tmp_path, 16))
    assert cold_s >= 5 * restored_s


@pytest.mark.gpu
def test_an_idle_process_holds_less_than_a_gigabyte(cuda: str) -> None:
    effects = default_effects(cuda)
    model = effects.load(ModelSpec("dummy", "fake", lambda device: Dummy(2 * GB)))
    effects.offload(model, 2 * GB)
    memory = probe_device(cuda)
    if memory.context_bytes is None:
        pytest.skip("the driver does not list this process, so its context cannot be told")
    assert torch.cuda.memory_reserved(cuda) + memory.context_bytes < GB


@pytest.mark.gpu
@pytest.mark.slow
def test_a_thousand_cycles_leave_nothing_on_the_card(cuda: str) -> None:
    manager = GPUResourceManager(cuda, reaper=False)
    manager.register(ModelSpec("dummy", "fake", lambda device: Dummy(4 * MB)))
    cycle(manager, "dummy", WARM_UP)
    torch.cuda.empty_cache()
    reserved, free = torch.cuda.memory_reserved(cuda), torch.cuda.mem_get_info(cuda)[0]
    cycle(manager, "dummy", N_CYCLES)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved(cuda) - reserved <= 16 * MB
    assert free - torch.cuda.mem_get_info(cuda)[0] <= 16 * MB
    manager.close()


@pytest.mark.gpu
def test_answers_are_equal_before_and_after_and_no_byte_stays_behind(cuda: str) -> None:
    effects = default_effects(cuda)
    model = NetworkModel()
    before = effects.load(ModelSpec("network", "fake", lambda device: model))
    assert before is model
    expected = model.answer(cuda)  # also takes what cuDNN and cuBLAS keep for good
    effects.offload(model, model.nbytes)
    effects.trim()
    at_rest = torch.cuda.memory_allocated(cuda)
    for _ in range(3):
        effects.restore(model)
        assert torch.equal(model.answer(cuda), expected)
        effects.offload(model, model.nbytes)
        assert torch.cuda.memory_allocated(cuda) <= at_rest
    assert all(parameter.device.type == "cpu" for parameter in model.modules[0].parameters())


@pytest.mark.gpu
def test_registered_memory_counts_as_pinned_and_a_refusal_breaks_nothing(cuda: str) -> None:
    buffer, pinning = host_buffer(MB), CudaPinning(cuda)
    assert pinning.register(buffer.data_ptr(), MB)
    assert buffer.is_pinned()
    assert not pinning.register(buffer.data_ptr(), MB)  # it is already
    assert torch.ones(3, device=cuda).sum().item() == 3
    assert pinning.unregister(buffer.data_ptr())
    assert not buffer.is_pinned()


@pytest.mark.gpu
def test_a_full_card_is_recognised(cuda: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device=cuda)
    assert is_out_of_memory(caught.value)


@pytest.mark.gpu
def test_what_work_takes_beside_its_models_is_measured(cuda: str) -> None:
    kept = torch.zeros(MB, device=cuda)
    result, peak = run_and_measure(cuda, lambda: (kept + torch.ones(MB, device=cuda)).sum().item())
    assert result == MB
    assert peak is not None
    assert 4 * MB <= peak <= 20 * MB


@pytest.mark.gpu
def test_the_driver_and_torch_speak_of_the_same_card(cuda: str) -> None:
    torch.ones(1, device=cuda)
    memory = probe_device(cuda)
    assert memory.name == torch.cuda.get_device_name(cuda)
    assert memory.total_bytes is not None
    assert memory.total_bytes >= torch.cuda.get_device_properties(cuda).total_memory
    assert memory.external_bytes is not None
    assert memory.reserved_unused_bytes is not None


# On host memory.


def test_the_measurements_run_without_a_gpu() -> None:
    rig = Rig("cpu")
    moves = measure_moves(rig, 8 * MB, repeats=1)
    assert (moves["gb"], moves["pinned"]) == (8 * MB / GB, False)
    assert min(moves["offload_s"], moves["restore_s"]) > 0
    assert measure_copies(rig, 8 * MB)["pageable"].keys() == {"upload_gbps", "download_gbps"}


def test_cold_and_restored_are_timed_without_a_gpu(tmp_path: Path) -> None:
    effects = Rig("cpu").effects(0)
    assert min(cold_and_restored_s(effects, stored_spec(tmp_path, 2))) > 0
    assert effects.host_bytes == 2 * 16 * MB


def test_cycles_run_without_a_gpu() -> None:
    manager = GPUResourceManager("cpu", effects=Rig("cpu").effects(0), reaper=False)
    manager.register(ModelSpec("dummy", "fake", lambda device: Dummy(MB)))
    cycle(manager, "dummy", 3)
    model = manager.get_status()["devices"][0]["models"][0]
    assert (model["loads"], model["restores"], model["releases"]) == (3, 3, 3)
    manager.close()


def test_the_benchmark_writes_json_and_says_that_no_gpu_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--device", "cpu", "--sizes-gb", "0.008", "1000000"])
    result = json.loads(capsys.readouterr().out)
    assert result["what"] == "host to host: no GPU was measured"
    assert [move["gb"] for move in result["moves"]] == [0.008]
    assert result["left_out_gb"] == [1_000_000]
