"""Who calls: API keys, what each may do, and how much of it."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import Forbidden, Unauthorized

USE = "use"
ADMIN = "admin"
ANONYMOUS = "anonymous"  # the name of callers without a key
ROLES = frozenset({USE, ADMIN})
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
OF_PROXIES = frozenset({"basic", "digest", "negotiate"})  # schemes of Authorization
DIGEST = re.compile(r"[0-9a-f]{64}")
FIELDS = {"name", "sha256", "roles", "rate", "concurrency"}


@dataclass(frozen=True)
class Key:
    """An API key: `sha256` is the digest of its text in hexadecimal; None bounds mean none.

    `rate` is in requests a minute, `concurrency` in requests at once.
    """

    name: str
    sha256: str
    roles: frozenset[str] = ROLES
    rate: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, by the name of the key; one without a key is "anonymous"."""

    name: str
    roles: frozenset[str]
    rate: int | None = None
    concurrency: int | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the caller may move models, see the jobs of others and change settings."""
        return ADMIN in self.roles


class Keyring:
    """Tells callers by their keys. `is_open` says that anybody on the network can call."""

    def __init__(self, keys: Sequence[Key], is_open: bool) -> None:
        self._keys = tuple(keys)
        # Without a key, nobody tells the operator of a server from any other on the network.
        self._anonymous = Caller(ANONYMOUS, frozenset({USE}) if is_open else ROLES)

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers need a key."""
        return bool(self._keys)

    def identify(self, authorization: str | None, x_api_key: str | None) -> Caller:
        """The caller whose key is in the headers, None where not sent; raise `Unauthorized`.

        Where both carry one, both must be right; what a proxy is sent beside it is its affair.
        """
        if not self._keys:
            return self._anonymous
        given = [] if x_api_key is None else [x_api_key]
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            given += [token.strip()] if scheme.lower() not in OF_PROXIES else []
        found = {self._find(one) for one in given}
        key = found.pop() if len(found) == 1 else None
        if key is None:
            raise Unauthorized(
                "This route needs an API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            )
        return Caller(key.name, key.roles, key.rate, key.concurrency)

    def _find(self, given: str) -> Key | None:
        digest = digest_of(given)
        found = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        return found[0] if found else None


def digest_of(key: str) -> str:
    """What stands for a key wherever it is kept."""
    return hashlib.sha256(key.encode()).hexdigest()


def require_admin(caller: Caller, asks_for_keys: bool) -> None:
    """Raise `Forbidden` unless `caller` may do what concerns everybody."""
    if caller.is_admin:
        return
    if asks_for_keys:
        raise Forbidden(f"The key {caller.name!r} does not have the role admin.")
    raise Forbidden("This route is closed: the server is open to the network and has no API key.")


def api_keys(text: str) -> tuple[Key, ...]:
    """a JSON list of {"name", "sha256", "roles": ["use", "admin"], "rate", "concurrency"}"""
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError
    keys = tuple(_read_key(entry) for entry in entries)
    if len({key.name for key in keys}) < len(keys):
        raise ValueError
    return keys


def _read_key(entry: object) -> Key:
    if not isinstance(entry, dict) or not {"name", "sha256"} <= entry.keys() <= FIELDS:
        raise ValueError
    name, sha256, roles = entry["name"], entry["sha256"], entry.get("roles", [USE])
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError
    if not (isinstance(sha256, str) and DIGEST.fullmatch(sha256.lower())):
        raise ValueError
    if not isinstance(roles, list) or not roles or not set(roles) <= ROLES:
        raise ValueError
    bounds = [entry.get("rate"), entry.get("concurrency")]
    if not all(bound is None or (type(bound) is int and bound > 0) for bound in bounds):
        raise ValueError
    return Key(name, sha256.lower(), frozenset({*roles, USE}), *bounds)
