"""The prior encoder's transformer: post-norm layers with relative positions in a window."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rvc_core.token import check_current

QUERY_BLOCK = 256  # rows of the attention matrix held at once: memory stays linear in frames


class ChannelNorm(nn.Module):
    """Layer norm over channels of (batch, channels, frames)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each frame."""
        x = F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta)
        return x.transpose(1, 2)  # (batch, frames, channels) -> (batch, channels, frames)


class RelativeAttention(nn.Module):
    """Self-attention whose scores and values know the distance up to `window` (Shaw 2018)."""

    def __init__(self, channels: int, n_heads: int, window: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.window = window
        self.head_dim = channels // n_heads
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        self.emb_rel_k = nn.Parameter(torch.zeros(1, 2 * window + 1, self.head_dim))
        self.emb_rel_v = nn.Parameter(torch.zeros(1, 2 * window + 1, self.head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all frames of one clip, (1, channels, frames)."""
        query = self._heads(self.conv_q(x)) / math.sqrt(self.head_dim)
        key, value = self._heads(self.conv_k(x)), self._heads(self.conv_v(x))
        blocks = [
            self._attend(query[:, start : start + QUERY_BLOCK], start, key, value)
            for start in range(0, query.shape[1], QUERY_BLOCK)
        ]
        mixed = torch.cat(blocks, dim=1)  # (heads, frames, head_dim)
        return torch.as_tensor(self.conv_o(mixed.transpose(1, 2).reshape(1, -1, x.shape[2])))

    def _heads(self, x: Tensor) -> Tensor:
        # (1, channels, frames) -> (heads, frames, head_dim)
        return x[0].view(self.n_heads, self.head_dim, -1).transpose(1, 2)

    def _attend(self, query: Tensor, start: int, key: Tensor, value: Tensor) -> Tensor:
        """Output of the queries of frames `start` and on, (heads, queries, head_dim)."""
        check_current()
        frames = key.shape[1]
        inside = slice(self.window, self.window + frames)
        scores = query.new_zeros(self.n_heads, query.shape[1], frames + 2 * self.window)
        scores[:, :, inside] = query @ key.transpose(1, 2)
        self._band(scores, start).add_(query @ self.emb_rel_k[0].T)
        weights = torch.zeros_like(scores)
        weights[:, :, inside] = scores[:, :, inside].softmax(-1)
        return weights[:, :, inside] @ value + self._band(weights, start) @ self.emb_rel_v[0]

    def _band(self, matrix: Tensor, start: int) -> Tensor:
        """View the columns within `window` of each row's frame: (heads, rows, 2 window + 1).

        `matrix` has `window` spare columns on each side, so the band never leaves it.
        """
        heads, rows, _ = matrix.shape
        stride_head, stride_row, _ = matrix.stride()
        size, stride = (heads, rows, 2 * self.window + 1), (stride_head, stride_row + 1, 1)
        return matrix.as_strided(size, stride, start)


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between."""

    def __init__(self, channels: int, filter_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (batch, channels, frames)."""
        check_current()
        hidden = F.relu(self.conv_1(F.pad(x, self.padding)))
        check_current()
        return torch.as_tensor(self.conv_2(F.pad(hidden, self.padding)))


class Transformer(nn.Module):
    """The layers of the prior encoder; they see no padding, so there is no mask."""

    def __init__(
        self,
        channels: int,
        filter_channels: int,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        window: int,
    ) -> None:
        super().__init__()
        layers = range(n_layers)
        self.attn_layers = nn.ModuleList(
            RelativeAttention(channels, n_heads, window) for _ in layers
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size) for _ in layers
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (1, channels, frames)."""
        layers = zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        )
        for attention, norm_1, feed_forward, norm_2 in layers:
            check_current()
            x = norm_1(x + attention(x))
            x = norm_2(x + feed_forward(x))
        return x
