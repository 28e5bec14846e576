"""Whether the server calls webhooks, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import FeatureDisabled
from server.settings import Settings

if TYPE_CHECKING:
    from server.fetch_policy import FetchPolicy

PARAM = "webhook_url"


def sends_webhooks(settings: Settings) -> bool:
    """Whether webhooks are on: none go out unsigned."""
    return settings.enable_webhooks and bool(settings.webhook_secret)


def webhook_policy(settings: Settings) -> FetchPolicy:
    """Which addresses may be called."""
    from server.fetch_policy import FetchPolicy

    return FetchPolicy(
        allow_http=settings.webhook_http,
        allow_private=settings.webhook_private,
        hosts=settings.webhook_hosts,
        param=PARAM,
    )


def check_webhook(url: str, settings: Settings) -> None:
    """Raise `FeatureDisabled`, `AddressRefused` or `FetchFailed` where it would not be called."""
    if not sends_webhooks(settings):
        raise FeatureDisabled(
            "Webhooks are off: ENABLE_WEBHOOKS and WEBHOOK_SECRET open them.", param=PARAM
        )
    from server.fetch import check_address

    check_address(url, webhook_policy(settings))
