"""Who may call the API."""

from __future__ import annotations

import hmac

from server.errors import Unauthorized


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
