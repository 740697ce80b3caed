"""Requests on the loop of a process: what `http` promises holds there too."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crm_tasks.config import settings
from crm_tasks.providers import http, loop
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from tests.harness import free_ports
from tests.providers.servers import GOOD, Server, certificate, hangs_up, says, server


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Make no pause of those between two tries, and remember how long it would have been."""
    made: list[float] = []
    sleep = asyncio.sleep

    async def remember(delay: float) -> None:
        made.append(delay)
        await sleep(0)

    monkeypatch.setattr(loop.asyncio, "sleep", remember)
    yield made


def post(url: str, **options: Any) -> Answer:
    return loop.submit(loop.request("POST", url, data=b'{"a": 1}', **options)).result(60)


def closed_url() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}/"


def test_an_answer_is_returned_whatever_its_status() -> None:
    with server(says(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")) as there:
        answer = post(there.url)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "7", b"no")
    assert there.requests == [b'{"a": 1}']


def test_a_refused_connection_is_tried_again_after_1_2_and_4_seconds(pauses: list[float]) -> None:
    with pytest.raises(NotSent, match="ClientConnectorError"):
        post(closed_url())
    assert pauses == [1.0, 2.0, 4.0]


def test_no_pause_goes_beyond_the_deadline(pauses: list[float]) -> None:
    with pytest.raises(NotSent):
        post(closed_url(), timeout=2.5)
    assert pauses == [1.0, 2.0]  # the third, of four seconds, would


@pytest.mark.parametrize("url", ["http://nobody.invalid/", "", "127.0.0.1/x", "http://", "http://[::1", "ftp://x/"])
def test_what_leads_nowhere_has_had_nothing(url: str) -> None:
    with pytest.raises(NotSent):
        post(url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
def test_what_left_is_never_sent_again(pauses: list[float], answer: bytes) -> None:
    with server(says(answer)) as there, pytest.raises(NoAnswer):
        post(there.url)
    assert (len(there.requests), pauses) == (1, [])


def test_a_reset_after_the_request_is_no_answer(pauses: list[float]) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with server(reset) as there, pytest.raises(NoAnswer):
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

    with server(slow) as there, pytest.raises(NoAnswer, match="Timeout"):
        post(there.url, timeout=1.0)
    over.set()
    assert len(there.requests) == 1


def test_who_does_not_take_the_connection_has_had_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full backlog: the kernel answers nobody any more."""
    changed = replace(settings(), http_connect_timeout=0.5)
    monkeypatch.setattr(loop, "settings", lambda: changed)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first = socket.create_connection(full.getsockname())
        others = [socket.socket() for _ in range(8)]
        for each in others:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        with pytest.raises(NotSent):
            post(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout=1.0)
        for each in (first, *others):
            each.close()


def test_a_certificate_that_nobody_vouches_for_has_had_nothing(tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with server(says(GOOD), tls=context) as there, pytest.raises(NotSent, match="Certificate"):
        post(there.url)
    assert there.requests == []


def test_many_at_once_each_get_their_own_answer() -> None:
    def echo(number: int) -> bytes:
        body = str(number).encode()
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with server(*(says(echo(n)) for n in range(50))) as there:
        works = [loop.submit(loop.request("POST", there.url, data=b"x")) for _ in range(50)]
        answers = {work.result(60).body for work in works}
    assert answers == {str(n).encode() for n in range(50)}


def test_what_may_not_leave_once_there_is_a_connection_has_not_and_the_next_uses_it() -> None:
    async def late(url: str) -> Answer:
        with loop.only_if(lambda: False):
            return await loop.request("POST", url, data=b"late")

    with server(says(GOOD)) as there:
        with pytest.raises(loop.TooLate):
            loop.submit(late(there.url)).result(60)
        assert post(there.url).body == b"ok"
    assert (there.requests, there.connections) == ([b'{"a": 1}'], 1)
