"""Values and errors that are packed in one process and opened in another; here in one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gpu.errors import GpuError, LoadFailed, TaskFailed
from gpu.parcel import RemoteTraceback, open_outcome, pack_outcome
from tests.gpu.servants import KeywordError, LockedError


class Retold(Exception):
    """An error whose text is not what it was made from."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no voice {name}")


class Speechless(Exception):
    """An error that cannot even be told."""

    def __init__(self) -> None:
        super().__init__("")
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: BaseException) -> Callable[[], Any]:
    """Work that fails with `error`."""

    def work() -> None:
        raise error

    return work


def after_travel(error: BaseException) -> BaseException:
    """What is raised on the other side."""
    with pytest.raises(Exception) as caught:
        open_outcome(pack_outcome(raising(error)))
    return caught.value


def test_a_value_comes_through() -> None:
    assert open_outcome(pack_outcome(lambda: {"a": [1, 2.5]})) == {"a": [1, 2.5]}


def test_an_error_that_needs_keywords_comes_through_with_its_attributes() -> None:
    copy = after_travel(KeywordError(param="pitch", value=7))
    assert isinstance(copy, KeywordError)
    assert (str(copy), copy.param, copy.value) == ("pitch must not be 7", "pitch", 7)


def test_an_errors_text_is_not_made_anew() -> None:
    assert str(after_travel(Retold("anna"))) == "no voice anna"


def test_an_error_of_the_system_keeps_its_file_name() -> None:
    copy = after_travel(FileNotFoundError(2, "No such file", "voice.pth"))
    assert isinstance(copy, FileNotFoundError)
    assert (copy.errno, copy.filename) == (2, "voice.pth")


def test_an_error_keeps_the_error_that_is_its_cause() -> None:
    cause = KeywordError(param="pitch", value=7)
    copy = after_travel(LoadFailed("no", retry_after_s=3.5, cause=cause))
    assert isinstance(copy, LoadFailed)
    assert copy.retry_after_s == 3.5
    assert isinstance(copy.cause, KeywordError)
    assert copy.cause.param == "pitch"


def test_a_cause_that_cannot_travel_is_told_of_in_words() -> None:
    copy = after_travel(GpuError("no", cause=LockedError()))
    assert type(copy) is GpuError
    assert isinstance(copy.cause, TaskFailed)
    assert "holds a lock" in str(copy.cause)


def test_the_copy_tells_where_the_error_was_raised() -> None:
    copy = after_travel(ValueError("odd"))
    assert isinstance(copy.__cause__, RemoteTraceback)
    assert "in work" in str(copy.__cause__)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LockedError(), "LockedError: holds a lock"),
        (Speechless(), "Speechless"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_another_error_stands_in_for_one_that_cannot_travel(
    error: BaseException, text: str
) -> None:
    copy = after_travel(error)
    assert type(copy) is TaskFailed
    assert text in str(copy)


def test_a_result_that_cannot_travel_is_an_error() -> None:
    with pytest.raises(TaskFailed, match="The result, a lock, cannot be sent"):
        open_outcome(pack_outcome(threading.Lock))


def test_the_same_outcome_opened_twice_raises_two_errors() -> None:
    outcome = pack_outcome(raising(ValueError("odd")))
    errors = []
    for _ in range(2):
        with pytest.raises(ValueError, match="odd") as caught:
            open_outcome(outcome)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
