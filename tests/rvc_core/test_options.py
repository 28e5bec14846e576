"""Options: defaults, ranges, spellings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvc_core.errors import InvalidOption
from rvc_core.options import OPTION_SPECS, ConversionOptions


def test_every_field_is_described_once() -> None:
    assert [spec.name for spec in OPTION_SPECS] == [f.name for f in fields(ConversionOptions)]
    assert len({spec.api for spec in OPTION_SPECS}) == len(OPTION_SPECS)
    assert all(spec.help.endswith(".") for spec in OPTION_SPECS)


def test_every_default_is_allowed() -> None:
    for spec in OPTION_SPECS:
        assert spec.check(spec.default) == spec.default


def test_outside_names_and_texts_are_understood() -> None:
    options = ConversionOptions.from_api(
        {"f0_up_key": "-12", "spk_id": "3", "loudnorm": "true", "resample_sr": "16000"}
    )
    assert options == ConversionOptions(
        semitones=-12.0, speaker_id=3, loudnorm=True, output_sample_rate=16_000
    )


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match="f0_upkey is no conversion option") as caught:
        ConversionOptions.from_api({"f0_upkey": 1})
    assert caught.value.param == "f0_upkey"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("semitones", 25, "from -24 to 24"),
        ("protect", 0.51, "from 0 to 0.5"),
        ("index_rate", float("nan"), "from 0 to 1"),
        ("index_rate", True, "from 0 to 1"),
        ("output_sample_rate", 7_999, "0 or a whole number from 8000 to 192000"),
        ("speaker_id", 1.5, "a whole number"),
        ("speaker_id", -1, "from 0"),
        ("seed", 2**53, "from 0 to 9007199254740991"),
        ("f0_method", "harvest", "one of auto, rmvpe"),
        ("loudnorm", "maybe", "true or false"),
        ("unvoiced", 3, "one of keep"),
        ("seed", None, "a whole number"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(InvalidOption, match=allowed):
        ConversionOptions(**{name: value})


def test_official_compatibility_refuses_rates_that_upstream_ignores() -> None:
    with pytest.raises(InvalidOption, match="16000"):
        ConversionOptions(compatibility="official", output_sample_rate=8_000)


@given(st.sampled_from(OPTION_SPECS), st.text() | st.floats() | st.integers() | st.none())
def test_any_value_is_taken_or_refused_but_never_breaks(spec: Any, value: Any) -> None:
    try:
        checked = spec.check(value)
    except InvalidOption as error:
        assert error.param == spec.api
        assert len(error.message) < 300
    else:
        assert spec.check(checked) == checked
