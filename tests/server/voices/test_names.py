from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvc_core.errors import InvalidOption
from rvc_core.library import _is_safe
from server.voices.names import check_name, is_name, name_of_file


@pytest.mark.parametrize(
    "name", ["anna", "周杰伦", "Größe 2", "a.b", "v2-final_(best)", "x" * 100, "é"]
)
def test_names_for_people_are_taken(name: str) -> None:
    assert check_name(name) == name


def test_a_name_is_composed() -> None:
    assert check_name("e\u0301") == "\u00e9"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", " a", "a ", "a.", "a/b", "a\\b", "../a", "/a", "C:a", "a:b", "a\0b"]
    + [
        "a\nb",
        "a\u202eb",
        "a\u2028b",
        "\ud800",
        "x" * 101,
        "周" * 80,
        "a*",
        "a?",
        'a"',
        "a|b",
        "<a>",
    ]
    + ["a.pth", "a.PTH", "a.safetensors", "a.index", "a.zip", "trained_a", "added_a"],
)
def test_other_names_are_refused(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidOption) as caught:
        check_name(name)
    assert caught.value.param == "name"
    assert "\n" not in caught.value.message


@given(st.text())
def test_a_name_that_is_taken_is_one_component_of_a_path(name: str) -> None:
    if is_name(name):
        assert "/" not in name and "\\" not in name and name not in (".", "..")
        assert _is_safe(check_name(name))
        assert len(check_name(name).encode()) + len(".safetensors") < 255


@pytest.mark.parametrize(
    ("given_name", "parts"),
    [
        ("anna.pth", ("anna", ".pth")),
        ("C:\\voices\\anna.PTH", ("anna", ".pth")),
        ("../../etc/anna.index", ("anna", ".index")),
        ("v2.final.safetensors", ("v2.final", ".safetensors")),
        ("anna", ("anna", "")),
        (".pth", ("", ".pth")),
        ("", ("", "")),
    ],
)
def test_a_file_name_gives_a_stem_and_a_suffix(given_name: str, parts: tuple[str, str]) -> None:
    assert name_of_file(given_name) == parts
