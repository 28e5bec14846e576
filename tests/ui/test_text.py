from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import gpu.errors
import rvc_core.errors
import server.errors
from rvc_core.options import OPTION_SPECS
from ui.error_text import ERRORS, UNKNOWN, error_text
from ui.option_text import CHOICES, OPTIONS
from ui.text import LANGUAGES, PAGE, Words, language_of, say

NAMES_IN_EVERY_LANGUAGE = {"f0_method"}
# Seen by programs only: wrong HTTP requests, and defects of the manager itself.
NOT_FOR_PEOPLE = {
    *("core_error", "gpu_error", "invalid_request", "unauthorized", "unsupported_media_type"),
    *("model_not_found", "invalid_spec", "lease_released", "illegal_transition"),
    *("wait_expired", "worker_busy", "task_failed", "forbidden", "model_in_use"),
}


def codes(base: type[Exception]) -> Iterator[str]:
    yield base.code  # type: ignore[attr-defined]
    for kind in base.__subclasses__():
        yield from codes(kind)


def has_chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None


def all_words() -> Iterator[tuple[str, Words]]:
    yield from PAGE.items()
    yield from ERRORS.items()
    yield from CHOICES.items()
    for name, text in OPTIONS.items():
        yield f"{name}.label", text.label
        yield f"{name}.help", text.help


def test_every_option_has_a_label_and_help() -> None:
    assert set(OPTIONS) == {spec.name for spec in OPTION_SPECS}


def test_every_choice_that_is_a_word_is_translated() -> None:
    worded = [s for s in OPTION_SPECS if s.choices and s.name not in NAMES_IN_EVERY_LANGUAGE]
    missing = {f"{s.name}.{c}" for s in worded for c in s.choices or ()} - set(CHOICES)
    assert missing == set()


@pytest.mark.parametrize(("key", "words"), [*all_words()])
def test_every_text_has_both_languages(key: str, words: Words) -> None:
    assert all(words)
    untranslated = {"card_rate", "card_version", "seconds"}
    assert has_chinese(words.zh) or key in untranslated
    assert not has_chinese(words.en)


@pytest.mark.parametrize(("key", "words"), [*PAGE.items()])
def test_both_languages_fill_in_the_same_values(key: str, words: Words) -> None:
    fields = [set(re.findall(r"{(\w+)", text)) for text in words]
    assert fields[0] == fields[1]


@pytest.mark.parametrize(
    "base", [rvc_core.errors.CoreError, server.errors.ServerError, gpu.errors.GpuError]
)
def test_every_error_that_people_can_meet_has_a_text(base: type[Exception]) -> None:
    assert set(codes(base)) - NOT_FOR_PEOPLE - set(ERRORS) == set()


def test_an_error_without_a_text_gets_the_general_one() -> None:
    assert error_text("never_heard_of", "zh") == ERRORS[UNKNOWN].zh


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-TW", "zh"),
        ("ZH", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr,zh;q=0.5", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_the_browsers_first_language_rules(header: str | None, language: str) -> None:
    assert language_of(header) == language


def test_values_are_filled_in() -> None:
    assert say("card_speakers", "zh", count=3) == "3 位说话人"


def test_the_languages_are_the_fields_of_words() -> None:
    assert Words._fields == LANGUAGES
