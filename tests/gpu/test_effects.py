"""What a device does to a model, and how foreign errors are held."""

from __future__ import annotations

import sys
import weakref
from types import SimpleNamespace

import pytest

from gpu.effects import DeviceEffects, attempt, default_effects, weak
from gpu.moves import start_thread
from tests.gpu.fakes import FakeModel, World


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


def test_cuda_memory_goes_back_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    cuda = SimpleNamespace(empty_cache=lambda: calls.append("empty_cache"))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    default_effects("cuda:0").freed(1)
    assert calls == ["empty_cache"]


def test_on_a_cpu_there_is_no_driver_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    default_effects("cpu").freed(1)


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
