"""Every conversion option, defined once; API, command line, UI and docs are drawn from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rvc_core.errors import InvalidOption

F0_METHOD_NAMES = ("auto", "rmvpe", "fcpe", "crepe", "crepe-tiny", "swift", "pm", "pyin")


@dataclass(frozen=True)
class OptionSpec:
    """What an option allows and how people meet it; `api` is its name outside of Python."""

    name: str
    api: str
    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    also: tuple[float, ...] = ()  # allowed outside of the range
    choices: tuple[str, ...] | None = None
    optional: bool = False  # None is allowed and means: as the voice states
    advanced: bool = True  # shown under the fold

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.api.replace("_", "-")

    @property
    def allowed(self) -> str:
        """What the option accepts, in words."""
        if self.choices is not None:
            return "one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        number = "a whole number" if self.kind is int else "a number"
        if self.low is None or self.high is None:
            return number
        extra = "".join(f"{value:g} or " for value in self.also)
        return f"{extra}{number} from {self.low} to {self.high}"

    def check(self, value: Any) -> Any:
        """Return `value`, number or text, in the option's type; raise `InvalidOption`."""
        if value is None and self.optional:
            return None
        try:
            checked = _PARSERS[self.kind](value)
        except (TypeError, ValueError, OverflowError):
            raise self._refuse(value) from None
        if self.choices is not None and checked not in self.choices:
            raise self._refuse(value)
        if self.low is None or self.high is None or checked in self.also:
            return checked
        if not self.low <= checked <= self.high:
            raise self._refuse(value)
        return checked

    def _refuse(self, value: Any) -> InvalidOption:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        return InvalidOption(
            f"{self.api} is {shown}; allowed is {self.allowed}.", param=self.api, value=value
        )


def _parse_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError
    return words[value.lower()]


def _parse_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _parse_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _parse_float(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _parse_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


_PARSERS: dict[type, Any] = {
    bool: _parse_bool,
    float: _parse_float,
    int: _parse_int,
    str: _parse_str,
}


def option(default: Any, help: str, kind: type, **spec: Any) -> Any:
    """Declare a field of `ConversionOptions`; `spec` as in `OptionSpec`."""
    return field(default=default, metadata={"help": help, "kind": kind, **spec})


@dataclass(frozen=True)
class ConversionOptions:
    """How to convert one recording; None means: as the voice states."""

    semitones: float = option(
        0.0,
        "Transposition in semitones; 12 is an octave up.",
        float,
        api="f0_up_key",
        low=-24,
        high=24,
        advanced=False,
    )
    auto_transpose: bool | None = option(
        None,
        "First move the recording's pitch to the voice's own (its f0_median); "
        "f0_up_key counts from there. Unset: as the voice states, else off.",
        bool,
        optional=True,
    )
    f0_method: str = option(
        "auto",
        "Pitch estimator; auto is rmvpe where its weights are installed, else fcpe.",
        str,
        choices=F0_METHOD_NAMES,
        advanced=False,
    )
    filter_radius: int = option(
        0,
        "Above 2, the pitch curve goes through a median filter of three frames.",
        int,
        low=0,
        high=7,
    )
    unvoiced: str | None = option(
        None,
        "Pitch of unvoiced frames: keep (0 Hz), interpolate (as official RVC since 2026), or "
        "protect (interpolate, but protect what was unvoiced). Unset: as the voice states, "
        "else keep.",
        str,
        choices=("keep", "interpolate", "protect"),
        optional=True,
    )
    index_rate: float = option(
        0.75,
        "Share of content taken from the voice's index; 0 leaves the index unused.",
        float,
        low=0,
        high=1,
        advanced=False,
    )
    protect: float = option(
        0.33,
        "Share of index content in unvoiced frames, so that breaths and consonants stay "
        "clear; 0.5 is off.",
        float,
        low=0,
        high=0.5,
        advanced=False,
    )
    rms_mix_rate: float = option(
        0.25,
        "Loudness curve: 0 follows the recording, 1 keeps the voice's own.",
        float,
        low=0,
        high=1,
    )
    output_sample_rate: int = option(
        0,
        "Sample rate of the result in Hz; 0 is the voice's own.",
        int,
        api="resample_sr",
        low=8_000,
        high=192_000,
        also=(0,),
    )
    loudnorm: bool = option(
        False, "Bring the result to -16 LUFS (ITU-R BS.1770), peaks below full scale.", bool
    )
    speaker_id: int = option(
        0, "Speaker of a voice that has several.", int, api="spk_id", low=0, high=100_000
    )
    noise_scale: float | None = option(
        None,
        "Variation in the prior, a factor of its standard deviation. Unset: as the voice "
        "states, else 0.66666.",
        float,
        low=0,
        high=2,
        optional=True,
    )
    source_noise: float = option(
        1.0,
        "Noise in the excitation, a factor of what the voice was trained with.",
        float,
        low=0,
        high=2,
    )
    seed: int = option(
        0, "Seed of all noise; the same seed gives the same result.", int, low=0, high=2**53 - 1
    )
    compatibility: str = option(
        "standard",
        "official repeats Official RVC's results, its shorter lengths and cut points included.",
        str,
        choices=("standard", "official"),
    )
    precision: str = option(
        "exact",
        "exact computes in float32; fast may use 16-bit arithmetic where that is quicker.",
        str,
        choices=("exact", "fast"),
    )

    def __post_init__(self) -> None:
        for spec in OPTION_SPECS:
            object.__setattr__(self, spec.name, spec.check(getattr(self, spec.name)))
        if self.compatibility == "official" and 0 < self.output_sample_rate < 16_000:
            raise InvalidOption(
                f"resample_sr is {self.output_sample_rate}; Official RVC resamples to 16000 Hz "
                "and above only.",
                param="resample_sr",
                value=self.output_sample_rate,
            )

    @classmethod
    def from_api(cls, given: Mapping[str, Any]) -> ConversionOptions:
        """Build options from outside names such as `f0_up_key`; raise on unknown ones."""
        names = {spec.api: spec.name for spec in OPTION_SPECS}
        for key in given:
            if key not in names:
                raise InvalidOption(
                    f"{key} is no conversion option; there are {', '.join(sorted(names))}.",
                    param=key,
                )
        return cls(**{names[key]: value for key, value in given.items()})


def _spec_of(declared: Any) -> OptionSpec:
    metadata = {"api": declared.name, **declared.metadata}
    return OptionSpec(name=declared.name, default=declared.default, **metadata)


OPTION_SPECS: tuple[OptionSpec, ...] = tuple(_spec_of(f) for f in fields(ConversionOptions))
