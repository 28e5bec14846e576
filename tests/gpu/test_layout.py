"""Where tensors lie in a flat buffer."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gpu.copier import HostCopier
from gpu.layout import ALIGNMENT
from gpu.shadow import Shadow
from tests.gpu.networks import WatchedCopier


def test_the_buffer_holds_each_run_of_memory_once_aligned_and_nothing_else() -> None:
    network: Any = nn.Module()
    weight = nn.Parameter(torch.ones(33))  # 132 bytes: three lines of 64
    network.weight, network.tied = weight, weight
    network.register_buffer("view", weight.data[20:25])
    network.register_buffer("nothing", torch.empty(0, 4))
    network.register_buffer("count", torch.tensor(3))  # one line
    network.register_buffer("column", torch.randn(9, 9)[:, 1])  # 292 bytes: five lines
    copier = WatchedCopier()
    shadow = Shadow([network], copier)
    shadow.to_device()
    pages = copier.pages[0]()
    assert pages is not None
    assert shadow.nbytes == len(pages) == (3 + 1 + 5) * ALIGNMENT


def test_tensors_of_special_kinds_are_left_to_the_model() -> None:
    network: Any = nn.Module()
    network.register_buffer("sparse", torch.eye(3).to_sparse())
    network.register_buffer("conjugate", torch.ones(2, dtype=torch.complex64).conj())
    network.register_buffer("far", torch.empty(2, device="meta"))
    assert Shadow([network], HostCopier()).nbytes == 0


def test_a_buffer_made_in_inference_mode_is_moved_too() -> None:
    network: Any = nn.Module()
    with torch.inference_mode():
        network.register_buffer("table", torch.arange(4.0))
    shadow = Shadow([network], HostCopier())
    shadow.to_device()
    assert network.table.tolist() == [0, 1, 2, 3]


def test_views_of_another_type_keep_their_place() -> None:
    network: Any = nn.Module()
    halves = torch.arange(40, dtype=torch.float16)
    network.register_buffer("halves", halves[33:39])
    network.register_buffer("floats", halves[34:40].view(torch.float32))
    expected = [network.halves.clone(), network.floats.clone()]
    Shadow([network], HostCopier()).to_device()
    assert torch.equal(network.halves, expected[0])
    assert torch.equal(network.floats, expected[1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([torch.uint8, torch.float16, torch.float32, torch.complex128]),
            st.integers(0, 9),
            st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=3),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_layout_survives_the_way_there_and_back(
    layouts: list[tuple[torch.dtype, int, list[tuple[int, int]], bool]],
) -> None:
    network, shared = nn.Module(), torch.arange(4096, dtype=torch.int32).view(torch.uint8)
    for number, (dtype, offset, axes, shares) in enumerate(layouts):
        memory = shared if shares else shared.clone()
        size, stride = [n for n, _ in axes], [step for _, step in axes]
        network.register_buffer(f"b{number}", memory.view(dtype).as_strided(size, stride, offset))
    expected = [buffer.clone() for buffer in network.buffers()]
    shadow = Shadow([network], HostCopier())
    for move in (shadow.to_device, shadow.drop):
        move()
        for (dtype, _, axes, _), buffer, value in zip(
            layouts, network.buffers(), expected, strict=True
        ):
            assert (buffer.dtype, buffer.stride()) == (dtype, tuple(step for _, step in axes))
            assert buffer.numpy().tobytes() == value.numpy().tobytes()
