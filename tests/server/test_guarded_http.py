from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from server.errors import AddressRefused, FetchTimeout
from server.fetch import open_client
from tests.server.web import BODY, Site, policy_for, site

HERE = "127.0.0.1"


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as where:
        yield where


def test_a_client_keeps_to_the_policy_and_follows_nothing(web: Site) -> None:
    with open_client(policy_for(HERE)) as client:
        assert client.get(web.url("/file")).content == BODY
        assert client.get(web.url("/moved")).status_code == 302
        with pytest.raises(AddressRefused):
            client.get(f"http://127.0.0.2:{web.port}/file")
        with pytest.raises(httpx.TransportError):
            client.get(web.url("/garbage"))


def test_a_client_gives_each_request_its_own_time(web: Site) -> None:
    with open_client(policy_for(HERE, timeout_s=0.3)) as client:
        for _ in range(2):
            with pytest.raises(FetchTimeout):
                client.get(web.url("/drip"))
        assert client.get(web.url("/file")).content == BODY
