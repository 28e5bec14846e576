from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from app import in_event_loop
from rvc_core.errors import InvalidOption
from rvc_core.options import OPTION_SPECS, ConversionOptions, OptionSpec
from ui.controls import create_control, read_options, translations
from ui.text import LANGUAGES

SPECS = {spec.name: spec for spec in OPTION_SPECS}


@pytest.fixture(scope="module")
def i18n() -> gr.I18n:
    return gr.I18n(**translations())


@pytest.fixture(scope="module")
def controls(i18n: gr.I18n) -> dict[str, Any]:
    def create() -> dict[str, Any]:
        with gr.Blocks(analytics_enabled=False):
            return {spec.name: create_control(spec, i18n) for spec in OPTION_SPECS}

    return in_event_loop(create)


def values(controls: dict[str, Any], **changed: Any) -> list[Any]:
    return [changed.get(name, control.value) for name, control in controls.items()]


def test_untouched_controls_are_the_default_options(controls: dict[str, Any]) -> None:
    assert read_options(values(controls)) == ConversionOptions()


def test_controls_reach_the_option_of_their_name(controls: dict[str, Any]) -> None:
    given = values(controls, semitones=12, unvoiced="protect", noise_scale="0.4", seed=7)
    expected = ConversionOptions(semitones=12, unvoiced="protect", noise_scale=0.4, seed=7)
    assert read_options(given) == expected


@pytest.mark.parametrize("chosen", ["true", "false"])
def test_a_switch_with_three_positions_can_be_forced(controls: dict[str, Any], chosen: str) -> None:
    options = read_options(values(controls, auto_transpose=chosen))
    assert options.auto_transpose is (chosen == "true")


def test_a_typed_value_out_of_range_is_refused(controls: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="noise_scale is '9'"):
        read_options(values(controls, noise_scale="9"))


@pytest.mark.parametrize("spec", [s for s in OPTION_SPECS if s.optional], ids=lambda s: s.name)
def test_what_the_voice_may_decide_is_offered_first(
    spec: OptionSpec, controls: dict[str, Any]
) -> None:
    label, value = controls[spec.name].choices[0]
    assert (label.key, value) == ("as_voice", controls[spec.name].value)


def test_sliders_span_the_range_of_their_option(controls: dict[str, Any]) -> None:
    sliders = {n: c for n, c in controls.items() if isinstance(c, gr.Slider)}
    assert {"semitones", "index_rate", "protect", "rms_mix_rate"} <= set(sliders)
    spans = {name: (c.minimum, c.maximum) for name, c in sliders.items()}
    assert spans == {name: (SPECS[name].low, SPECS[name].high) for name in sliders}


def test_every_key_that_a_control_uses_is_translated(controls: dict[str, Any]) -> None:
    known = translations()
    labels = [c.label for c in controls.values()] + [c.info for c in controls.values()]
    for control in controls.values():
        labels += [label for label, _ in getattr(control, "choices", [])]
    keys = {label.key for label in labels if not isinstance(label, str)}
    assert [keys - known[language].keys() for language in LANGUAGES] == [set(), set()]
