"""Host master copies: the same bits in the same shapes, wherever they are."""

from __future__ import annotations

import copy
import mmap
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpu.copier import HostCopier
from gpu.errors import InvalidSpec
from gpu.layout import ALIGNMENT
from gpu.shadow import Shadow, Shadows, can_be_shadowed, modules_of
from tests.gpu.networks import INPUT, Network, WatchedCopier


@dataclass
class Case:
    network: Network
    copier: WatchedCopier
    shadow: Shadow

    def answer(self) -> Tensor:
        with torch.inference_mode():
            return torch.as_tensor(self.network(INPUT))


@pytest.fixture
def case() -> Case:
    network, copier = Network(), WatchedCopier()
    return Case(network, copier, Shadow([network], copier))


def lies_in(tensor: Tensor, buffer: Tensor) -> bool:
    start = buffer.data_ptr()
    return start <= tensor.data_ptr() < start + buffer.numel()


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def test_answers_stay_the_same_to_the_last_bit(case: Case) -> None:
    with torch.inference_mode():
        expected = Network()(INPUT)
    answers = [case.answer()]
    for _ in range(2):
        case.shadow.to_device()
        answers.append(case.answer())
        case.shadow.drop()
        answers.append(case.answer())
    assert all(torch.equal(answer, expected) for answer in answers)


@pytest.mark.parametrize("n_moves", [0, 1, 2], ids=["host", "device", "dropped"])
def test_tensors_keep_their_bits_types_and_strides(n_moves: int, case: Case) -> None:
    for move in [case.shadow.to_device, case.shadow.drop][:n_moves]:
        move()
    for name, expected in tensors_of(Network()).items():
        tensor = tensors_of(case.network)[name]
        assert (tensor.dtype, tensor.stride()) == (expected.dtype, expected.stride()), name
        assert torch.equal(tensor, expected), name


def test_weights_in_channels_last_order_stay_so(case: Case) -> None:
    case.shadow.to_device()
    assert case.network.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_tensors_are_in_the_buffer_they_belong_to(case: Case) -> None:
    tensors = [tensor for tensor in tensors_of(case.network).values() if tensor.numel()]
    assert all(lies_in(tensor, case.shadow.host) for tensor in tensors)
    case.shadow.to_device()
    assert not any(lies_in(tensor, case.shadow.host) for tensor in tensors)


def test_parameters_keep_their_identity_so_that_flat_lists_of_them_stay_true(case: Case) -> None:
    before = list(case.network.gru.all_weights[0])
    case.shadow.to_device()
    assert all(a is b for a, b in zip(before, case.network.gru._flat_weights, strict=True))


def test_tied_parameters_stay_tied_and_are_copied_once(case: Case) -> None:
    case.shadow.to_device()
    with torch.no_grad():
        case.network.first.weight[2, 0] = 99.0
    assert case.network.second.weight[2, 0] == 99.0
    assert case.network.row[0] == 99.0  # a buffer that was a view of it


def test_after_an_offload_nothing_holds_the_device_s_memory(case: Case) -> None:
    case.shadow.to_device()
    assert case.copier.n_alive == 1
    case.shadow.drop()
    assert case.copier.n_alive == 0


def test_the_modules_former_memory_is_let_go() -> None:
    pages = mmap.mmap(-1, 400)
    former = weakref.ref(pages)
    network = nn.ParameterList([nn.Parameter(torch.frombuffer(pages, dtype=torch.float32))])
    del pages
    shadow = Shadow([network], HostCopier())
    assert former() is None
    assert shadow.nbytes == 448


def test_an_offload_copies_nothing_back(case: Case) -> None:
    case.shadow.to_device()
    case.network.count += 1
    case.shadow.drop()
    assert case.copier.downloaded == 0
    assert case.network.count == 3


def test_buffers_declared_as_changing_are_copied_back() -> None:
    network, copier = Network(), WatchedCopier()
    shadow = Shadow([network], copier, mutable_buffers=["count"])
    shadow.to_device()
    network.count += 1
    shadow.drop()
    assert (int(network.count), copier.downloaded) == (4, 8)
    shadow.to_device()
    assert network.count == 4


def test_a_changing_buffer_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(InvalidSpec, match="'cache'"):
        Shadow([Network()], HostCopier(), mutable_buffers=["count", "cache"])


def test_a_failed_upload_leaves_the_model_on_the_host(case: Case) -> None:
    expected = case.answer()
    case.copier.fails = True
    with pytest.raises(torch.OutOfMemoryError):
        case.shadow.to_device()
    assert (case.shadow.on_device, case.copier.n_alive) == (False, 0)
    assert torch.equal(case.answer(), expected)


def test_moving_to_where_it_is_does_nothing(case: Case) -> None:
    case.shadow.drop()
    case.shadow.to_device()
    case.shadow.to_device()
    assert (case.shadow.uploads, len(case.copier.pages)) == (1, 1)


def test_a_deep_copy_takes_a_tensor_s_own_bytes_only(case: Case) -> None:
    case.shadow.to_device()
    twin = copy.deepcopy(case.network)
    assert twin.scale.untyped_storage().nbytes() <= ALIGNMENT
    case.shadow.drop()
    assert case.copier.n_alive == 0


class Model:
    """Offers modules; like a dataclass, it has an equality and no hash."""

    __hash__ = None  # type: ignore[assignment]
    nbytes = 0

    def __init__(self, modules: Any = ()) -> None:
        self.modules = modules

    def __eq__(self, other: object) -> bool:
        return True

    def to(self, device: str) -> None:
        """Stay."""


class Unwatchable:
    """Has no room for weak references."""

    __slots__ = ("modules", "nbytes")

    def to(self, device: str) -> None:
        """Stay."""


def empty_shadow() -> Shadow:
    return Shadow([], HostCopier())


def test_shadows_are_told_apart_by_the_identity_of_models() -> None:
    shadows, models = Shadows(), [Model(), Model()]
    for model in models:
        shadows.add(model, empty_shadow())
    assert shadows.of(models[0]) is not shadows.of(models[1])
    assert shadows.of(Model()) is None


def test_the_shadow_of_a_dead_model_waits_to_be_taken_once() -> None:
    shadows, model = Shadows(), Model()
    shadow = Shadow([Network()], HostCopier())
    shadows.add(model, shadow)
    assert list(shadows.take_orphans()) == []
    del model
    assert shadows.nbytes == shadow.nbytes
    assert list(shadows.take_orphans()) == [shadow]
    assert (list(shadows.take_orphans()), shadows.nbytes) == ([], 0)


def module_model() -> Any:
    return Network()


@pytest.mark.parametrize(
    ("build", "n_modules", "possible"),
    [
        (lambda: Model([Network()]), 1, True),
        (lambda: Model(), 0, False),
        (module_model, 1, True),  # `modules` is a method of these
        (lambda: object(), 0, False),
    ],
    ids=["offers", "offers none", "is a module", "knows nothing of it"],
)
def test_a_model_says_which_modules_it_has(
    build: Callable[[], Any], n_modules: int, possible: bool
) -> None:
    model = build()
    assert (len(modules_of(model)), can_be_shadowed(model)) == (n_modules, possible)


def test_a_model_that_cannot_be_watched_is_not_shadowed() -> None:
    model: Any = Unwatchable()
    model.modules = [Network()]
    assert not can_be_shadowed(model)
