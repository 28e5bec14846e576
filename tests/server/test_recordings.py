from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rvc_core.errors import Cancelled, UndecodableAudio
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server import recordings
from server.errors import AddressRefused, FeatureDisabled
from server.fetch_policy import FetchPolicy
from server.recordings import audio_policy
from server.records import ConvertRequest, ConvertResult
from server.services import Services
from server.settings import Settings
from tests.server.fakes import fake_services
from tests.server.web import Site, policy_for, site


@pytest.fixture
def web(recording: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("tests.server.web.BODY", recording)
    with site() as where:
        yield where


@pytest.fixture
def fetching(fake_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Services to which this machine is on the public network."""

    def policy(settings: Settings) -> FetchPolicy:
        return policy_for("127.0.0.1", param="audio_url")

    monkeypatch.setattr(recordings, "audio_policy", policy)
    services = fake_services(fake_models, enable_audio_url=True)
    yield services
    services.close()


def convert(services: Services, url: str, token: Token | None = None) -> ConvertResult:
    request = ConvertRequest(b"", None, ConversionOptions(), "test", audio_url=url)
    return services.convert(request, token or Token())


def test_a_recording_is_fetched_and_converted(
    fetching: Services, web: Site, recording: bytes
) -> None:
    sent = ConvertRequest(recording, None, ConversionOptions(), "test")
    whole = fetching.convert(sent, Token())
    fetched = convert(fetching, web.url("/file"))
    assert fetched.audio.samples.tobytes() == whole.audio.samples.tobytes()
    assert web.asked == ["/file"]


def test_an_address_is_refused_where_none_are_allowed(services: Services, web: Site) -> None:
    with pytest.raises(FeatureDisabled) as caught:
        convert(services, web.url("/file"))
    assert caught.value.param == "audio_url"
    assert web.asked == []


def test_loopback_is_refused_where_addresses_are_allowed(fake_models: Path, web: Site) -> None:
    services = fake_services(fake_models, enable_audio_url=True, audio_url_http=True)
    with pytest.raises(AddressRefused):
        convert(services, web.url("/file"))
    services.close()
    assert web.asked == []


def test_what_is_fetched_must_be_audio(fetching: Services, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.server.web.BODY", b"<html>")
    with site() as web, pytest.raises(UndecodableAudio):
        convert(fetching, web.url("/file"))


def test_a_cancelled_request_is_not_fetched_for(fetching: Services, web: Site) -> None:
    token = Token()
    token.cancel()
    with pytest.raises(Cancelled):
        convert(fetching, web.url("/file"), token)
    assert web.asked == []


def test_the_policy_is_what_the_settings_say(tmp_path: Path) -> None:
    usual = audio_policy(Settings())
    assert (usual.allow_http, usual.allow_private, usual.hosts) == (False, False, ())
    assert (usual.max_bytes, usual.timeout_s, usual.param) == (100 * 2**20, 15.0, "audio_url")
    given = Settings.from_environment(
        {"AUDIO_URL_HTTP": "1", "AUDIO_URL_HOSTS": "A.example, *.b.example", "MAX_UPLOAD_MB": "1"}
    )
    chosen = audio_policy(given)
    assert (chosen.allow_http, chosen.max_bytes) == (True, 2**20)
    assert chosen.hosts == ("a.example", "*.b.example")
