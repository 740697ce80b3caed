"""Mail that comes back: which message it is about and what it says of the address, whoever wrote it."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_tasks.providers.mail import dsn
from crm_tasks.providers.mail.codes import Kind
from crm_tasks.providers.mail.dsn import Returned, What
from crm_tasks.providers.provider import Malformed
from tests.providers.mails import ID
from tests.providers.returned import bounce, complaint, returned_headers


def only(body: bytes) -> Returned:
    (found,) = dsn.parse(body)
    return found


def test_a_bounce_says_which_message_which_address_and_why() -> None:
    assert only(bounce()) == Returned(
        What.FAILED, ID, "ann@example.net", "5.1.1", Kind.ADDRESS, "there is no such mailbox"
    )


STATUSES = [
    ("5.1.1", "", Kind.ADDRESS),
    ("5.1.10", "", Kind.ADDRESS),
    ("5.4.4", "", Kind.ADDRESS),
    ("5.2.1", "", Kind.DISABLED),
    ("5.2.2", "", Kind.FULL),
    ("4.2.2", "", Kind.FULL),
    ("4.4.7", "", Kind.AGAIN),
    ("5.4.7", "", Kind.AGAIN),
    ("5.3.4", "", Kind.SIZE),
    ("5.7.1", "", Kind.POLICY),
    ("5.0.0", "smtp; 550 no such user", Kind.ADDRESS),
    ("5.0.0", "smtp; 552 full", Kind.FULL),
    ("5.0.0", "x-unix; 550", Kind.MESSAGE),
    ("5.0.0", "the text says 5.1.1 user unknown", Kind.MESSAGE),
    ("nonsense", "", Kind.MESSAGE),
]


@pytest.mark.parametrize(("status", "diagnostic", "kind"), STATUSES)
def test_the_status_decides_and_never_the_text(status: str, diagnostic: str, kind: Kind) -> None:
    assert only(bounce(status=status, diagnostic=diagnostic)).kind is kind


ACTIONS = [("failed", [What.FAILED]), ("DELAYED", [What.DELAYED]), ("delivered", [What.DELIVERED]), ("relayed", []), ("expanded", [])]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(("action", "found"), ACTIONS)
def test_the_action_decides_whether_it_failed(action: str, found: list[What]) -> None:
    assert [each.what for each in dsn.parse(bounce(action=action))] == found


NAMED = [
    {"to": f"bounces+{ID.hex}@shop.example"},
    {"envelope_id": str(ID)},
    {"headers": f"X-CRM-Message: {ID}\r\n"},
    {"headers": f"Message-ID: <{ID}@example.com>\r\n"},
    {"headers": f"Message-ID:\r\n <{ID}@example.com>\r\n"},
    {"headers": f"Return-Path: <bounces+{ID.hex}@example.com>\r\n"},
    {"headers": f"Message-ID: <{ID}@example.com>\r\n", "headers_type": "text/rfc822-headers"},
]


@pytest.mark.parametrize("where", NAMED, ids=str)
def test_the_message_is_named_in_any_of_the_usual_places(where: dict[str, Any]) -> None:
    nowhere = {"to": "bounces@shop.example", "headers": "Subject: x\r\n", "envelope_id": ""}
    assert only(bounce(**(nowhere | where))).message_id == ID
    assert only(bounce(**nowhere)).message_id is None


def test_a_complaint_is_one_unless_it_says_otherwise() -> None:
    found = only(complaint())
    assert (found.what, found.message_id, found.recipient) == (What.COMPLAINED, ID, "ann@example.net")
    assert dsn.parse(complaint(kind="not-spam")) == []


def test_a_report_for_several_recipients_tells_of_each() -> None:
    more = "\r\nFinal-Recipient: rfc822; bob@example.net\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
    assert [(each.recipient, each.what) for each in dsn.parse(bounce(more=more))] == [
        ("ann@example.net", What.FAILED),
        ("bob@example.net", What.DELAYED),
    ]


NO_BOUNCES = [
    b"From: ann@example.net\r\nAuto-Submitted: auto-replied\r\nSubject: Out of office\r\n\r\nI am away. 550 5.1.1",
    b"From: ann@example.net\r\nSubject: Re: Hello\r\nIn-Reply-To: <%b@example.com>\r\n\r\nThanks" % str(ID).encode(),
    b"",
    b"no mail at all",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n" + bounce(),
]  # fmt: skip


@pytest.mark.parametrize("body", NO_BOUNCES, ids=lambda body: str(body[:30]))
def test_an_answer_of_a_person_or_a_machine_is_no_bounce(body: bytes) -> None:
    assert dsn.parse(body) == []


def nested(depth: int, line: bytes = b"x\r\n" * 100) -> bytes:
    open_ = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
    return open_ + line


HOSTILE = [
    nested(2000),
    nested(41),
    b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    b"Content-Type: multipart/report; boundary*0=a; BoundARY*1=b\r\n\r\n" * 100,
    b"x" * (3 * 1024 * 1024 + 1),
    bounce(action="").replace(b"Action: \r\n", b""),
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: str(body[:40]))
@pytest.mark.timeout(20)
def test_what_is_too_big_too_deep_or_empty_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        dsn.parse(body)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("body", [nested(15, b"--b\r\n" * 400_000), b"A: b\r\n" * 400_000, b"\r\n \r\n" * 400_000])
def test_what_is_long_is_read_in_a_moment(body: bytes) -> None:
    assert dsn.parse(body) == []


@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 200))
def test_no_damage_makes_it_fail(noise: bytes, at: int, length: int) -> None:
    whole = bounce()
    try:
        found = dsn.parse(whole[:at] + noise + whole[at + length :])
    except Malformed:
        return
    assert all(each.message_id is None or isinstance(each.message_id, uuid.UUID) for each in found)


@pytest.mark.parametrize(
    "field",
    [
        "Content-Type: multipart/report; boundary",
        "Content-Type: text/plain; charset=\xff\r\nTo",
        "To: =?x?b?\xff?=\r\nX",
    ],
)
def test_broken_headers_do_no_harm(field: str) -> None:
    dsn.parse(field.encode("latin-1") + b": x\r\n\r\n" + bounce())
    assert dsn.parse(bounce(headers="To: \xff\xfe\r\n" + returned_headers()))
