"""Requests to addresses that customers chose: none reaches what is inside, whatever name or redirect leads there."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import urllib3

from crm_tasks.config import settings
from crm_tasks.providers import http, outbound
from tests.providers.servers import GOOD, certificate, says, server
from tests.webhooks.receiver import Answer, receiver

PUBLIC = "93.184.216.34"
INSIDE = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "localhost"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "2852039166", "0.0.0.0", "0"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "192.88.99.1"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[fd00::1]", "[fe80::1]", "[fec0::1]"),
    *("[ff02::1]", "[2001:db8::1]", "[100::1]"),
]  # fmt: skip


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """The rules of production; connections are noted and refused."""
    use(monkeypatch, webhook_allow_private=False)
    connected: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(urllib3.connection.connection, "create_connection", refuse)
    return connected


def use(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    changed = replace(settings(), **changes)
    monkeypatch.setattr(outbound, "settings", lambda: changed)
    monkeypatch.setattr(outbound, "_shared", None)


def names(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Answer look-ups of names one after the other with these addresses; return who was asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answer(host: str, port: int, *more: Any, **options: Any) -> Any:
        try:
            ip_address(host)
        except ValueError:
            asked.append(host)
            return real(answers[min(len(asked), len(answers)) - 1], port, *more, **options)
        return real(host, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def post(url: str) -> outbound.Reply:
    return outbound.post(url, b"{}", {"webhook-id": "1"})


@pytest.mark.parametrize("host", INSIDE)
def test_no_writing_of_an_address_leads_inside(strict: list[tuple[str, int]], host: str) -> None:
    url = f"https://{host}/hooks"
    assert outbound.problem(url) == "Use a public host name."
    assert post(url) == outbound.Reply(None, 0, error="the address is not a public one")
    # Nor if the look at the URL had let it pass.
    with pytest.raises((http.NotSent, http.NoAnswer)) as caught:
        http.exchange(outbound.session(), "POST", url, end=time.monotonic() + 5)
    assert str(caught.value) in ("InvalidIPAddress", "gaierror", "ConnectionError")
    assert strict == []


@pytest.mark.parametrize(
    ("url", "says_"),
    [
        ("http://example.com/", "Use https://."),
        ("ftp://example.com/", "Use https://."),
        ("file:///etc/passwd", "not a URL"),
        ("example.com", "Use https://."),
        ("", "not a URL"),
        ("https://", "not a URL"),
        ("https:///x", "not a URL"),
        ("https://example.com:22/", "Use port 443 or 8443."),
        ("https://example.com:80/", "Use port 443 or 8443."),
        ("https://example.com:99999/", "not a URL"),
        ("https://user:pass@example.com/", "Leave out the user name"),
        ("https://example.com@127.0.0.1/", "Leave out the user name"),
        ("https://example.com/#x", "Leave out the part after #"),
        ("https://exa mple.com/", "ASCII without spaces"),
        ("https://example.com\\@127.0.0.1/", "ASCII without spaces"),
        ("https://bücher.example/", "ASCII without spaces"),
        ("https://example.com/\r\nHost: x", "ASCII without spaces"),
        ("https://intranet/", "public host name"),
        ("https://db.internal/", "public host name"),
        ("https://printer.local./", "public host name"),
        ("https://example.com/" + "x" * 2000, "at most 2000"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_said(strict: list[tuple[str, int]], url: str, says_: str) -> None:
    assert says_ in (outbound.problem(url) or "")
    assert post(url).error == "the address is not a public one"
    assert strict == []


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hooks?a=1", "https://Example.COM:8443/", f"https://{PUBLIC}/", "https://[2606:4700::1]/"],
)
def test_public_https_is_fine(strict: list[tuple[str, int]], url: str) -> None:
    assert outbound.problem(url) is None


def test_a_name_that_means_something_inside_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, strict: list[tuple[str, int]]
) -> None:
    asked = names(monkeypatch, "169.254.169.254")
    assert post("https://metadata.example.com/").error == "the address is not a public one"
    assert (asked, strict) == (["metadata.example.com"], [])


def test_a_dns_that_changes_its_mind_is_asked_once_and_the_checked_address_used(
    monkeypatch: pytest.MonkeyPatch, strict: list[tuple[str, int]]
) -> None:
    asked = names(monkeypatch, PUBLIC, "127.0.0.1")
    assert post("https://rebind.example.com:8443/").error == "NewConnectionError"
    assert asked == ["rebind.example.com"]
    assert strict == [(PUBLIC, 8443)]
    # The next request looks it up again, and finds what it has become.
    assert post("https://rebind.example.com:8443/").error == "the address is not a public one"
    assert strict == [(PUBLIC, 8443)]


def test_a_redirect_inside_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[Any] = []
    real = urllib3.connection.connection.create_connection

    def note(address: Any, *more: Any, **options: Any) -> Any:
        connected.append(address)
        return real(address, *more, **options)

    monkeypatch.setattr(urllib3.connection.connection, "create_connection", note)
    with receiver(Answer(307, {"Location": "http://169.254.169.254/latest/meta-data"})) as there:
        reply = post(there.url)
    assert (reply.status, reply.ok) == (307, False)
    assert [port for _, port in connected] == [there.server_address[1]]


def test_the_certificate_must_be_of_the_name_and_not_of_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The server's is for 127.0.0.1: good for that, and no good for `localhost`, which leads to the same address."""
    monkeypatch.setattr(socket, "has_ipv6", False)
    context, trusted = certificate(tmp_path)
    session = http.new_session(https=outbound.PublicAdapter(allow_loopback=True))
    with server(says(GOOD), tls=context) as there:
        end = time.monotonic() + 10
        options: dict[str, Any] = {"end": end, "verify": trusted, "data": b"{}"}
        assert http.exchange(session, "POST", there.url, **options).status == 200
        with pytest.raises(http.NotSent, match="Certificate"):
            http.exchange(session, "POST", there.url.replace("127.0.0.1", "localhost"), **options)
        with pytest.raises(http.NotSent, match="SSL"):
            http.exchange(session, "POST", there.url, end=end, data=b"{}")


def test_plain_http_has_no_way_out(strict: list[tuple[str, int]]) -> None:
    with pytest.raises(http.NotSent, match="InvalidSchema"):
        http.exchange(outbound.session(), "POST", f"http://{PUBLIC}/", end=time.monotonic() + 5)


def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy, receiver() as there:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert post(there.url).ok
        assert (len(proxy.got), len(there.got)) == (0, 1)


def test_an_answer_without_end_is_read_no_further_than_64_kilobytes() -> None:
    sent: list[int] = []

    def pours(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * 65_536))

    with server(pours) as there:
        reply = post(there.url)
    assert (reply.status, len(reply.excerpt or "")) == (200, 1024)
    assert sum(sent) < 20_000_000


def test_an_answer_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, webhook_timeout=0.5)

    def trickles(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(600):
            connection.sendall(b"x")
            time.sleep(0.05)

    with server(trickles) as there:
        reply = post(there.url)
    assert (reply.status, reply.error) == (None, "Timeout")
    assert reply.latency_ms < 10_000
