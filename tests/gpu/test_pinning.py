"""Who is pinned when not all can be."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from gpu.pinning import CudaPinning, PinnedBudget, capped_pin_bytes


class FakeRuntime:
    """Pins nothing; knows what it was asked."""

    def __init__(self) -> None:
        self.pinned: dict[int, int] = {}
        self.registrations = 0
        self.refuses = False

    def register(self, address: int, n_bytes: int) -> bool:
        assert address not in self.pinned
        self.registrations += 1
        if not self.refuses:
            self.pinned[address] = n_bytes
        return not self.refuses

    def unregister(self, address: int) -> bool:
        return not self.refuses and bool(self.pinned.pop(address))


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def budget(runtime: FakeRuntime) -> PinnedBudget:
    """Room for 100 bytes."""
    return PinnedBudget(100, runtime)


def restore(budget: PinnedBudget, address: int, n_bytes: int, uses: int = 0) -> bool:
    with budget.hold(address, n_bytes, uses) as pinned:
        return pinned


def test_a_buffer_is_pinned_once_and_stays_so(budget: PinnedBudget, runtime: FakeRuntime) -> None:
    assert [restore(budget, 1, 60, uses) for uses in range(3)] == [True, True, True]
    assert (runtime.registrations, runtime.pinned, budget.pinned_bytes) == (1, {1: 60}, 60)


def test_nothing_is_pinned_beyond_the_limit(budget: PinnedBudget, runtime: FakeRuntime) -> None:
    assert restore(budget, 1, 60)
    assert not restore(budget, 2, 41)
    assert restore(budget, 3, 40)
    assert (runtime.pinned, budget.failures) == ({1: 60, 3: 40}, 0)


def test_a_model_that_comes_back_more_often_takes_the_place_of_the_least_restored(
    budget: PinnedBudget, runtime: FakeRuntime
) -> None:
    restore(budget, 1, 50, uses=2)
    restore(budget, 2, 50, uses=1)
    assert [restore(budget, 3, 40, uses) for uses in (0, 1, 9)] == [False, False, True]
    assert runtime.pinned == {1: 50, 3: 40}


def test_equals_do_not_push_each_other_out(budget: PinnedBudget, runtime: FakeRuntime) -> None:
    for uses in range(5):
        restore(budget, 1, 60, uses)
        restore(budget, 2, 60, uses)
    assert runtime.registrations == 1


def test_nobody_is_unpinned_in_vain(budget: PinnedBudget, runtime: FakeRuntime) -> None:
    restore(budget, 1, 50, uses=1)
    restore(budget, 2, 50, uses=9)
    assert not restore(budget, 3, 60, uses=5)
    assert not restore(budget, 4, 101, uses=99)
    assert runtime.pinned == {1: 50, 2: 50}


def test_a_buffer_that_is_being_copied_stays_pinned(
    budget: PinnedBudget, runtime: FakeRuntime
) -> None:
    with budget.hold(1, 60, 0):
        assert not restore(budget, 2, 60, uses=5)
    assert restore(budget, 2, 60, uses=5)
    assert runtime.pinned == {2: 60}


def test_a_copy_that_fails_is_no_longer_held(budget: PinnedBudget) -> None:
    with pytest.raises(KeyError), budget.hold(1, 60, 0):
        raise KeyError
    assert restore(budget, 2, 60, uses=5)


def test_a_refusal_is_counted_and_tried_again(budget: PinnedBudget, runtime: FakeRuntime) -> None:
    runtime.refuses = True
    assert not restore(budget, 1, 60)
    assert (budget.failures, budget.pinned_bytes) == (1, 0)
    runtime.refuses = False
    assert restore(budget, 1, 60)


def test_a_forgotten_buffer_is_unpinned_before_it_is_freed(
    budget: PinnedBudget, runtime: FakeRuntime
) -> None:
    restore(budget, 1, 60)
    budget.forget(1)
    budget.forget(1)
    assert (runtime.pinned, budget.pinned_bytes, budget.failures) == ({}, 0, 0)


def test_a_failure_to_unpin_is_counted(budget: PinnedBudget, runtime: FakeRuntime) -> None:
    restore(budget, 1, 60)
    runtime.refuses = True
    budget.forget(1)
    assert budget.failures == 1


def test_a_model_without_weights_needs_no_pinning(
    budget: PinnedBudget, runtime: FakeRuntime
) -> None:
    assert not restore(budget, 1, 0)
    assert runtime.registrations == 0


def test_no_more_than_two_fifths_of_the_host_can_be_asked_for() -> None:
    assert [capped_pin_bytes(wanted, 1000) for wanted in (0, 399, 401)] == [0, 399, 400]


class FakeCudaRuntime:
    """Answers as cudart does: with a code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.calls: list[tuple[object, ...]] = []

    def cudaHostRegister(self, *arguments: int) -> int:
        self.calls.append(("register", *arguments))
        return self.code

    def cudaHostUnregister(self, address: int) -> int:
        self.calls.append(("unregister", address))
        return self.code


def fake_torch(monkeypatch: pytest.MonkeyPatch, code: int) -> FakeCudaRuntime:
    runtime = FakeCudaRuntime(code)

    def empty(n: int, device: str) -> object:
        runtime.calls.append(("kernel", device))
        raise RuntimeError("the runtime's last error")

    class Device:
        def __init__(self, name: str) -> None:
            runtime.calls.append(("device", name))

        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    cuda = SimpleNamespace(cudart=lambda: runtime, device=Device)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, empty=empty))
    return runtime


def test_the_cuda_runtime_pins_exactly_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = fake_torch(monkeypatch, code=0)
    pinning = CudaPinning("cuda:1")
    assert (pinning.register(4096, 777), pinning.unregister(4096)) == (True, True)
    on_card = ("device", "cuda:1")
    assert runtime.calls == [on_card, ("register", 4096, 777, 1), on_card, ("unregister", 4096)]


def test_a_refusal_leaves_no_error_for_the_next_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = fake_torch(monkeypatch, code=2)
    assert not CudaPinning("cuda:1").register(4096, 777)
    assert runtime.calls[-1] == ("kernel", "cuda:1")
