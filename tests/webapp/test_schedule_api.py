"""`/api/schedule-sms` and `/api/schedule-email`, as earlier systems call them; and what a new message may ask for."""

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
from crm_tasks.workspaces import service
from tests.fixtures import Demo
from tests.gateways import add_channel
from tests.messages.apply import one, rows
from tests.webapp.api import Api, error, fields

SMS = {"to": "+15550001111", "message": "Hello", "contactId": "c_1", "workspaceId": "w_1"}
LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
PAST = "2020-01-01T00:00:00Z"


@pytest.fixture
def shop(demo: Demo) -> Demo:
    return add_channel(demo)


def call(api: Api, body: Any, path: str = "/api/schedule-sms", **headers: str) -> TestResponse:
    headers = {"Authorization": f"Bearer {api.key}", **headers}
    return api.client.post(path, json=body, headers=headers)


def accepted(answer: TestResponse) -> Message:
    assert answer.status_code == 202, answer.get_data(as_text=True)
    said = answer.get_json()
    assert said["success"] is True
    message = one(Message, Message.id == uuid.UUID(said["messageId"]))
    assert (str(message.job_id), message.direction) == (said["jobId"], "out")
    assert datetime.fromisoformat(said["scheduledFor"]) == (message.scheduled_for or message.occurred_at)
    return message


def refused(answer: TestResponse, status: int = 422) -> dict[str, str]:
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert rows(Message) == []
    return fields(answer) if "fields" in error(answer) else {}


def now() -> datetime:
    with db.transaction() as session:
        return session.scalar(sa.select(db.now()))  # type: ignore[return-value]


# --- SMS ---------------------------------------------------------------------------------------------------------


def test_an_sms_is_accepted_for_now(shop: Demo, api: Api) -> None:
    message = accepted(call(api, SMS | {"metadata": {"campaignId": "k_9"}}))
    assert (message.channel_id, message.type, message.text, message.parts) == (shop.channel_id, "text", "Hello", 1)
    assert message.content == {
        "body": "Hello",
        "external": {"contactId": "c_1", "workspaceId": "w_1"},
        "metadata": {"campaignId": "k_9"},
    }
    assert (message.scheduled_for, one(Job).run_at <= now()) == (None, True)


def test_the_oldest_callers_name_of_the_number(shop: Demo, api: Api) -> None:
    old = {"phoneNumber": SMS["to"], **{name: value for name, value in SMS.items() if name != "to"}}
    assert accepted(call(api, old)).contact_id == accepted(call(api, SMS)).contact_id
    both = refused_fields(call(api, SMS | {"phoneNumber": "+15550002222"}))
    assert list(both) == ["phoneNumber"]


def refused_fields(answer: TestResponse) -> dict[str, str]:
    assert answer.status_code == 422
    return fields(answer)


def test_a_delay_is_milliseconds_from_now(shop: Demo, api: Api) -> None:
    before = now()
    message = accepted(call(api, SMS | {"delay": 90_000}))
    assert message.scheduled_for is not None
    assert before <= message.scheduled_for - timedelta(seconds=90) <= now()
    assert one(Job).run_at == message.scheduled_for


@pytest.mark.parametrize("more", [{}, {"delay": 5_000}, {"delay": None}], ids=str)
def test_a_moment_counts_more_than_a_delay(shop: Demo, api: Api, more: Any) -> None:
    assert accepted(call(api, SMS | {"scheduledFor": LATER, **more})).scheduled_for == datetime.fromisoformat(LATER)


@pytest.mark.parametrize(
    "more", [{"delay": 0}, {"delay": None, "scheduledFor": None}, {"scheduledFor": "2020-01-01T00:00:00Z"}]
)
def test_what_is_past_or_absent_is_now(shop: Demo, api: Api, more: Any) -> None:
    assert accepted(call(api, SMS | more)).scheduled_for is None


@pytest.mark.parametrize("workspace_id", ["w_1", "17", 17, 0, -3])
def test_a_workspace_may_be_named_by_text_or_number(shop: Demo, api: Api, workspace_id: Any) -> None:
    message = accepted(call(api, SMS | {"workspaceId": workspace_id, "contactId": workspace_id}))
    assert message.content["external"] == {"contactId": str(workspace_id), "workspaceId": str(workspace_id)}
    assert message.workspace_id == shop.workspace_id


def test_the_keys_own_workspace_may_be_named_and_no_other(shop: Demo, other: Demo, api: Api) -> None:
    accepted(call(api, SMS | {"workspaceId": str(shop.workspace_id).upper()}))
    answer = call(api, SMS | {"workspaceId": str(other.workspace_id)})
    assert (answer.status_code, error(answer)["code"]) == (403, "other_workspace")
    assert len(rows(Message)) == 1


@pytest.mark.parametrize("bad", ["", " ", None, True, 1.5, [], {}, "x" * 201], ids=str)
@pytest.mark.parametrize("name", ["workspaceId", "contactId"])
def test_any_other_kind_of_id_is_refused(shop: Demo, api: Api, name: str, bad: Any) -> None:
    assert list(refused(call(api, SMS | {name: bad}))) == [name]


@pytest.mark.parametrize("name", ["to", "message", "contactId", "workspaceId"])
def test_what_is_missing_is_named(shop: Demo, api: Api, name: str) -> None:
    wrong = refused(call(api, {key: value for key, value in SMS.items() if key != name}))
    assert list(wrong) == [name]
    assert wrong[name] and "Missing" not in wrong[name]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"to": ""}, "to"),
        ({"to": "nobody"}, "to"),
        ({"message": ""}, "message"),
        ({"delay": -1}, "delay"),
        ({"delay": "soon"}, "delay"),
        ({"delay": 366 * 86_400_000 + 1}, "delay"),
        ({"scheduledFor": "tomorrow"}, "scheduledFor"),
        ({"scheduledFor": "2030-01-31T09:00:00"}, "scheduledFor"),
        ({"scheduledFor": "2130-01-31T09:00:00Z"}, "scheduledFor"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"x": "y" * 9000}}, "metadata"),
        ({"channelId": "x"}, "channelId"),
        ({"message": "a" * 1531}, "message"),
        ({"anything": 1}, "anything"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_wrong_field_is_named(shop: Demo, api: Api, more: Any, name: str) -> None:
    assert list(refused(call(api, SMS | more))) == [name]


def test_the_oldest_channel_sends_unless_one_is_named(demo: Demo, shop: Demo, api: Api) -> None:
    newer = add_channel(demo, "twilio")
    assert accepted(call(api, SMS)).channel_id == shop.channel_id
    assert accepted(call(api, SMS | {"channelId": str(newer.channel_id)})).channel_id == newer.channel_id
    wrong = call(api, SMS | {"channelId": str(demo.channel_id)})
    assert (wrong.status_code, list(fields(wrong))) == (422, ["channelId"])
    assert call(api, SMS | {"channelId": str(uuid.uuid4())}).status_code == 404


@pytest.mark.parametrize("path", ["/api/schedule-sms", "/api/schedule-email"])
def test_without_a_channel_it_says_how_to_add_one(demo: Demo, api: Api, path: str) -> None:
    mail = {"to": "ann@example.test", "subject": "s", "html": "h", "contactId": 1, "workspaceId": 1}
    answer = call(api, SMS if path.endswith("sms") else mail, path)
    assert (answer.status_code, error(answer)["code"]) == (422, "no_channel")
    assert "crm channel add" in error(answer)["hint"]


def test_a_key_is_needed(client: FlaskClient, shop: Demo) -> None:
    for path in ("/api/schedule-sms", "/api/schedule-email"):
        assert client.post(path, json=SMS).status_code == 401
        assert client.post(path, json=SMS, headers={"Authorization": "Bearer crm_no"}).status_code == 401


def test_the_same_idempotency_key_makes_one_message(shop: Demo, api: Api) -> None:
    answers = [call(api, SMS, **{"Idempotency-Key": "k"}).get_json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(rows(Message)) == 1
    assert call(api, SMS | {"message": "other"}, **{"Idempotency-Key": "k"}).status_code == 409


@pytest.mark.parametrize("name", ["to", "subject", "html", "contactId", "workspaceId"])
def test_what_a_mail_lacks_is_named(demo: Demo, api: Api, name: str) -> None:
    mail = {"to": "ann@example.test", "subject": "s", "html": "h", "contactId": 1, "workspaceId": 1}
    del mail[name]
    assert list(refused(call(api, mail, "/api/schedule-email"))) == [name]


def mails(demo: Demo) -> Demo:
    values = {"access_token": "t", "from_address": "shop@example.com"}
    made = service.NewChannel(kind="email_api", name="Mail", values=values, base_url="http://127.0.0.1:9")
    with db.transaction() as session:
        return dataclasses.replace(demo, channel_id=service.add_channel(session, demo.workspace_id, made).id)


MAIL = {"to": "Ann@Example.test", "subject": "Hello", "html": "<p>Hi</p>", "contactId": "c_1", "workspaceId": 7}


def test_a_mail_is_accepted_with_its_ids(demo: Demo, api: Api) -> None:
    shop = mails(demo)
    given = MAIL | {"scheduledFor": LATER, "delay": 1, "metadata": {"campaignId": "k_9"}}
    message = accepted(call(api, given, "/api/schedule-email"))
    assert (message.channel_id, message.type, message.text) == (shop.channel_id, "email", "Hello")
    content = message.content
    assert (content["subject"], content["metadata"]) == ("Hello", {"campaignId": "k_9"})
    assert content["external"] == {"contactId": "c_1", "workspaceId": "7"}
    assert message.scheduled_for == datetime.fromisoformat(LATER)
    assert (one(Job).task, one(Job).run_at) == ("email.send", message.scheduled_for)


@pytest.mark.parametrize(
    ("more", "name"), [({"to": "nobody"}, "to"), ({"subject": "a\nBcc: x@example.test"}, "subject")], ids=str
)
def test_every_wrong_field_of_a_mail_is_named(demo: Demo, api: Api, more: Any, name: str) -> None:
    mails(demo)
    assert list(refused(call(api, MAIL | more, "/api/schedule-email"))) == [name]


# --- /api/v1/messages --------------------------------------------------------------------------------------------


def new(shop: Demo, **more: Any) -> dict[str, Any]:
    body = {"channel_id": str(shop.channel_id), "to": "+15550001111", "type": "text", "text": {"body": "Hello"}}
    return body | more


def test_an_sms_with_everything(demo: Demo, shop: Demo, api: Api) -> None:
    way = {"channel_id": str(demo.channel_id), "type": "text", "text": {"body": "Instead"}}
    asked = {
        "text": {"body": "€" * 81},
        "category": "marketing",
        "scheduled_for": LATER,
        "metadata": {"campaignId": "k_9"},
        "fallback": {"channels": [way]},
    }
    answer = api.post("/messages", new(shop, **asked))
    assert answer.status_code == 202, answer.get_data(as_text=True)
    shown = answer.get_json()
    assert (shown["category"], shown["parts"], shown["cost"], shown["gates"]) == ("marketing", 2, None, None)
    assert datetime.fromisoformat(shown["scheduled_for"]) == datetime.fromisoformat(LATER)
    assert shown["content"]["metadata"] == {"campaignId": "k_9"}
    assert shown["fallback_of"] is None
    assert one(Message).fallback == {
        "channels": [{"channel_id": str(demo.channel_id), "type": "text", "content": {"body": "Instead"}}]
    }
    assert one(Job).run_at == datetime.fromisoformat(LATER)


@pytest.mark.parametrize("nested", [False, True])
def test_free_text_may_name_a_template_for_a_closed_window(demo: Demo, api: Api, nested: bool) -> None:
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    both = {"fallback_template": template, "fallback": {"template": template}}
    assert list(refused(api.post("/messages", new(demo, **both)))) == ["fallback_template"]
    one_of = {"fallback": {"template": template}} if nested else {"fallback_template": template}
    assert api.post("/messages", new(demo, **one_of)).status_code == 202
    message = one(Message)
    assert (message.fallback, message.category) == ({"template": template}, "service")


TEXT = {"type": "text", "text": {"body": "x"}}


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"category": "spam"}, "category"),
        ({"scheduled_for": "2030-01-31T09:00:00"}, "scheduled_for"),
        ({"scheduled_for": "2130-01-31T09:00:00Z"}, "scheduled_for"),
        ({"text": {"body": "ж" * 671}}, "text.body"),
        ({"metadata": {"": 1}}, "metadata..key"),
        ({"metadata": {str(n): n for n in range(51)}}, "metadata"),
        ({"fallback": {"channels": []}}, "fallback.channels"),
        ({"fallback": {"channels": [TEXT]}}, "fallback.channels.0.channel_id"),
        ({"fallback": {"channels": [{"type": "text"}]}}, "fallback.channels.0.channel_id"),
        ({"fallback": {"template": {"name": "x"}}}, "fallback.template.language"),
        ({"type": "template"}, "template"),
    ],
    ids=str,
)
def test_every_wrong_part_of_a_message_is_named(shop: Demo, api: Api, more: Any, name: str) -> None:
    assert name in refused(api.post("/messages", new(shop, **more)))


def test_another_way_must_be_one(demo: Demo, shop: Demo, other: Demo, api: Api) -> None:
    long = {"channel_id": str(shop.channel_id), "type": "text", "text": {"body": "a" * 1531}}
    answer = api.post("/messages", new(demo, fallback={"channels": [long]}))
    assert (answer.status_code, error(answer)["code"]) == (422, "too_many_parts")
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    typed = {"channel_id": str(shop.channel_id), "type": "template", "template": template}
    answer = api.post("/messages", new(demo, fallback={"channels": [typed]}))
    assert list(fields(answer)) == ["fallback.channels.0.type"]
    strange = {"channel_id": str(other.channel_id), **TEXT}
    assert api.post("/messages", new(demo, fallback={"channels": [strange]})).status_code == 404
    assert rows(Message) == []


def test_whatsapp_takes_no_metadata_and_sms_no_template(demo: Demo, shop: Demo, api: Api) -> None:
    assert list(refused(api.post("/messages", new(demo, metadata={"a": 1})))) == ["metadata"]
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    body = {"channel_id": str(shop.channel_id), "to": "+15550001111", "type": "template", "template": template}
    assert list(refused(api.post("/messages", body))) == ["type"]
