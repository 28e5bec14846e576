"""Values and errors on their way between processes; one that cannot travel costs one task only."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpu.effects import attempt
from gpu.errors import TaskFailed

logger = logging.getLogger(__name__)


class RemoteTraceback(Exception):
    """Where an error was raised in the other process, as text; the `__cause__` of its copy."""


@dataclass(frozen=True)
class _Outcome:
    value: Any = None
    error: bytes | None = None
    trace: str = ""


@dataclass(frozen=True)
class _Parts:
    """An error taken apart; `nested` are the errors among its attributes, packed."""

    kind: type[BaseException]
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]
    nested: dict[str, bytes]


def pack_outcome(work: Callable[[], Any]) -> bytes:
    """Run foreign code; pack its value, or its error as it was raised. Never raises."""
    try:
        return _pack_value(work())
    except BaseException as error:
        logger.debug("The error goes to the other process.", exc_info=True)
        trace = "".join(traceback.format_exception(error))
        return pickle.dumps(_Outcome(error=pack_error(error), trace=trace))


def open_outcome(body: bytes) -> Any:
    """Return the value that `pack_outcome` packed, or raise a fresh copy of its error."""
    outcome: _Outcome = unpack(body)
    if outcome.error is None:
        return outcome.value
    error = open_error(outcome.error)
    error.__cause__ = RemoteTraceback(f"\n{outcome.trace}")
    raise error


def pack_error(error: BaseException) -> bytes:
    """Pack an error with its type, text and attributes; a `TaskFailed` stands in for the rest."""
    # What ends a process or a thread there must not end one here.
    if isinstance(error, Exception):
        # A copy as pickle makes it is the second choice: it calls `__init__` with `args`, which
        # fails on required keywords. OSError needs it: not all of it is in `args` and `__dict__`.
        for form in (_take_apart, _as_it_is):
            body, _ = attempt(partial(_checked, error, form), f"Packing a {type(error).__name__}")
            if body is not None:
                return body
    text = "".join(traceback.format_exception_only(error)).strip()
    return pickle.dumps(_take_apart(TaskFailed(text)))


def open_error(body: bytes) -> BaseException:
    """Make a fresh copy of the error that `pack_error` packed."""
    found: BaseException | _Parts = unpack(body)
    if not isinstance(found, _Parts):
        return found
    error = found.kind.__new__(found.kind, *found.arguments)  # without __init__: see pack_error
    error.__dict__.update(found.attributes)
    error.__dict__.update({name: open_error(nested) for name, nested in found.nested.items()})
    return error


def unpack(body: bytes) -> Any:
    """Unpickle what our own process at the other end of the pipe has pickled."""
    return pickle.loads(body)  # noqa: S301


def _pack_value(value: Any) -> bytes:
    try:
        return pickle.dumps(_Outcome(value=value))
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise TaskFailed(f"The result, a {type(value).__name__}, cannot be sent: {error}") from None


def _checked(
    error: BaseException, form: Callable[[BaseException], BaseException | _Parts]
) -> bytes | None:
    """`error` in that form, or None if the copy made of it would be another error."""
    body = pickle.dumps(form(error))
    copy = open_error(body)
    return body if type(copy) is type(error) and str(copy) == str(error) else None


def _take_apart(error: BaseException) -> _Parts:
    nested = {n: pack_error(v) for n, v in vars(error).items() if isinstance(v, BaseException)}
    attributes = {name: value for name, value in vars(error).items() if name not in nested}
    return _Parts(type(error), error.args, attributes, nested)


def _as_it_is(error: BaseException) -> BaseException:
    return error
