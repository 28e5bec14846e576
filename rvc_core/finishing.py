"""From what the network gives to the result: loudness, rate, length and peaks, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rvc_core.frontend import SAMPLE_RATE
from rvc_core.loudness import (
    LoudnessMatcher,
    PeakLimiter,
    limit_peak,
    loudness_steps,
    match_loudness,
    normalise_loudness,
)
from rvc_core.options import ConversionOptions
from rvc_core.resampling import Resampler, resample

Samples = npt.NDArray[np.float32]


class Step(Protocol):
    """Changes samples that come part by part; it may hold some back."""

    def push(self, samples: Samples) -> Samples:
        """The samples that are ready, given the next ones."""

    def finish(self) -> Samples:
        """The samples that are left."""


class Chain:
    """Steps, one after the other."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def push(self, samples: Samples) -> Samples:
        """The samples that are ready, given the next ones."""
        for step in self._steps:
            samples = step.push(samples)
        return samples

    def finish(self) -> Samples:
        """The samples that are left."""
        samples: Samples = np.zeros(0, np.float32)
        for step in self._steps:
            samples = np.concatenate([step.push(samples), step.finish()])
        return samples


class Whole:
    """A step that must see everything before it can `change` anything."""

    def __init__(self, change: Callable[[Samples], Samples]) -> None:
        self._change = change
        self._parts: list[Samples] = []

    def push(self, samples: Samples) -> Samples:
        """Nothing yet."""
        self._parts.append(samples)
        return np.zeros(0, np.float32)

    def finish(self) -> Samples:
        """All samples."""
        return self._change(np.concatenate(self._parts))


class ExactLength:
    """Lets `length` samples through; adds silence if there are fewer."""

    def __init__(self, length: int) -> None:
        self._left = length

    def push(self, samples: Samples) -> Samples:
        """Those that still belong to the result."""
        kept = samples[: self._left]
        self._left -= len(kept)
        return kept

    def finish(self) -> Samples:
        """What is missing."""
        return np.zeros(self._left, np.float32)


def standard_finish(
    recording: npt.NDArray[np.float64],
    options: ConversionOptions,
    rates: tuple[int, int],
    lengths: tuple[int, int],
) -> Chain:
    """The steps from the voice's rate and length to those of the result, both given as pairs.

    Only `loudnorm` must see everything; the others hold back two seconds at most.
    """
    steps: list[Step] = []
    if options.rms_mix_rate != 1:
        wanted = loudness_steps(recording, SAMPLE_RATE)
        steps.append(LoudnessMatcher(wanted, rates[0], lengths[0], options.rms_mix_rate))
    steps += [Resampler(*rates), ExactLength(lengths[1])]
    if options.loudnorm:
        steps.append(Whole(partial(normalise_loudness, rate=rates[1])))
    else:
        steps.append(PeakLimiter(rates[1]))
    return Chain(steps)


def official_finish(
    recording: npt.NDArray[np.float64], options: ConversionOptions, rates: tuple[int, int]
) -> Chain:
    """What official RVC does, which divides everything by the highest peak."""

    def change(samples: Samples) -> Samples:
        mix = options.rms_mix_rate
        samples = match_loudness(samples, rates[0], recording, SAMPLE_RATE, mix)
        samples = resample(samples, *rates)
        if options.loudnorm:
            samples = normalise_loudness(samples, rates[1])
        return limit_peak(samples)

    return Chain([Whole(change)])
