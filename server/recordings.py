"""The recording that a request brings, or the one whose address it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvc_core.token import Token
from server.errors import FeatureDisabled
from server.records import ConvertRequest
from server.settings import Settings

if TYPE_CHECKING:
    from rvc_core.audio import Audio
    from server.fetch_policy import FetchPolicy

FETCH_S = 15.0  # for a recording to arrive, redirects and all


def check_source(request: ConvertRequest, settings: Settings) -> None:
    """Raise `FeatureDisabled` if the request names an address and the settings allow none."""
    if request.audio_url is not None and not settings.enable_audio_url:
        raise FeatureDisabled(
            "This server fetches no recordings; send yours as the file field 'audio'.",
            param="audio_url",
        )


def read_recording(request: ConvertRequest, settings: Settings, token: Token) -> Audio:
    """Decode the request's recording, fetching it first where only its address was sent."""
    from rvc_core.audio import read_audio

    data = request.audio
    if request.audio_url is not None:
        from server.fetch import fetch_bytes

        data = fetch_bytes(request.audio_url, audio_policy(settings), token)
    return read_audio(data, settings.max_audio_seconds)


def audio_policy(settings: Settings) -> FetchPolicy:
    """From where recordings may be fetched."""
    from server.fetch_policy import FetchPolicy

    return FetchPolicy(
        allow_http=settings.audio_url_http,
        hosts=settings.audio_url_hosts,
        max_bytes=settings.max_upload_bytes,
        timeout_s=FETCH_S,
        param="audio_url",
    )
