"""Names of voices as callers may choose them: one component of a path, for people to read."""

from __future__ import annotations

import re
import unicodedata

from rvc_core.errors import InvalidOption

MAX_CHARACTERS = 100
MAX_BYTES = 200  # file systems take 255, the suffix included
RESERVED = re.compile(r'[/\\<>:"|?*]')
SUFFIXES = (".pth", ".safetensors", ".index", ".zip")


def check_name(name: str, param: str = "name") -> str:
    """The name in Unicode's composed form; raise `InvalidOption` for what no file may be called."""
    name = unicodedata.normalize("NFC", name)
    problem = _problem(name)
    if problem:
        raise InvalidOption(f"{param} is {name[:60]!r}; {problem}.", param=param)
    return name


def name_of_file(given: str) -> tuple[str, str]:
    """The stem and the suffix, in small letters, of an upload's file name, folders left out."""
    last = re.split(r"[/\\]", given)[-1]
    stem, dot, suffix = last.rpartition(".")
    return (stem, "." + suffix.lower()) if dot else (last, "")


def is_name(name: str) -> bool:
    """Whether `check_name` would take it as it is."""
    return not _problem(unicodedata.normalize("NFC", name))


def _problem(name: str) -> str:
    if not name or len(name) > MAX_CHARACTERS or _n_bytes(name) > MAX_BYTES:
        return f"it must have 1 to {MAX_CHARACTERS} characters and at most {MAX_BYTES} bytes"
    if not name.isprintable() or RESERVED.search(name):
        return 'it must be printable and without / \\ < > : " | ? *'
    if name.startswith((".", " ")) or name.endswith((".", " ")):
        return "it must not begin or end with a dot or a space"
    if name.lower().endswith(SUFFIXES) or name.lower().startswith(("trained_", "added_")):
        return "it must not look like a file's: no .pth at its end, no added_ before it"
    return ""


def _n_bytes(name: str) -> int:
    return len(name.encode("utf-8", "replace"))
