from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import Forbidden, Unauthorized
from server.keys import Key, Keyring, api_keys, digest_of, require_admin

ANNA = Key("anna", digest_of("a"), frozenset({"use"}), rate=60, concurrency=2)
BERT = Key("bert", digest_of("b"))


@pytest.fixture
def keyring() -> Keyring:
    return Keyring([ANNA, BERT], is_open=True)


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "name"),
    [
        ("Bearer a", None, "anna"),
        ("bearer  b", None, "bert"),
        (None, "b", "bert"),
        ("Basic x", "a", "anna"),
        ("Bearer a", "a", "anna"),
    ],
)
def test_a_caller_is_known_by_the_key_in_either_header(
    keyring: Keyring, authorization: str | None, x_api_key: str | None, name: str
) -> None:
    assert keyring.identify(authorization, x_api_key).name == name


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (None, None),
        ("Bearer x", None),
        ("Basic a", None),
        (None, ""),
        (None, "ключ"),
        ("Bearer a", "x"),
        ("Bearer x", "a"),
        ("Bearer a", "b"),
        ("Bearer ", "a"),
        ("", "a"),
        ("nonsense", "a"),
    ],
)
def test_a_wrong_key_opens_nothing(
    keyring: Keyring, authorization: str | None, x_api_key: str | None
) -> None:
    with pytest.raises(Unauthorized):
        keyring.identify(authorization, x_api_key)


def test_a_caller_has_the_bounds_of_the_key(keyring: Keyring) -> None:
    caller = keyring.identify(None, "a")
    assert (caller.rate, caller.concurrency, caller.is_admin) == (60, 2, False)


def test_only_administrators_do_what_concerns_everybody(keyring: Keyring) -> None:
    require_admin(keyring.identify(None, "b"), keyring.asks_for_keys)
    with pytest.raises(Forbidden, match="'anna' does not have the role admin"):
        require_admin(keyring.identify(None, "a"), keyring.asks_for_keys)


def test_without_keys_only_this_machine_is_the_operator() -> None:
    require_admin(Keyring([], is_open=False).identify(None, None), asks_for_keys=False)
    with pytest.raises(Forbidden, match="open to the network"):
        require_admin(Keyring([], is_open=True).identify(None, None), asks_for_keys=False)


def test_keys_are_read_from_json() -> None:
    text = json.dumps([{"name": "anna", "sha256": digest_of("a").upper(), "rate": 60}])
    (key,) = api_keys(text)
    assert key == Key("anna", digest_of("a"), frozenset({"use"}), rate=60)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"name": "a"},
        {"name": "a b", "sha256": digest_of("a")},
        {"name": "a", "sha256": "a"},
        {"name": "a", "sha256": digest_of("a"), "roles": ["king"]},
        {"name": "a", "sha256": digest_of("a"), "roles": []},
        {"name": "a", "sha256": digest_of("a"), "rate": 0},
        {"name": "a", "sha256": digest_of("a"), "rate": True},
        {"name": "a", "sha256": digest_of("a"), "colour": "red"},
        "a",
    ],
)
def test_keys_that_are_none_are_refused(entry: Any) -> None:
    with pytest.raises(ValueError):
        api_keys(json.dumps([entry]))


def test_two_keys_of_one_name_are_refused() -> None:
    entry = {"name": "a", "sha256": digest_of("a")}
    with pytest.raises(ValueError):
        api_keys(json.dumps([entry, {**entry, "sha256": digest_of("b")}]))
