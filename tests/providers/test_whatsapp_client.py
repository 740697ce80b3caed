"""Answers of the Cloud API as values: accepted, refused with what to do, or nobody knows; every code of the table."""

import logging
from datetime import timedelta
from typing import Any

import orjson
import pytest

from crm_tasks.providers.http import Answer
from crm_tasks.providers.provider import Accepted, Action, Address, Outgoing, Refusal, Result, Sender, Unknown
from crm_tasks.providers.whatsapp import client
from crm_tasks.providers.whatsapp.errors import TABLE, pair_wait, refusal
from tests.providers.servers import Server, server

NUMBER = {"api_version": "v26.0", "phone_number_id": "777"}
SENDER = Sender("c", "http://127.0.0.1:9", NUMBER, {"access_token": "a-secret-token"})
HELLO = Outgoing("m-1", Address("phone", "+1"), "text", {"body": "x"})


def result(status: int, body: Any, **headers: str) -> Result:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return client._result(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data))


def failed(code: Any, message: str = "m", status: int = 400, **headers: str) -> Result:
    return result(status, {"error": {"code": code, "message": message}}, **headers)


@pytest.mark.parametrize(
    ("contacts", "wa_id", "bsuid"),
    [
        ([{"input": "+1", "wa_id": "15550001111"}], "15550001111", None),
        ([{"input": "US.1", "user_id": "US.1"}], None, "US.1"),
        ([{"wa_id": 15550001111, "user_id": "US.1"}], "15550001111", "US.1"),
        ([], None, None),
        (None, None, None),
        ("odd", None, None),
        (["odd"], None, None),
        ([{"wa_id": ""}], None, None),
    ],
)
def test_an_accepted_message_says_by_which_ids_it_is_routed(
    contacts: Any, wa_id: str | None, bsuid: str | None
) -> None:
    body = {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": "wamid.A="}]}
    assert result(200, body) == Accepted("wamid.A=", wa_id, bsuid)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"{"),
        (200, []),
        (200, None),
        (200, {}),
        (200, {"messages": []}),
        (200, {"messages": [{}]}),
        (200, {"messages": "wamid.A"}),
        (302, b"moved"),
        (500, b""),
        (502, b"<html>"),
        (503, {"status": "down"}),
        (500, {"error": "text"}),
        (400, {"error": {"message": "no code"}}),
        (400, {"error": {"code": "190"}}),
        (500, {"error": {"code": 131000}}),
    ],
)
def test_what_is_no_clear_answer_is_unknown(status: int, body: Any) -> None:
    assert isinstance(result(status, body), Unknown)


def test_a_gateways_no_is_a_no() -> None:
    assert result(404, b"<html>") == Refusal(Action.MESSAGE, -404, "HTTP 404")
    busy = result(429, b"slow down", Retry_After="7")
    assert busy == Refusal(Action.RETRY, -429, "too many requests", timedelta(seconds=7))


@pytest.mark.parametrize(("given", "wait"), [("7", 7), ("99999", 3600), ("soon", None), ("-1", None), ("", None)])
def test_a_wait_is_believed_up_to_an_hour(given: str, wait: int | None) -> None:
    found = failed(130429, Retry_After=given)
    assert isinstance(found, Refusal)
    assert found.retry_after == (None if wait is None else timedelta(seconds=wait))


# Source: the classes of Meta's error codes, as our protocol notes have them.
CLASSES = {
    Action.RETRY: (1, 2, 4, 80007, 130429, 131016, 131057, 133004, 2494100),
    Action.PAIR: (131056,),
    Action.LATER: (131049, 132015, 132069),
    Action.STOP: (0, 3, 10, 33, 104, 190, 200, 250, 299, 368, 131005, 131031, 131037, 131042, 131045, 131048, 133010),
    Action.MESSAGE: (100, 130472, 131008, 131009, 131030, 131047, 131051, 131052, 131053, 131055, 131062, 131063),
    Action.PERSON: (130403, 130497, 131021, 131026, 131050),
}


@pytest.mark.parametrize(
    ("code", "action"), [(code, action) for action, codes in CLASSES.items() for code in codes], ids=str
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_code_means_the_same_whatever_the_status(code: int, action: Action, status: int) -> None:
    found = failed(code, status=status)
    assert isinstance(found, Refusal)
    assert (found.action, found.code) == (action, code)
    assert found.message != "m"


@pytest.mark.parametrize("code", [132000, 132001, 132005, 132007, 132012, 132016, 132018, 132068, 135000])
def test_a_wrong_template_is_never_sent_again(code: int) -> None:
    assert refusal(code).action is Action.MESSAGE


def test_a_code_that_nobody_knows_is_final_and_quotes_a_little() -> None:
    found = failed(7_654_321, "x" * 5000)
    assert isinstance(found, Refusal)
    assert found.action is Action.MESSAGE
    assert len(found.message) < 300


def test_every_line_of_the_table_says_something() -> None:
    assert all(isinstance(code, int) and meaning for code, (_, meaning, _) in TABLE.items())
    assert TABLE[131000][0] is Action.UNKNOWN


def test_one_person_is_left_alone_ever_longer_but_not_for_ever() -> None:
    seconds = [pair_wait(times).total_seconds() for times in (0, 1, 2, 3, 4, 5, 6, 50)]
    assert seconds == [4, 4, 16, 64, 256, 1024, 3600, 3600]


def test_the_token_is_in_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    heads: list[bytes] = []

    class Seen(Server):
        def read(self, connection: Any) -> None:
            heads.append(connection.recv(65_536))
            body = b'{"messages":[{"id":"wamid.A"}]}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    there = Seen(lambda _: None)
    sender = Sender("c", there.url.rstrip("/"), NUMBER, {"access_token": "a-secret-token"})
    with caplog.at_level(logging.DEBUG):
        found = client.send(sender, HELLO)
    there.close()
    assert found == Accepted("wamid.A")
    (head,) = heads
    assert head.startswith(b"POST /v26.0/777/messages HTTP/1.1\r\n")
    assert head.count(b"a-secret-token") == 1
    assert b"Authorization: Bearer a-secret-token\r\n" in head
    assert "a-secret-token" not in caplog.text + repr(sender)


def test_without_a_connection_it_is_a_clear_no() -> None:
    with server(lambda _: None) as gone:
        pass
    sender = Sender("c", gone.url.rstrip("/"), NUMBER, {"access_token": "t"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("crm_tasks.providers.http.time.sleep", lambda _: None)
        found = client.send(sender, HELLO)
    assert found == Refusal(Action.RETRY, -1, "no connection: ClientConnectorError")


@pytest.mark.parametrize(
    ("status", "body", "ok", "said"),
    [
        (200, b'{"id": "1", "verified_name": "Shop", "quality_rating": "GREEN"}', True, "Shop, quality GREEN"),
        (401, b'{"error": {"code": 190, "message": "m"}}', False, "190: "),
        (200, b"<html>", False, "HTTP 200 that is not the provider's"),
        (200, b"{}", False, "HTTP 200"),
    ],
    ids=["known", "token", "gateway", "empty"],
)
def test_a_check_asks_about_the_number(status: int, body: bytes, ok: bool, said: str) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server(lambda connection: connection.sendall(head + body)) as there:
        found = client.check(Sender("c", there.url.rstrip("/"), NUMBER, {"access_token": "a-secret-token"}))
    assert (found.ok, found.said[: len(said)]) == (ok, said)
