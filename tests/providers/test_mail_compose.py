"""A mail from its parts: what is in it, and what can never get into its headers."""

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_tasks.providers.mail import compose, plain
from crm_tasks.providers.mail.compose import Attachment
from tests.providers.mails import ID, composed, mail


def read(**changes: Any) -> EmailMessage:
    found = email.message_from_bytes(composed(**changes).data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def fields(**changes: Any) -> dict[str, str]:
    return {each.field: each.message for each in compose.problems(mail(**changes))}


def test_a_mail_has_both_forms_and_names_itself_everywhere() -> None:
    found = read(
        sender_name='Shop "é"', subject="Grüße", html="<h1>Hi</h1><p>See <a href='https://x.test/a'>this</a></p>"
    )
    assert (found["To"], found["Subject"]) == ("ann@example.net", "Grüße")
    assert found["From"].addresses[0].display_name == 'Shop "é"'
    assert found["From"].addresses[0].addr_spec == "shop@example.com"
    assert found["Message-ID"] == f"<{ID}@example.com>"
    assert found["X-CRM-Message"] == str(ID)
    assert found.get_body(("html",)).get_content().strip().startswith("<h1>Hi</h1>")  # type: ignore[union-attr]
    assert found.get_body(("plain",)).get_content() == "Hi\r\n\r\nSee this (https://x.test/a)\r\n"  # type: ignore[union-attr]


def test_it_is_composed_the_same_twice_but_for_the_borders_between_its_parts() -> None:
    assert read(html="", text="x").as_bytes() == read(html="", text="x").as_bytes()


def test_every_line_passes_every_server() -> None:
    data = composed(
        subject="é" * 300,
        text="x" * 5000 + "\n.\nend",
        html="<p>" + "ü" * 5000,
        headers={"X-Long": "a" * 500, "X-Umlaut": "ü" * 200},
        unsubscribe_url="https://crm.example.test/u/" + "t" * 200,
    ).data
    assert data.isascii()
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"X-Long: " + b"a" * 500 in data


def test_marketing_can_be_left_with_one_click() -> None:
    found = read(unsubscribe_url="https://crm.example.test/u/TOKEN")
    assert found["List-Unsubscribe"] == "<https://crm.example.test/u/TOKEN>"
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert read()["List-Unsubscribe"] is None


def test_a_bounce_goes_to_an_address_that_names_the_message() -> None:
    assert composed(return_path="bounces@example.com").sender == f"bounces+{ID.hex}@example.com"
    assert composed().sender == "shop@example.com"


def test_a_domain_of_other_letters_is_written_in_ascii() -> None:
    assert composed(to="Ann@EXÄMPLE.com").to == "ann@xn--exmple-cua.com"


def test_files_come_out_as_they_went_in() -> None:
    file = Attachment("Rechnung é.pdf", "application/pdf", bytes(range(256)))
    (found,) = read(attachments=[file]).iter_attachments()
    assert (found.get_filename(), found.get_content_type()) == ("Rechnung é.pdf", "application/pdf")
    assert found.get_content() == file.data


WRONG = [
    ({"to": "ann"}, "to"),
    ({"to": "ann@exa mple.com"}, "to"),
    ({"to": "jörg@example.com"}, "to"),
    ({"to": "a@b.com, c@d.com"}, "to"),
    ({"to": "ann@localhost"}, "to"),
    ({"reply_to": "nobody"}, "reply_to"),
    ({"subject": "  "}, "subject"),
    ({"subject": "x" * 999}, "subject"),
    ({"subject": "a\r\nBcc: eve@example.com"}, "subject"),
    ({"subject": "a\x85b"}, "subject"),
    ({"subject": "\ud800"}, "subject"),
    ({"sender_name": "a\nb"}, "sender_name"),
    ({"html": "", "text": " "}, "html"),
    ({"html": "x" * (1024 * 1024 + 1)}, "html"),
    ({"headers": {"Bcc": "eve@example.com"}}, "headers.Bcc"),
    ({"headers": {"content-type": "text/plain"}}, "headers.content-type"),
    ({"headers": {"X-A\r\nBcc": "x"}}, "headers.X-A\r\nBcc"),
    ({"headers": {"X-A": "b\r\nBcc: eve@example.com"}}, "headers.X-A"),
    ({"headers": {"X-A": "b" * 999}}, "headers.X-A"),
    ({"attachments": [Attachment("a\r\nb", "text/plain", b"")]}, "attachments.0.name"),
    ({"attachments": [Attachment("a", "text/plain\r\nX: y", b"")]}, "attachments.0.media_type"),
    ({"attachments": [Attachment("a", "message/rfc822", b"")]}, "attachments.0.media_type"),
    ({"attachments": [Attachment("a", "text/plain", b"")] * 11}, "attachments"),
    ({"attachments": [Attachment("a", "text/plain", bytes(20 * 1024 * 1024 + 1))]}, "attachments"),
]


@pytest.mark.parametrize(("change", "field"), WRONG, ids=lambda value: str(value)[:50])
def test_what_is_wrong_is_named_by_field(change: dict[str, Any], field: str) -> None:
    assert len(fields(**change)[field]) > 10


NAMES = {"from", "to", "subject", "date", "message-id", "x-crm-message", "mime-version", "content-type", "x-tag",
         "content-transfer-encoding", "reply-to"}  # fmt: skip


@given(st.text(min_size=1), st.text(), st.text())
def test_no_text_makes_a_header_of_its_own(subject: str, tag: str, name: str) -> None:
    changes: dict[str, Any] = {
        "subject": subject,
        "headers": {"X-Tag": tag},
        "sender_name": name,
        "html": "",
        "text": "x",
    }
    if compose.problems(mail(**changes)):
        return
    found = read(**changes)
    assert {key.lower() for key in found.keys()} <= NAMES  # noqa: SIM118
    assert [found.get_all(key) is not None and len(found.get_all(key, [])) for key in ("To", "From", "Subject")] == [
        1
    ] * 3
    assert found.get_body(("plain",)).get_content().strip() == "x"  # type: ignore[union-attr]


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "a\rb", "a\x00b", "a\u2028b"])
def test_composing_itself_refuses_a_line_break_that_nobody_looked_for(value: str) -> None:
    with pytest.raises(ValueError):
        composed(headers={"X-Tag": value})


@pytest.mark.parametrize(
    "page",
    [
        "<" * 300_000,
        "<!--" * 80_000,
        "<a href='" * 30_000,
        "<p> \n" * 60_000,
        "<a" + " href=" * 60_000 + ">",
        "&" * 300_000,
    ],
)
@pytest.mark.timeout(20)
def test_a_hostile_page_is_read_in_one_pass(page: str) -> None:
    plain.of_html(page)
