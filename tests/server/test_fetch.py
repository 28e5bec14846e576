from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rvc_core.errors import Cancelled, DeadlineExceeded
from rvc_core.token import Token
from server.errors import AddressRefused, FetchFailed, FetchTimeout, UploadTooLarge
from server.fetch import FetchPolicy, check_address, fetch_bytes
from tests.gpu.fakes import in_thread, until
from tests.server.web import BODY, Names, Site, policy_for, site

HERE = "127.0.0.1"
PEM = Path(__file__).parents[1] / "data" / "voices_example.pem"  # for tests alone


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as where:
        yield where


def fetch(url: str, *public: str, **options: Any) -> bytes:
    return fetch_bytes(url, policy_for(*(public or (HERE,)), **options), Token())


def test_a_file_is_fetched(web: Site) -> None:
    assert fetch(web.url("/file")) == BODY


def test_the_server_is_asked_by_its_name(web: Site) -> None:
    names = Names(**{"voices.example": [[HERE]]})
    assert fetch(web.url("/file", "voices.example"), resolve=names) == BODY
    assert web.hosts == [f"voices.example:{web.port}"]


def test_the_certificate_must_be_that_of_the_name_in_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusting = ssl.create_default_context(cafile=str(PEM))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda trust_env: trusting)
    names = Names(**{"voices.example": [[HERE]], "other.example": [[HERE]]})
    with site(pem=PEM) as web:
        url = web.url("/file", "voices.example", "https")
        assert fetch(url, resolve=names, allow_http=False) == BODY
        for host in ("other.example", HERE):
            with pytest.raises(FetchFailed):
                fetch(web.url("/file", host, "https"), resolve=lambda host, port: [HERE])
        assert web.hosts == [f"voices.example:{web.port}"]


@pytest.mark.parametrize(
    "host",
    [HERE, "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.8.9.1"]
    + ["[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::7f00:1]"]
    + ["2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1."]
    + ["good@127.0.0.1", "good:word@127.0.0.1", "example.org%20@127.0.0.1", "１２７.0.0.1"],
)
def test_loopback_is_refused_in_every_spelling(web: Site, host: str) -> None:
    with pytest.raises(AddressRefused):
        fetch_bytes(web.url("/file", host), FetchPolicy(allow_http=True), Token())
    assert web.asked == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "017700000001", "127.1"])
def test_a_number_for_a_host_is_refused_whatever_it_would_lead_to(web: Site, host: str) -> None:
    with pytest.raises(AddressRefused, match="number"):
        fetch(web.url("/file", host), resolve=lambda host, port: [HERE])
    assert web.asked == []


@pytest.mark.parametrize(
    "address",
    ["10.0.0.5", "192.168.1.1", "172.20.0.1", "100.64.0.1", "169.254.1.1", "169.254.169.254"]
    + [
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
    ]
    + ["fd12::1", "ff02::1"],
)
def test_a_name_of_a_forbidden_address_is_refused(address: str) -> None:
    names = Names(**{"voices.example": [[address]]})
    with pytest.raises(AddressRefused, match="public network") as caught:
        fetch("http://voices.example/x", resolve=names, param="audio_url")
    assert caught.value.param == "audio_url"
    assert address not in caught.value.message


def test_one_forbidden_address_among_others_is_enough(web: Site) -> None:
    names = Names(**{"voices.example": [[HERE, "10.0.0.1"]]})
    with pytest.raises(AddressRefused):
        fetch(web.url("/file", "voices.example"), resolve=names)
    assert web.asked == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:70/_x", "data:,x", "//a/b"]
    + ["dict://127.0.0.1:11211/stat", "unix:///run/x.sock", "jar:http://a!/b", "", "http://"]
    + ["javascript:1", "HTTP:/127.0.0.1", "http:///file", "http://a\r\nHost: b/", "x" * 5000],
)
def test_other_schemes_and_what_is_no_address_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        fetch(url)


def test_plain_http_is_refused_unless_allowed(web: Site) -> None:
    with pytest.raises(AddressRefused, match="allowed is https"):
        fetch(web.url("/file"), allow_http=False)
    assert web.asked == []


def test_a_redirect_is_followed(web: Site) -> None:
    web.moved = "/file?a=1"
    assert fetch(web.url("/moved")) == BODY
    assert web.asked == ["/moved", "/file?a=1"]


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2:{port}/file", "http://10.0.0.1/", "http://169.254.169.254/latest/"]
    + ["file:///etc/passwd", "http://u@127.0.0.1:{port}/file", "http://[::ffff:127.0.0.2]:{port}/"],
)
def test_a_redirect_to_a_forbidden_place_is_refused(web: Site, target: str) -> None:
    with site("127.0.0.2", web.port) as inside:
        web.moved = target.format(port=web.port)
        with pytest.raises(AddressRefused):
            fetch(web.url("/moved"))
        assert (web.asked, inside.asked) == (["/moved"], [])


def test_a_redirect_to_no_address_fails(web: Site) -> None:
    web.moved = "http://[broken/"
    with pytest.raises(FetchFailed):
        fetch(web.url("/moved"))


def test_too_many_redirects_fail(web: Site) -> None:
    with pytest.raises(FetchFailed, match="more than 3"):
        fetch(web.url("/round"))
    assert web.asked == ["/round"] * 4


def test_a_name_that_changes_its_address_is_asked_once_only(web: Site) -> None:
    names = Names(**{"voices.example": [[HERE], ["127.0.0.2"]]})
    with site("127.0.0.2", web.port) as inside:
        assert fetch(web.url("/file", "voices.example"), resolve=names) == BODY
        assert names.asked == ["voices.example"]
        assert inside.asked == []


def test_a_name_that_changes_its_address_between_redirects_is_refused(web: Site) -> None:
    names = Names(**{"voices.example": [[HERE], ["127.0.0.2"]]})
    with site("127.0.0.2", web.port) as inside:
        with pytest.raises(AddressRefused):
            fetch(web.url("/moved", "voices.example"), resolve=names)
        assert inside.asked == []


def test_the_next_address_is_tried_where_one_does_not_answer(web: Site) -> None:
    names = Names(**{"voices.example": [["127.0.0.3", HERE]]})
    url = web.url("/file", "voices.example")
    assert fetch(url, HERE, "127.0.0.3", resolve=names) == BODY


def test_only_hosts_on_the_list_are_asked(web: Site) -> None:
    names = Names(**{name: [[HERE]] for name in ("a.example", "x.b.example", "b.example")})

    def ask(host: str) -> bytes:
        listed = ("A.example", "*.b.example")
        return fetch(web.url("/file", host), resolve=names, hosts=listed)

    assert ask("a.example") == ask("X.B.example") == BODY
    for stranger in ("b.example", "evil-b.example", "a.example.evil.example", HERE):
        with pytest.raises(AddressRefused, match="list"):
            ask(stranger)
    assert len(web.asked) == 2


def test_a_redirect_away_from_the_list_is_refused(web: Site) -> None:
    names = Names(**{name: [[HERE]] for name in ("a.example", "b.example")})
    web.moved = web.url("/file", "b.example")
    with pytest.raises(AddressRefused, match="list"):
        fetch(web.url("/moved", "a.example"), resolve=names, hosts=("a.example",))
    assert web.asked == ["/moved"]


def test_a_compressed_body_is_refused(web: Site) -> None:
    with pytest.raises(FetchFailed, match="compressed"):
        fetch(web.url("/gzip"))


@pytest.mark.parametrize("path", ["/stated", "/endless"])
def test_a_body_without_end_is_left(web: Site, path: str) -> None:
    with pytest.raises(UploadTooLarge, match="1000000 bytes"):
        fetch(web.url(path))
    assert web.sent < 20_000_000  # with what is in buffers


@pytest.mark.parametrize("path", ["/drip", "/slow_head", "/silence"])
def test_a_slow_server_does_not_keep_us(web: Site, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(FetchTimeout):
        fetch(web.url(path), timeout_s=0.3)
    assert time.monotonic() - started < 2


def test_the_deadline_of_the_request_counts_too(web: Site) -> None:
    with pytest.raises(DeadlineExceeded):
        fetch_bytes(web.url("/drip"), policy_for(HERE), Token(0.2))


@pytest.mark.parametrize("path", ["/drip", "/silence"])
def test_a_cancelled_request_stops_reading(web: Site, path: str) -> None:
    token, raised = Token(), list[Exception]()

    def work() -> None:
        with pytest.raises(Cancelled) as caught:
            fetch_bytes(web.url(path), policy_for(HERE), token)
        raised.append(caught.value)

    thread = in_thread(work)
    until(lambda: web.asked == [path])
    token.cancel()
    thread.join(5)
    assert raised


def test_a_look_up_that_hangs_ends_with_the_time_allowed(web: Site) -> None:
    def hang(host: str, port: int) -> list[str]:
        web.closing.wait(10)
        return []

    with pytest.raises(FetchTimeout):
        fetch("http://voices.example/", resolve=hang, timeout_s=0.2)


@pytest.mark.parametrize("path", ["/missing", "/garbage"])
def test_an_answer_that_is_no_file_fails(web: Site, path: str) -> None:
    with pytest.raises(FetchFailed):
        fetch(web.url(path))


def test_an_unknown_name_and_a_closed_port_fail(web: Site) -> None:
    with pytest.raises(FetchFailed, match="not known"):
        fetch("http://nobody.example/", resolve=Names())
    with pytest.raises(FetchFailed):
        fetch("http://127.0.0.1:1/")


def test_messages_keep_signatures_to_themselves(web: Site) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch(web.url("/missing?signature=secret"))
    assert "secret" not in caught.value.message


def test_proxies_of_the_environment_are_not_used(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site("127.0.0.2") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        assert fetch(web.url("/file")) == BODY
        assert proxy.asked == []


def test_check_address_judges_without_a_request(web: Site) -> None:
    check_address(web.url("/file"), policy_for(HERE))
    with pytest.raises(AddressRefused):
        check_address(web.url("/file"), policy_for())
    with pytest.raises(FetchFailed):
        check_address("http://nobody.example", policy_for(resolve=Names()))
    assert web.asked == []


def test_a_policy_may_open_private_addresses_but_never_metadata(web: Site) -> None:
    open_policy = policy_for(allow_private=True)
    assert fetch_bytes(web.url("/file"), open_policy, Token()) == BODY
    with pytest.raises(AddressRefused):
        check_address("http://169.254.169.254/latest/meta-data/", open_policy)
