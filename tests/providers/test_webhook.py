"""The webhook parser on hard inputs: it never raises, keeps what it can, and says what it could not understand."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_tasks.providers.whatsapp import webhook
from crm_tasks.providers.whatsapp.webhook import AccountChange, IdentityChange, InboundMessage, Parsed, Status, parse

METADATA = {"display_phone_number": "1555", "phone_number_id": "777"}


def parsed(value: Any, field: Any = "messages", **entry: Any) -> Parsed:
    change = {"field": field, "value": value}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "9777", "changes": [change], **entry}]}
    return parse(json.dumps(body).encode())


def one_message(**message: Any) -> InboundMessage:
    value = {"metadata": METADATA, "messages": [{"from": "15550001111", "id": "wamid.A", **message}]}
    (found,) = parsed(value).updates
    assert isinstance(found, InboundMessage)
    return found


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 5_000, "not JSON"),
        (b"[]", "no entry"),
        (b"null", "no entry"),
        (b"{}", "no entry"),
        (b'{"entry": 7}', "no entry"),
    ],
)
def test_what_is_no_webhook_is_said_to_be_none(body: bytes, problem: str) -> None:
    assert parse(body) == Parsed(problems=[problem])
    assert not webhook.phone_number_ids(body)


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "from", "type", "text", "body", "timestamp", "contacts", "wa_id", "user_id", "system"]
            )
            | st.sampled_from(
                ["metadata", "phone_number_id", "messages", "statuses", "status", "errors", "profile", "edit"]
            )
            | st.sampled_from(
                ["entry", "changes", "value", "field", "message_echoes", "to", "user_id_update", "reaction"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(value=SHAPES, field=st.sampled_from(["messages", "smb_message_echoes", "user_id_update", "calls", None, 7]))
def test_any_shape_where_another_was_meant_breaks_nothing(value: Any, field: Any) -> None:
    for body in ({"entry": [{"id": value, "changes": [{"field": field, "value": value}]}]}, value, {"entry": value}):
        data = json.dumps(body).encode()
        found = parse(data)
        assert isinstance(found.updates, list)
        webhook.phone_number_ids(data)
        for update in found.updates:
            json.dumps(getattr(update, "content", None) or getattr(update, "value", None) or {})


def test_an_object_where_a_list_should_be_is_taken_as_its_only_item() -> None:
    message = {"from": "15550001111", "id": "wamid.A", "type": "text", "text": {"body": "Hi"}}
    body = {
        "entry": {"id": "9777", "changes": {"field": "messages", "value": {"metadata": METADATA, "messages": message}}}
    }
    (found,) = parse(json.dumps(body).encode()).updates
    assert isinstance(found, InboundMessage)
    assert (found.id, found.text, found.phone_number_id, found.waba_id) == ("wamid.A", "Hi", "777", "9777")


def test_a_good_message_beside_bad_ones_is_kept() -> None:
    bad: list[Any] = [7, None, "x", {}, {"id": "wamid.B"}, {"from": "1"}, {"id": ["wamid.C"], "from": "1"}]
    good = {"from": "15550001111", "id": "wamid.A"}
    found = parsed({"metadata": METADATA, "messages": [*bad, good]})
    assert [update.id for update in found.updates if isinstance(update, InboundMessage)] == ["wamid.A"]
    assert found.problems.count("a message without id") == 3
    assert "message wamid.B: nobody named as its sender" in found.problems


@pytest.mark.parametrize(
    ("timestamp", "second"),
    [
        ("1790000000", 1_790_000_000),
        (1790000000, 1_790_000_000),
        ("", None),
        (None, None),
        ("soon", None),
        ("-5", None),
        ("99999999999999999999", None),
        ("1790000000000", None),
        ([], None),
        (1e999, None),
        (True, None),
    ],
)
def test_a_moment_is_believed_if_it_can_be_one(timestamp: Any, second: int | None) -> None:
    expected = None if second is None else datetime.fromtimestamp(second, UTC)
    assert one_message(timestamp=timestamp).at == expected


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "text", "text": {"body": "Hi"}}, "Hi"),
        ({"type": "text", "text": {"body": 7}}, "7"),
        ({"type": "text", "text": {"body": None}}, None),
        ({"type": "text", "text": "Hi"}, None),
        ({"type": "text"}, None),
        ({"type": "document", "document": {"filename": "a.pdf"}}, "a.pdf"),
        ({"type": "document", "document": {"filename": "a.pdf", "caption": "Look"}}, "Look"),
        ({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"title": "Row"}}}, "Row"),
        ({"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"body": "Sent"}}}, "Sent"),
        ({"type": "interactive", "errors": [{"code": 1}]}, None),
        ({"type": "location", "location": {"address": "1 Road"}}, "1 Road"),
        ({"type": "edit", "edit": {"message": {"type": "image", "image": {"caption": "New"}}}}, "New"),
        ({"type": "edit", "edit": {"message": "odd"}}, None),
        ({"type": "hologram", "hologram": {"depth": 3}}, None),
        ({}, None),
    ],
)
def test_the_words_of_a_message_are_found_where_its_type_has_them(message: Any, words: str | None) -> None:
    assert one_message(**message).text == words


def test_what_no_database_can_keep_is_replaced() -> None:
    found = one_message(type="text", text={"body": "a\x00b\ud800c", "n\x00": 2**80})
    assert found.text == "a\ufffdb?c"
    assert found.content["n\ufffd"] == str(2**80)


def test_people_are_matched_by_name_and_never_by_position() -> None:
    contacts = [
        {"wa_id": "2", "profile": {"name": "Bob"}},
        {"wa_id": "1", "user_id": "US.1", "profile": {"name": "Ann"}},
    ]
    messages = [{"from": "1", "id": "a"}, {"from": "2", "id": "b"}, {"from": "3", "id": "c"}]
    found = parsed({"metadata": METADATA, "contacts": contacts, "messages": messages}).updates
    people = [update.person for update in found if isinstance(update, InboundMessage)]
    assert [(person.wa_id, person.bsuid, person.name) for person in people] == [
        ("1", "US.1", "Ann"),
        ("2", None, "Bob"),
        ("3", None, None),
    ]


@pytest.mark.parametrize(
    ("sender", "wa_id", "bsuid"),
    [
        ({"from": "+1 555 000-1111"}, "15550001111", None),
        ({"from": 15550001111}, "15550001111", None),
        ({"from": "US.13491208655302741918"}, None, "US.13491208655302741918"),
        ({"from": "US.ENT.9"}, None, "US.ENT.9"),
        ({"from_user_id": "US.1"}, None, "US.1"),
        ({"from": "1", "from_user_id": "US.1"}, "1", "US.1"),
    ],
)
def test_a_sender_is_a_number_or_a_user_id_wherever_it_stands(
    sender: Any, wa_id: str | None, bsuid: str | None
) -> None:
    (found,) = parsed({"metadata": METADATA, "messages": [{"id": "wamid.A", **sender}]}).updates
    assert isinstance(found, InboundMessage)
    assert (found.person.wa_id, found.person.bsuid) == (wa_id, bsuid)


def test_a_changed_number_is_a_message_and_a_change() -> None:
    system = {"type": "user_changed_number", "wa_id": "15550009999", "user_id": "US.456"}
    message = {"from": "15550001111", "id": "wamid.S", "type": "system", "system": system}
    first, second = parsed({"metadata": METADATA, "messages": [message]}).updates
    assert isinstance(first, InboundMessage)
    assert isinstance(second, IdentityChange)
    assert (second.before.wa_id, second.after.wa_id, second.after.bsuid) == ("15550001111", "15550009999", "US.456")


def test_a_status_of_a_group_names_its_member() -> None:
    status = {
        "id": "w",
        "status": "read",
        "recipient_type": "group",
        "recipient_id": "g",
        "participant_recipient_id": "1",
    }
    (found,) = parsed({"metadata": METADATA, "statuses": [status]}).updates
    assert isinstance(found, Status)
    assert found.recipient == "1"


def test_every_other_field_is_kept_as_it_is() -> None:
    (found,) = parsed({"event": "X", "deep": [1, {"a": None}]}, "new_field", time=1_790_000_000).updates
    assert isinstance(found, AccountChange)
    assert (found.field, found.value) == ("new_field", {"event": "X", "deep": [1, {"a": None}]})
    assert found.at == datetime.fromtimestamp(1_790_000_000, UTC)


# --- the signature -----------------------------------------------------------------------------------------------


def test_a_signature_is_over_the_raw_bytes() -> None:
    body = b'{"text":"caf\\u00e9"}'
    right = "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    assert webhook.signature("secret", body) == right
    assert webhook.signed_with("secret", body, right)
    assert not webhook.signed_with("secret", json.dumps(json.loads(body), ensure_ascii=False).encode(), right)


@pytest.mark.parametrize("header", ["", "sha256=", "sha1=abc", "é", "\ud800", "sha256=" + "0" * 64])
def test_a_wrong_signature_is_wrong_whatever_it_is_made_of(header: str) -> None:
    assert not webhook.signed_with("secret", b"body", header)
    right = webhook.signature("secret", b"body")
    assert not webhook.signed_with("secret", b"body", right.upper())
    assert not webhook.signed_with("secret", b"body", right + " ")
    assert not webhook.signed_with("Secret", b"body", right)
