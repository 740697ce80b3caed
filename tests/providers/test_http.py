"""One request to a provider: again only where none can have left, and never longer than its deadline."""

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crm_tasks.config import settings
from crm_tasks.providers import http
from crm_tasks.providers.http import NoAnswer, NotSent
from tests.harness import free_ports
from tests.providers.servers import GOOD, Server, certificate, hangs_up, says, server


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make no pause, and remember how long it would have been."""
    made: list[float] = []
    monkeypatch.setattr(http.time, "sleep", made.append)
    return made


def use(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Change settings of this process."""
    changed = replace(settings(), **changes)
    monkeypatch.setattr(http, "settings", lambda: changed)


def post(url: str, **options: Any) -> http.Answer:
    return http.request("POST", url, data=b'{"a": 1}', **options)


def closed_url() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}/"


def test_an_answer_is_returned_whatever_its_status() -> None:
    with server(says(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")) as there:
        answer = post(there.url)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "7", b"no")
    assert there.requests == [b'{"a": 1}']


def test_a_refused_connection_is_tried_again_after_1_2_and_4_seconds(pauses: list[float]) -> None:
    with pytest.raises(NotSent, match="NewConnectionError"):
        post(closed_url())
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("retries", "delays", "made"),
    [(0, (1.0,), []), (1, (1.0, 2.0, 4.0), [1.0]), (5, (0.5, 3.0), [0.5, 3.0, 3.0, 3.0, 3.0])],
)
def test_how_often_and_after_how_long_are_settings(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], retries: int, delays: tuple[float, ...], made: list[float]
) -> None:
    use(monkeypatch, http_retries=retries, http_retry_delays=delays)
    with pytest.raises(NotSent):
        post(closed_url())
    assert pauses == made


def test_no_pause_goes_beyond_the_deadline(pauses: list[float]) -> None:
    with pytest.raises(NotSent):
        post(closed_url(), timeout=2.5)
    assert pauses == [1.0, 2.0]  # the third, of four seconds, would


def test_a_name_that_does_not_resolve_has_had_nothing(pauses: list[float]) -> None:
    with pytest.raises(NotSent, match="NameResolutionError"):
        post("http://nobody.invalid/")
    assert len(pauses) == 3


@pytest.mark.parametrize("url", ["", "127.0.0.1/x", "http://", "http://[::1", "ftp://127.0.0.1/"])
def test_what_is_no_url_has_had_nothing(url: str) -> None:
    with pytest.raises(NotSent):
        post(url)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "RemoteDisconnected"),
        (b"\x00\xff garbage\r\n\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "InvalidChunkLength"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "error"),
    ],
)
def test_what_left_is_never_sent_again(pauses: list[float], answer: bytes, reason: str) -> None:
    with server(says(answer)) as there, pytest.raises(NoAnswer, match=reason):
        post(there.url)
    assert (len(there.requests), pauses) == (1, [])


def test_a_reset_after_the_request_is_no_answer(pauses: list[float]) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with server(reset) as there, pytest.raises(NoAnswer, match="ConnectionResetError"):
        post(there.url)
    assert (len(there.requests), pauses) == (1, [])


def test_a_connection_that_is_used_again_and_breaks_is_no_answer(pauses: list[float]) -> None:
    """Kept alive, the second request goes down a connection that ends under it: it may have arrived."""
    there: Server

    def once(connection: socket.socket) -> None:
        connection.sendall(GOOD)
        there.read(connection)

    with server(once, hangs_up) as there:
        assert post(there.url).body == b"ok"
        with pytest.raises(NoAnswer):
            post(there.url)
        assert (there.connections, len(there.requests), pauses) == (1, 2, [])


def test_nobody_follows_a_redirect() -> None:
    """A token is for the host that it was given for."""
    with server(says(GOOD)) as elsewhere:
        moved = f"HTTP/1.1 307 Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
        with server(says(moved)) as there:
            assert post(there.url).status == 307
    assert elsewhere.requests == []


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_url())
    with server(says(GOOD)) as there:
        assert post(there.url).body == b"ok"


def test_an_endless_answer_is_cut_off() -> None:
    with server(says(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (http.MAX_BODY + 1))) as there:
        with pytest.raises(NoAnswer, match="more than 5242880 bytes"):
            post(there.url)


@pytest.mark.parametrize("how", ["silent", "trickling"])
def test_a_slow_answer_ends_at_the_deadline(how: str) -> None:
    """Each byte comes in time, and the whole never would."""
    over = threading.Event()

    def slow(connection: socket.socket) -> None:
        if how == "trickling":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
            while not over.wait(0.1):
                connection.sendall(b"x")
        over.wait(30)

    began = time.monotonic()
    with server(slow) as there, pytest.raises(NoAnswer, match="Timeout"):
        post(there.url, timeout=1.0)
    assert 0.9 < time.monotonic() - began < 20
    over.set()
    assert len(there.requests) == 1


# --- TLS ---------------------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for_has_had_nothing(tmp_path: Path, pauses: list[float]) -> None:
    context, _ = certificate(tmp_path)
    with server(says(GOOD), tls=context) as there, pytest.raises(NotSent, match="SSLCertVerificationError"):
        post(there.url)
    assert there.requests == []


def test_tls_that_breaks_after_the_request_is_no_answer(tmp_path: Path, pauses: list[float]) -> None:
    """The same error class as a handshake that failed, but the request has left."""
    context, trusted = certificate(tmp_path)

    def plain(connection: Any) -> None:
        with socket.socket(fileno=connection.fileno()) as raw:
            raw.sendall(b"this is no TLS record, whatever it is")
            connection.detach()

    with server(plain, says(GOOD), tls=context) as there, pytest.raises(NoAnswer, match="SSLError"):
        post(there.url, verify=trusted)
    assert (len(there.requests), pauses) == (1, [])


def test_each_try_that_could_not_leave_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(http.metrics, "count", counted.append)
    with pytest.raises(NotSent):
        post(closed_url())
    assert counted == ["http_retries"] * 3
