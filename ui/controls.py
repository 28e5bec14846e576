"""A control for every conversion option, drawn from its specification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from rvc_core.options import OPTION_SPECS, ConversionOptions, OptionSpec
from ui.option_text import CHOICES, OPTIONS
from ui.text import PAGE, Words

AS_VOICE = "as_voice"  # the choice that stands for None
WIDE = 10.0  # ranges above are set in halves, below in hundredths
LARGEST_SLIDER = 1000.0
SUGGESTED: dict[str, tuple[float, ...]] = {  # any other number can be typed in
    "output_sample_rate": (0, 16_000, 22_050, 24_000, 32_000, 40_000, 44_100, 48_000),
    "noise_scale": (0, 0.2, 0.4, 0.66666, 1),
}


def translations() -> dict[str, dict[str, str]]:
    """Every fixed text of the page by language and key, as the browser wants them."""
    words: dict[str, Words] = dict(PAGE)
    for name, text in OPTIONS.items():
        words[f"option.{name}"], words[f"help.{name}"] = text.label, text.help
    words.update({f"choice.{key}": text for key, text in CHOICES.items()})
    return {
        language: {key: getattr(text, language) for key, text in words.items()}
        for language in Words._fields
    }


def create_control(spec: OptionSpec, i18n: gr.I18n) -> gr.components.Component:
    """The control of one option, with its label and help in the browser's language."""
    common: dict[str, Any] = {
        "label": i18n(f"option.{spec.name}"),
        "info": i18n(f"help.{spec.name}"),
        "elem_id": f"option-{spec.name}",
        "interactive": True,
    }
    if spec.kind is bool and not spec.optional:
        return gr.Checkbox(spec.default, **common)
    offered = choices(spec, i18n)
    if offered:
        value = AS_VOICE if spec.default is None else str(spec.default)
        free = spec.name in SUGGESTED
        return gr.Dropdown(offered, value=value, allow_custom_value=free, **common)
    if spec.low is None or spec.high is None or spec.high - spec.low > LARGEST_SLIDER:
        return gr.Number(spec.default, minimum=spec.low, maximum=spec.high, precision=0, **common)
    return gr.Slider(spec.low, spec.high, value=spec.default, step=step_of(spec), **common)


def step_of(spec: OptionSpec) -> float:
    """How far one key press moves a slider."""
    if spec.kind is int:
        return 1
    return 0.5 if (spec.high or 0) - (spec.low or 0) > WIDE else 0.01


def choices(spec: OptionSpec, i18n: gr.I18n) -> list[tuple[Any, str]]:
    """Label and value of each choice; an option that may be left to the voice offers that first."""
    values = spec.choices or tuple(f"{number:g}" for number in SUGGESTED.get(spec.name, ()))
    if spec.kind is bool:
        values = ("true", "false")
    named = [f"{spec.name}.{value}" for value in values]
    listed = [
        (i18n(f"choice.{name}") if name in CHOICES else value, value)
        for name, value in zip(named, values, strict=True)
    ]
    return [(i18n(AS_VOICE), AS_VOICE), *listed] if spec.optional else listed


def read_options(values: Sequence[Any]) -> ConversionOptions:
    """The options that the controls hold, in the order of `OPTION_SPECS`; raise `InvalidOption`."""
    named = {s.name: value for s, value in zip(OPTION_SPECS, values, strict=True)}
    given = {
        spec.name: spec.default if _is_unset(named[spec.name]) else named[spec.name]
        for spec in OPTION_SPECS
    }
    return ConversionOptions(**given)


def _is_unset(value: Any) -> bool:
    return value is None or value == AS_VOICE
