"""Who may call the API."""

from __future__ import annotations

import hmac

from server.errors import Forbidden, Unauthorized
from server.settings import Settings


def require_key(authorization: str, x_api_key: str, api_key: str | None) -> None:
    """Raise `Unauthorized` unless one of the two headers carries `api_key`."""
    if api_key is None:
        return
    scheme, _, token = authorization.partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    given = x_api_key or bearer
    if not hmac.compare_digest(given.encode(), api_key.encode()):
        raise Unauthorized(
            "This route needs the API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
        )


def require_admin(settings: Settings) -> None:
    """Raise `Forbidden` where anybody on the network could be calling: no key guards the door."""
    if settings.api_key is None and not settings.is_loopback:
        raise Forbidden(
            "This route is closed: the server is open to the network and no API_KEY is set."
        )
