"""Whatever a caller sends, the answer is a 4xx in our one shape and never a 5xx."""

import json
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from crm_tasks.core import db
from tests.core.ledger import take
from tests.fixtures import Demo
from tests.messages.apply import rows, wrote
from tests.webapp.api import Api, error, fields

NUL, LONE = "a\x00b", "a\ud800b"


def raw(api: Api, data: bytes, path: str = "/messages", kind: str = "application/json") -> Any:
    return api.post(path, data=data, content_type=kind)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe\x00",
        b'{"to": "\xc3"}',
        b"NaN",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b"{}",
        b'{"to": Infinity}',
        b'{"to": 1e999}',
        b'{"to": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda data: data[:12].decode("latin-1"),
)
def test_a_body_that_is_no_message_is_refused(api: Api, data: bytes) -> None:
    for path in ("/messages", "/holds", "/dlq/retry", "/dlq/discard"):
        answer = raw(api, data, path)
        assert 400 <= answer.status_code < 500, path
        assert error(answer)["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "xml"])
def test_another_content_type_is_refused(demo: Demo, api: Api, kind: str) -> None:
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "text", "text": {"body": "x"}}
    answer = raw(api, json.dumps(new).encode(), kind=kind)
    assert 400 <= answer.status_code < 500
    error(answer)


@pytest.mark.parametrize("text", [NUL, LONE], ids=["NUL", "a lone surrogate"])
@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        ("/messages", {"text": {"body": "?"}}, "text.body"),
        ("/messages", {"to": "?"}, "to"),
        ("/messages", {"context": {"message_id": "?"}}, "context.message_id"),
        ("/messages", {"?": 1}, "body"),
        ("/holds", {"scope": "task:?", "reason": "r"}, "scope"),
        ("/holds", {"scope": "all", "reason": "?"}, "reason"),
        ("/dlq/retry", {"task": "?"}, "task"),
        ("/dlq/retry", {"fingerprint": "?"}, "fingerprint"),
        ("/dlq/discard", {"all": True, "reason": "?"}, "reason"),
        ("/jobs/JOB/cancel", {"reason": "?"}, "reason"),
        ("/dlq/JOB/discard", {"reason": "?"}, "reason"),
    ],
)
def test_what_no_database_can_keep_is_refused_by_field(
    demo: Demo, operator: Api, path: str, change: dict[str, Any], field: str, text: str
) -> None:
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "text", "text": {"body": "x"}}
    escaped = json.dumps((new if path == "/messages" else {}) | change).replace("?", json.dumps(text)[1:-1])
    answer = raw(operator, escaped.encode(), path.replace("JOB", str(uuid.uuid4())))
    assert answer.status_code == 422
    named = fields(answer)
    assert list(named) == [field]
    assert "U+0000" in named[field] if text == NUL else "surrogate" in named[field]


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?task=%00",
        "/jobs?queue=%00",
        "/jobs?state=%00",
        "/dlq?fingerprint=%00",
        "/dlq?task=a%00",
        "/events?state=%00",
        "/conversations?contact_id=%00",
        "/conversations?cursor=%00",
        "/jobs?limit=0",
        "/jobs?limit=201",
        "/jobs?limit=-1",
        "/jobs?limit=99999999999999999999",
        "/jobs?limit=ten",
        "/jobs?state=sleeping",
        "/jobs?queue=nowhere",
        "/queues/metrics?minutes=0",
        "/queues/metrics?minutes=1441",
        "/queues/statistics?days=401",
        "/holds?ended=perhaps",
    ],
)
def test_a_wrong_query_is_refused(operator: Api, path: str) -> None:
    answer = operator.get(path)
    assert 400 <= answer.status_code < 500, path
    error(answer)


CURSORS = [
    "x",
    "////",
    "é",
    "e30",
    "W10",
    "WzFd",
    "WyIxIiwiMiJd",
    "bnVsbA",
    "WyIyMDI2LTAxLTAxIiwgIngiXQ",
    "A" * 4000,
    # A year that no Postgres timestamp in UTC can be, with a zone that moves it beyond.
    "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwiMDFhMjAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
    "WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwiMDFhMjAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
]


@pytest.mark.parametrize("path", ["/conversations", "/jobs", "/dlq", "/events"])
@pytest.mark.parametrize("cursor", CURSORS, ids=lambda cursor: cursor[:16])
def test_a_cursor_that_is_none_of_ours_never_breaks_a_list(operator: Api, path: str, cursor: str) -> None:
    answer = operator.get(path, query_string={"cursor": cursor})
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        assert fields(answer) == {"cursor": "Use the `next` of the page before, unchanged."}


@pytest.mark.parametrize("path", ["/messages/x", "/messages/", "/nothing", "/jobs/1/cancel", "/../etc/passwd", "/%00"])
def test_a_path_that_leads_nowhere_is_a_404_in_our_shape(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, error(answer)["code"]) == (404, "not_found")


def test_a_method_that_a_path_does_not_have_is_a_405(api: Api) -> None:
    answer = api.delete("/messages")
    assert (answer.status_code, error(answer)["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


def test_a_body_that_is_too_long_is_a_413(api: Api) -> None:
    files = raw(api, b'{"a": "' + b"x" * 31_500_000 + b'"}')  # a message may have files
    other = api.post("/holds", {"scope": "x" * 3_200_000})
    for answer in (files, other):
        assert (answer.status_code, error(answer)["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize("name", ["Idempotency-Key", "Authorization", "X-Request-Id", "Cookie"])
def test_a_header_of_odd_bytes_breaks_nothing(client: FlaskClient, demo: Demo, api: Api, name: str) -> None:
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "text", "text": {"body": "x"}}
    headers = {"Authorization": f"Bearer {api.key}", name: "Bearer \x7f\xff\xe9"}
    assert client.post("/api/v1/messages", json=new, headers=headers).status_code < 500


def test_characters_of_every_kind_are_kept_as_they_are(demo: Demo, api: Api) -> None:
    from crm_tasks.messages.models import Message

    said = "é 😀 \u202e\u200b 中 ' \" \\ <b> {{x}} %s \t\n\u0001"
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "text", "text": {"body": said}}
    with db.transaction() as session:
        wrote(session, demo, "+15550001111")
    assert api.post("/messages", new).status_code == 202
    (message,) = rows(Message)
    assert (message.text, message.content) == (said, {"body": said})
    assert take(message.job_id).args == {"message_id": str(message.id)}
