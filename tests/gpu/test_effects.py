"""What a device does to a model, and how foreign errors are held."""

from __future__ import annotations

import ctypes
import sys
import weakref
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from gpu.effects import TRIM_BYTES, DeviceEffects, attempt, default_effects, weak
from gpu.host_memory import read_host_memory
from gpu.moves import start_thread
from gpu.pinning import PinnedBudget
from gpu.state import ModelSpec
from tests.gpu.fakes import FakeModel, World
from tests.gpu.networks import INPUT, Network, WatchedCopier


def test_a_model_is_loaded_on_and_restored_to_its_device() -> None:
    world, effects = World(), DeviceEffects("dev")
    model = effects.load(world.spec("a"))
    effects.offload(model, 10)
    assert (model.device,) == ("cpu",)  # type: ignore[attr-defined]
    effects.restore(model)
    assert (model.device,) == ("dev",)  # type: ignore[attr-defined]


def test_the_hook_hears_of_freed_bytes_only() -> None:
    freed: list[int] = []
    effects = DeviceEffects("dev", freed.append)
    effects.offload(FakeModel("a", 10, World()), 10)
    effects.freed(0)
    assert freed == [10]


def test_cuda_memory_goes_back_to_the_driver_once_enough_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    cuda = SimpleNamespace(
        empty_cache=lambda: calls.append("empty_cache"), synchronize=lambda device: None
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    effects = default_effects("cuda:0")
    for _ in range(2):
        effects.freed(TRIM_BYTES // 2)
    assert calls == []
    effects.freed(1)
    effects.freed(TRIM_BYTES)
    assert calls == ["empty_cache"]
    effects.trim()
    assert calls == ["empty_cache"] * 2


def test_on_a_cpu_there_is_no_driver_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    default_effects("cpu").freed(1)
    default_effects("cpu").trim()


@pytest.mark.parametrize(("wanted", "share"), [(None, 0.125), (0, 0.0), (2**60, 0.4)])
def test_what_may_be_pinned_is_bounded(wanted: int | None, share: float) -> None:
    pins = default_effects("cuda:0", wanted).pins
    assert pins is not None
    assert pins.limit_bytes == int(share * read_host_memory().limit_bytes)


class NetworkModel:
    """A network that offers its modules, and a table beside it; notes where it was sent."""

    def __init__(self) -> None:
        self.network = Network()
        self.sent: list[str] = []

    @property
    def modules(self) -> list[Network]:
        return [self.network]

    @property
    def nbytes(self) -> int:
        return 1000

    def to(self, device: str) -> None:
        self.sent.append(device)
        self.network.to(device)

    def answer(self) -> torch.Tensor:
        with torch.inference_mode():
            return torch.as_tensor(self.network(INPUT))


class FakeRuntime:
    """Pins whatever it is asked to; knows whether the memory still exists when it is undone."""

    def __init__(self) -> None:
        self.pinned: dict[int, int] = {}

    def register(self, address: int, n_bytes: int) -> bool:
        self.pinned[address] = n_bytes
        return True

    def unregister(self, address: int) -> bool:
        return ctypes.string_at(address, self.pinned.pop(address)) != b""  # crashes if unmapped


@dataclass
class Rig:
    copier: WatchedCopier
    runtime: FakeRuntime
    effects: DeviceEffects
    model: NetworkModel


SPEC = ModelSpec("a", "fake", load=lambda device: NetworkModel())


@pytest.fixture
def rig() -> Rig:
    """A shadowed model on a device that is host memory, with pins."""
    copier, runtime = WatchedCopier(), FakeRuntime()
    effects = DeviceEffects("cpu", copier=copier, pins=PinnedBudget(10**6, runtime))
    model = effects.load(SPEC)
    assert isinstance(model, NetworkModel)
    return Rig(copier, runtime, effects, model)


def test_a_model_that_offers_its_modules_leaves_without_copying_anything_back(rig: Rig) -> None:
    expected = NetworkModel().answer()
    for _ in range(3):
        assert rig.copier.n_alive == 1
        assert torch.equal(rig.model.answer(), expected)
        rig.effects.offload(rig.model, 1000)
        assert rig.copier.n_alive == 0
        rig.effects.restore(rig.model)
    assert rig.copier.downloaded == 0


def test_with_a_copier_models_are_read_to_the_cpu_and_what_is_no_module_follows() -> None:
    read: list[str] = []

    def load(device: str) -> NetworkModel:
        read.append(device)
        return NetworkModel()

    effects = DeviceEffects("meta", copier=WatchedCopier())
    model = effects.load(ModelSpec("a", "fake", load))
    assert isinstance(model, NetworkModel)
    assert (read, model.sent) == (["cpu"], ["meta"])


def test_a_model_that_offers_no_modules_moves_by_itself() -> None:
    world, copier = World(), WatchedCopier()
    effects = DeviceEffects("dev", copier=copier)
    model = effects.load(world.spec("a"))
    effects.offload(model, 10)
    assert world.events == [("load", "a"), ("restore", "a"), ("offload", "a")]
    assert (copier.pages, effects.host_bytes) == ([], 0)


def test_a_restore_that_failed_can_be_tried_again(rig: Rig) -> None:
    rig.effects.offload(rig.model, 1000)
    rig.copier.fails = True
    with pytest.raises(torch.OutOfMemoryError):
        rig.effects.restore(rig.model)
    rig.copier.fails = False
    rig.effects.restore(rig.model)
    assert torch.equal(rig.model.answer(), NetworkModel().answer())


def test_a_released_model_frees_its_shadow_unpinned_first(rig: Rig) -> None:
    assert rig.effects.host_bytes == sum(rig.runtime.pinned.values()) > 0
    rig.model = NetworkModel()  # the last reference to the other one is gone
    rig.effects.freed(1000)
    assert (rig.effects.host_bytes, rig.runtime.pinned, rig.copier.n_alive) == (0, {}, 0)


def test_a_model_that_dies_frees_nothing_at_that_moment(rig: Rig) -> None:
    rig.model = NetworkModel()
    assert (len(rig.runtime.pinned), rig.copier.n_alive) == (1, 1)


def test_a_model_that_comes_back_more_often_takes_the_pinned_place() -> None:
    runtime = FakeRuntime()
    effects = DeviceEffects("cpu", copier=WatchedCopier(), pins=PinnedBudget(3000, runtime))
    models = [effects.load(SPEC) for _ in range(2)]
    assert effects.host_bytes / 2 < 3000 < effects.host_bytes  # room for one
    before = list(runtime.pinned)
    effects.offload(models[1], 1)
    effects.restore(models[1])
    assert len(runtime.pinned) == 1
    assert list(runtime.pinned) != before


def test_the_last_upload_s_rate_is_known(rig: Rig) -> None:
    assert rig.effects.upload_gbps is not None
    assert 0 < rig.effects.upload_gbps < 1000


def test_a_held_error_keeps_nothing_of_its_frames_alive() -> None:
    born: list[weakref.ref[FakeModel]] = []

    def fail() -> None:
        model = FakeModel("a", 10, World())
        born.append(weakref.ref(model))
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise RuntimeError("outer") from error

    _, held = attempt(fail, "a test")
    assert isinstance(held, RuntimeError)
    assert born[0]() is None


def test_a_model_that_cannot_be_watched_has_no_weak_reference() -> None:
    assert weak((1, 2)) is None  # type: ignore[arg-type]


def test_work_is_done_in_place_when_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    start_thread("job", lambda: done.append(1))
    assert done == [1]
