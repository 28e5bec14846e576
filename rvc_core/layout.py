"""How a voice's network is built, read from its tensors; `config` only where they are silent.

Forks write `config` and `sr` in many ways and sometimes wrongly; the shapes of tensors cannot
be wrong. What they do not tell are the upsampling rates of voices without F0, the dilations and
the sample rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rvc_core.errors import InvalidCheckpoint
from rvc_core.nn.generator import GeneratorShape
from rvc_core.synthesizer import SynthesizerConfig

Shapes = Mapping[str, tuple[int, ...]]  # of the tensors by name, weight norm multiplied out

RVC_FRAME_RATE = 100
STOCK_RATES: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = {  # by upsampling kernels
    (16, 16, 4, 4): ((10, 10, 2, 2),),
    (16, 16, 4, 4, 4): ((10, 4, 2, 2, 2), (10, 6, 2, 2, 2)),
    (20, 16, 4, 4): ((10, 8, 2, 2),),
    (24, 20, 4, 4): ((12, 10, 2, 2),),
    (20, 12, 4, 4): ((10, 6, 2, 2),),
}
STOCK_DILATIONS = {"1": (1, 3, 5), "2": (1, 3)}
# Places in the 18 entries of `config`, the order of the official constructor.
DILATIONS, RATES, CHANNELS, KERNELS, SAMPLE_RATE = 11, 12, 13, 14, 17


def parse_sample_rate(value: Any) -> int | None:
    """Hz of spellings such as 40000, "40k", "40000" and "40khz"; None if it is none of them."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(k?)(?:hz)?", str(value).strip().lower())
    if match is None:
        return None
    number = float(match[1])
    hertz = round(number * 1000 if match[2] or number < 1000 else number)
    return hertz if 8_000 <= hertz <= 192_000 else None


def read_layout(shapes: Shapes, config: Sequence[Any] | None, label: Any) -> SynthesizerConfig:
    """Layout of the network whose tensors have these `shapes`; `label` is the file's `sr` entry."""
    attention = "enc_p.encoder.attn_layers.0."
    hidden, content_dim = _shape(shapes, "enc_p.emb_phone.weight")
    filter_channels, _, kernel_size = _shape(shapes, "enc_p.encoder.ffn_layers.0.conv_1.weight")
    _, positions, head_dim = _shape(shapes, attention + "emb_rel_k")
    flow_layer = _shape(shapes, "flow.flows.0.enc.in_layers.0.weight")
    generator = _read_generator(shapes, config, label)
    return SynthesizerConfig(
        sample_rate=_sample_rate(generator, config, label),
        content_dim=content_dim,
        uses_f0="enc_p.emb_pitch.weight" in shapes,
        n_speakers=_shape(shapes, "emb_g.weight")[0],
        hidden_channels=hidden,
        filter_channels=filter_channels,
        n_heads=hidden // head_dim,
        n_layers=_count(shapes, "enc_p.encoder.attn_layers."),
        kernel_size=kernel_size,
        window=positions // 2,
        flow_hidden=_shape(shapes, "flow.flows.0.pre.weight")[0],
        n_flows=_count(shapes, "flow.flows."),
        flow_layers=_count(shapes, "flow.flows.0.enc.in_layers."),
        flow_kernel=flow_layer[2],
        generator=generator,
    )


def _read_generator(shapes: Shapes, config: Sequence[Any] | None, label: Any) -> GeneratorShape:
    channels, channels_in, _ = _shape(shapes, "dec.conv_pre.weight")
    n_stages = _count(shapes, "dec.ups.")
    kernels = tuple(_shape(shapes, f"dec.ups.{i}.weight")[2] for i in range(n_stages))
    n_blocks = _count(shapes, "dec.resblocks.") // max(1, n_stages)
    block_type = "1" if "dec.resblocks.0.convs1.0.weight" in shapes else "2"
    convs = "convs1" if block_type == "1" else "convs"
    depth = _count(shapes, f"dec.resblocks.0.{convs}.")
    block_kernels = (
        _shape(shapes, f"dec.resblocks.{i}.{convs}.0.weight")[2] for i in range(n_blocks)
    )
    trusted = _matching_config(config, channels, kernels)
    return GeneratorShape(
        channels_in=channels_in,
        channels=channels,
        upsample_rates=_upsample_rates(shapes, kernels, trusted, label),
        upsample_kernels=kernels,
        block_type=block_type,
        block_kernels=tuple(block_kernels),
        block_dilations=_dilations(trusted, n_blocks, depth, block_type),
        speaker_dim=_shape(shapes, "emb_g.weight")[1],
    )


def _shape(shapes: Shapes, key: str) -> tuple[int, ...]:
    if key not in shapes:
        raise InvalidCheckpoint(f"The voice lacks {key}.")
    return shapes[key]


def _count(shapes: Shapes, prefix: str) -> int:
    """Number of different indices that follow `prefix` in the keys."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match[1] for key in shapes if (match := pattern.match(key))})


def _matching_config(
    config: Sequence[Any] | None, channels: int, kernels: tuple[int, ...]
) -> Sequence[Any] | None:
    """`config` if it speaks of this decoder, else None: it was copied from another voice."""
    if config is None or len(config) < 18:
        return None
    if config[CHANNELS] != channels or _integers(config[KERNELS]) != kernels:
        return None
    return config


def _integers(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, int) for v in value):
        return None
    return tuple(value)


def _upsample_rates(
    shapes: Shapes, kernels: tuple[int, ...], config: Sequence[Any] | None, label: Any
) -> tuple[int, ...]:
    stated = _integers(config[RATES]) if config is not None else None
    if stated is not None and _rates_fit(shapes, stated, kernels):
        return stated
    candidates = [r for r in STOCK_RATES.get(kernels, ()) if _rates_fit(shapes, r, kernels)]
    wanted = parse_sample_rate(label) or (
        parse_sample_rate(config[SAMPLE_RATE]) if config is not None else None
    )
    if len(candidates) > 1:
        candidates = [r for r in candidates if math.prod(r) * RVC_FRAME_RATE == wanted]
    if len(candidates) != 1:
        raise InvalidCheckpoint(
            f"The voice does not say its upsampling rates, and its kernels {list(kernels)} "
            "do not tell them."
        )
    return candidates[0]


def _rates_fit(shapes: Shapes, rates: tuple[int, ...], kernels: tuple[int, ...]) -> bool:
    """Whether the kernels can upsample by `rates`, and the excitation's strides agree."""
    if len(rates) != len(kernels):
        return False
    if any(u < 1 or u > k or (k - u) % 2 for u, k in zip(rates, kernels, strict=True)):
        return False
    for stage in range(len(rates) - 1):
        key = f"dec.noise_convs.{stage}.weight"
        if key in shapes and shapes[key][2] != 2 * math.prod(rates[stage + 1 :]):
            return False
    return True


def _dilations(
    config: Sequence[Any] | None, n_blocks: int, depth: int, block_type: str
) -> tuple[tuple[int, ...], ...]:
    if config is not None and isinstance(config[DILATIONS], (list, tuple)):
        stated = [_integers(entry) for entry in config[DILATIONS]]
        if len(stated) == n_blocks and all(e is not None and len(e) == depth for e in stated):
            return tuple(e for e in stated if e is not None)
    stock = STOCK_DILATIONS[block_type]
    if depth != len(stock):
        raise InvalidCheckpoint(f"The voice does not say its dilations; its blocks have {depth}.")
    return (stock,) * n_blocks


def _sample_rate(generator: GeneratorShape, config: Sequence[Any] | None, label: Any) -> int:
    """What the file states, unless the network can only be an RVC one of another rate."""
    natural = generator.hop_length * RVC_FRAME_RATE
    if generator.upsample_rates in STOCK_RATES.get(generator.upsample_kernels, ()):
        return natural
    stated = [parse_sample_rate(config[SAMPLE_RATE])] if config and len(config) >= 18 else []
    stated.append(parse_sample_rate(label))
    if natural in stated:
        return natural
    rate = next((rate for rate in stated if rate is not None), None)
    if rate is None:
        raise InvalidCheckpoint("The voice does not say its sample rate.")
    if not 40 <= rate / generator.hop_length <= 250:
        raise InvalidCheckpoint(
            f"The voice states {rate} Hz, which its {generator.hop_length} samples a frame "
            "cannot be."
        )
    return rate
