"""Requests a minute of each caller, counted by flask-limiter."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from flask import Flask, g, request
from flask_limiter import Limiter
from limits import RateLimitItemPerMinute

from server.errors import RateLimited
from server.keys import ANONYMOUS
from server.limits import Windows, whole_seconds
from server.settings import Settings

Headers = Callable[[], dict[str, str]]


def limit_rates(app: Flask, settings: Settings, note_limited: Callable[[], None]) -> Headers:
    """Hold callers of `app` to their rates and return what tells the headers of an answer.

    `note_limited` is called for each request refused. The caller must be known by then. Nothing
    is added where nobody has a rate.
    """
    if not settings.rate_limit_rpm and not any(key.rate for key in settings.keys):
        return dict
    limiter = Limiter(
        who_calls, app=app, strategy="moving-window", storage_uri=f"{Windows.STORAGE_SCHEME[0]}://"
    )

    def check() -> None:
        # The limiter's own checks read their limits anew for each request, which takes longer
        # than all the rest: we know the limit, and ask for the count alone.
        caller = g.get("caller")
        rate = caller and (caller.rate or settings.rate_limit_rpm)
        if not rate:
            return
        limit, who = RateLimitItemPerMinute(rate), who_calls()
        is_within = limiter.limiter.hit(limit, who)
        g.rate = limiter.limiter.get_window_stats(limit, who)
        g.rate_limit = rate
        if not is_within:
            note_limited()
            raise RateLimited(
                f"{caller.name} may send {rate} requests a minute.",
                retry_after_s=whole_seconds(windows.left_s(g.rate.reset_time)),
            )

    def headers() -> dict[str, str]:
        if "rate" not in g:
            return {}
        most, left = g.rate_limit, g.rate.remaining
        return {"X-RateLimit-Limit": str(most), "X-RateLimit-Remaining": str(left)}

    windows = cast(Windows, limiter.storage)
    app.before_request(check)
    return headers


def who_calls() -> str:
    """Whose requests are counted together: those of a key, or of an address without one."""
    name: str = g.caller.name
    return f"{name} {request.remote_addr}" if name == ANONYMOUS else name
