"""What a setting is: its name, default, parser and help."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Parser = Callable[[str], Any]
DEVICE = re.compile(r"cpu|cuda(:\d+)?")
HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class InvalidSetting(ValueError):
    """A setting has a value that cannot be used."""


def _number(kind: type[int] | type[float], low: float, high: float, also: float | None) -> Parser:
    def parse(text: str) -> float:
        value = kind(text)
        if value != also and not low <= value <= high:
            raise ValueError
        return value

    word = "a whole number" if kind is int else "a number"
    extra = "" if also is None else f"{also:.0f} or "
    parse.__doc__ = f"{extra}{word} from {low:.0f} to {high:.0f}"
    return parse


def whole(low: int, high: int) -> Parser:
    """A parser of whole numbers from `low` to `high`."""
    return _number(int, low, high, None)


def seconds(low: float, high: float, also: float | None = None) -> Parser:
    """A parser of seconds from `low` to `high`; `also` is allowed beside them."""
    return _number(float, low, high, also)


def one_of(*words: str) -> Parser:
    """A parser of one word out of `words`, upper and lower case alike."""

    def parse(text: str) -> str:
        return {word.lower(): word for word in words}[text.lower()]

    parse.__doc__ = "one of " + ", ".join(words)
    return parse


def switch(text: str) -> bool:
    """1 or 0 (yes or no, true or false, on or off)"""
    on, off = ("1", "yes", "true", "on"), ("0", "no", "false", "off")
    return {**dict.fromkeys(on, True), **dict.fromkeys(off, False)}[text.strip().lower()]


def any_text(text: str) -> str:
    """text"""
    return text


def any_path(text: str) -> Path:
    """a path"""
    return Path(text).expanduser()


def devices(text: str) -> tuple[str, ...]:
    """cpu, cuda or cuda:N, separated by commas, each GPU once"""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    gpus = ["cuda:0" if name == "cuda" else name for name in names if name != "cpu"]
    if not all(DEVICE.fullmatch(name) for name in names) or len(set(gpus)) < len(gpus):
        raise ValueError
    return names


def host_names(text: str) -> tuple[str, ...]:
    """names of hosts, separated by commas; *.NAME is all below one"""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not all(HOST.fullmatch(name) for name in names):
        raise ValueError
    return names


def setting(default: Any, help: str, parse: Parser, **more: Any) -> Any:
    """Declare a field of `Settings`; its environment key is the field's name in capitals."""
    return field(default=default, metadata={"help": help, "parse": parse, **more})


@dataclass(frozen=True)
class SettingSpec:
    """What a setting is called, holds by default and allows."""

    name: str
    default: Any
    help: str
    parse: Parser
    flags: tuple[str, ...]

    @property
    def key(self) -> str:
        """The environment variable."""
        return self.name.upper()

    @property
    def allowed(self) -> str:
        """What the setting accepts, in words."""
        return self.parse.__doc__ or "text"

    @property
    def default_text(self) -> str:
        """The default as it would be written in the environment."""
        if self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return ",".join(self.default)
        if isinstance(self.default, bool):
            return str(int(self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def read(self, text: str, source: str) -> Any:
        """Return `text` in the setting's type; raise `InvalidSetting`, naming `source`."""
        try:
            return self.parse(text)
        except (ValueError, KeyError, OverflowError):
            raise InvalidSetting(f"{source} is {text!r}; it must be {self.allowed}.") from None
