"""`POST /api/v1/messages` and its message: accepted once, refused with a remedy, kept apart by tenant."""

from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.contacts.models import Identity
from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.workspaces import service as workspaces
from tests.core.ledger import in_threads
from tests.fixtures import Demo
from tests.messages.apply import one, rows, wrote
from tests.webapp.api import Api, error, fields, key_of

TEXT = {"to": "+15550001111", "type": "text", "text": {"body": "Hello"}}


def body(demo: Demo, **more: Any) -> dict[str, Any]:
    """Return a text to somebody who has just written, if it is to somebody."""
    with suppress(Invalid, AttributeError), db.transaction() as session:
        wrote(session, demo, more.get("to", TEXT["to"]))
    return {"channel_id": str(demo.channel_id), **TEXT, **more}


def accepted(answer: TestResponse) -> dict[str, Any]:
    assert answer.status_code == 202, answer.get_data(as_text=True)
    return answer.get_json()


def test_a_message_is_accepted_with_its_job(demo: Demo, api: Api) -> None:
    shown = accepted(api.post("/messages", body(demo)))
    message, job = one(Message), one(Job)
    assert (shown["id"], shown["job_id"]) == (str(message.id), str(job.id))
    assert (shown["state"], shown["type"], shown["text"]) == ("queued", "text", "Hello")
    assert (shown["direction"], shown["author"], shown["content"]) == ("out", "api", {"body": "Hello"})
    assert (job.task, job.args, job.workspace_id) == (
        "messages.send",
        {"message_id": str(message.id)},
        demo.workspace_id,
    )
    assert job.state is JobState.QUEUED


def test_a_template_is_accepted(demo: Demo, api: Api) -> None:
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "template", "template": template}
    assert accepted(api.post("/messages", new))["content"] == template


def test_the_request_can_be_followed_through_every_job(demo: Demo, api: Api) -> None:
    answer = api.post("/messages", body(demo))
    assert answer.headers["X-Request-Id"] == accepted(answer)["trace_id"] == str(one(Job).trace_id)


def test_a_message_can_be_looked_at(demo: Demo, api: Api) -> None:
    sent = accepted(api.post("/messages", body(demo, context={"message_id": "wamid.A"})))
    shown = api.get(f"/messages/{sent['id']}")
    assert shown.status_code == 200
    assert shown.get_json() == sent
    assert sent["context_provider_id"] == "wamid.A"


@pytest.mark.parametrize("to", ["+1 (555) 000-1111", "5550001111", "+1.555.000.1111", "tel:+1-555-000-1111"])
def test_a_number_in_any_sane_writing_is_one_person(demo: Demo, api: Api, to: str) -> None:
    first = accepted(api.post("/messages", body(demo)))
    again = accepted(api.post("/messages", body(demo, to=to)))
    assert again["contact_id"] == first["contact_id"]
    assert again["conversation_id"] == first["conversation_id"]


@pytest.mark.parametrize("to", ["US.13491208655302741918", "DE.ENT.9", " US.1 "])
def test_a_person_can_be_named_by_user_id(demo: Demo, api: Api, to: str) -> None:
    accepted(api.post("/messages", body(demo, to=to)))
    assert one(Identity).value == to.strip()


# --- idempotency -------------------------------------------------------------------------------------------------


def keyed(api: Api, new: dict[str, Any], key: str = "order-7") -> TestResponse:
    return api.post("/messages", new, headers={"Idempotency-Key": key})


def test_the_same_key_and_body_get_the_same_answer_and_one_message(demo: Demo, api: Api) -> None:
    first, again = keyed(api, body(demo)), keyed(api, body(demo))
    assert accepted(again) == accepted(first)
    assert (len(rows(Message)), len(rows(Job))) == (1, 1)


def test_the_same_key_with_another_body_is_refused(demo: Demo, api: Api) -> None:
    accepted(keyed(api, body(demo)))
    refused = keyed(api, body(demo, text={"body": "Something else"}))
    assert (refused.status_code, error(refused)["code"]) == (409, "idempotency_conflict")
    assert error(refused)["hint"]
    assert len(rows(Message)) == 1


def test_a_key_belongs_to_its_workspace(demo: Demo, other: Demo, api: Api, stranger: Api) -> None:
    accepted(keyed(api, body(demo)))
    accepted(keyed(stranger, body(other)))
    assert {each.workspace_id for each in rows(Message)} == {demo.workspace_id, other.workspace_id}


def test_double_posts_at_the_same_moment_make_one_message(app: Any, demo: Demo, api: Api) -> None:
    answers = in_threads(*[lambda: keyed(Api(app.test_client(), api.key), body(demo)) for _ in range(6)])
    assert len({accepted(answer)["id"] for answer in answers}) == 1
    assert (len(rows(Message)), len(rows(Job))) == (1, 1)


def test_a_refused_request_does_not_use_its_key(demo: Demo, api: Api) -> None:
    assert keyed(api, body(demo, to="nobody")).status_code == 422
    accepted(keyed(api, body(demo)))


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_that_cannot_be_one_is_refused(demo: Demo, api: Api, key: str) -> None:
    refused = keyed(api, body(demo), key)
    assert (refused.status_code, error(refused)["code"]) == (422, "bad_idempotency_key")


# --- what is wrong, and what to do -------------------------------------------------------------------------------


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"channel_id": None}, "channel_id", ""),
    ({"channel_id": "x"}, "channel_id", "This is not a channel's id."),
    ({"to": ""}, "to", "Give a phone number such as +14155550123, or a user id."),
    ({"to": "x" * 201}, "to", "Give a phone number such as +14155550123, or a user id."),
    ({"to": 15550001111}, "to", "Not a valid string."),
    ({"to": "hello"}, "to", "Write it with its country, such as +14155550123."),
    ({"to": "+1555"}, "to", "Write it with its country, such as +14155550123."),
    ({"to": "US."}, "to", "Write it with its country, such as +14155550123."),
    ({"to": "US.no such person"}, "to", "Write it with its country, such as +14155550123."),
    ({"to": " "}, "to", "Give a phone number or a user id."),
    ({"type": "hologram"}, "type", "Use one of: text, image, video,"),
    ({"text": {}}, "text.body", "Write what to say."),
    ({"text": {"body": None}}, "text.body", "Write what to say."),
    ({"text": {"body": ""}}, "text.body", "Write 1 to 4096 characters."),
    ({"text": {"body": "x" * 4097}}, "text.body", "Write 1 to 4096 characters."),
    ({"text": {"body": "x", "font": "Comic"}}, "text.font", "Unknown field."),
    ({"text": "Hello"}, "text", "Invalid input type."),
    ({"colour": "red"}, "colour", "Unknown field."),
    ({"template": {"name": "a", "language": {"code": "en"}}}, "template", "Leave this out of a message of type text."),
    ({"context": {}}, "context.message_id", "Missing data for required field."),
]


@pytest.mark.parametrize(("change", "field", "remedy"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_field_is_named_with_what_to_do(
    demo: Demo, api: Api, change: dict[str, Any], field: str, remedy: str
) -> None:
    refused = api.post("/messages", body(demo, **change))
    assert refused.status_code == 422
    assert field in fields(refused)
    assert remedy in fields(refused)[field]
    assert rows(Message) == []


@pytest.mark.parametrize("name", ["channel_id", "to", "type", "text"])
def test_a_missing_field_is_named_with_what_to_do(demo: Demo, api: Api, name: str) -> None:
    new = body(demo)
    del new[name]
    refused = api.post("/messages", new)
    assert refused.status_code == 422
    assert len(fields(refused)[name]) > 10


TEMPLATES = [
    ({"name": "Hello World", "language": {"code": "en"}}, "template.name"),
    ({"name": "x" * 513, "language": {"code": "en"}}, "template.name"),
    ({"name": "x", "language": {"code": "english"}}, "template.language.code"),
    ({"name": "x", "language": {}}, "template.language.code"),
    ({"name": "x"}, "template.language"),
    ({"name": "x", "language": {"code": "en"}, "components": "none"}, "template.components"),
    ({"name": "x", "language": {"code": "en"}, "components": [1]}, "template.components.0"),
]


@pytest.mark.parametrize(("template", "field"), TEMPLATES, ids=lambda value: str(value)[:40])
def test_a_wrong_template_is_named_by_the_way_to_it(demo: Demo, api: Api, template: Any, field: str) -> None:
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "template", "template": template}
    refused = api.post("/messages", new)
    assert refused.status_code == 422
    assert list(fields(refused)) == [field]


# --- keys --------------------------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_shown(client: FlaskClient, demo: Demo) -> None:
    for given in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}):
        answer = client.get("/api/v1/conversations", headers=given)
        assert (answer.status_code, error(answer)["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("key", ["crm_wrong", "x" * 5000, "crm_\xe9", "crm_ x", "'; DROP TABLE api_keys; --"])
def test_a_wrong_key_is_refused(client: FlaskClient, demo: Demo, key: str) -> None:
    answer = Api(client, key).get("/conversations")
    assert (answer.status_code, error(answer)["code"]) == (401, "bad_api_key")


def test_a_revoked_key_ends_at_once(client: FlaskClient, demo: Demo) -> None:
    api = Api(client, key_of(demo))
    assert api.get("/conversations").status_code == 200
    with db.transaction() as session:
        newest = workspaces.keys(session, demo.workspace_id)[-1]
        workspaces.revoke_key(session, demo.workspace_id, newest.id)
    assert api.get("/conversations").status_code == 401
    assert Api(client, demo.api_key).get("/conversations").status_code == 200


def test_what_belongs_to_another_workspace_does_not_exist(demo: Demo, other: Demo, api: Api, stranger: Api) -> None:
    theirs = accepted(stranger.post("/messages", body(other)))
    for path, code in (
        (f"/messages/{theirs['id']}", "message_not_found"),
        (f"/conversations/{theirs['conversation_id']}", "conversation_not_found"),
        (f"/conversations/{theirs['conversation_id']}/messages", "conversation_not_found"),
        ("/messages/0b0f3a52-0000-4000-8000-000000000000", "message_not_found"),
    ):
        answer = api.get(path)
        assert (answer.status_code, error(answer)["code"]) == (404, code)
    refused = api.post("/messages", body(other))
    assert (refused.status_code, error(refused)["code"]) == (404, "channel_not_found")
    assert api.get("/conversations").get_json()["data"] == []


def test_an_operators_key_reads_no_other_workspaces_messages(other: Demo, operator: Api, stranger: Api) -> None:
    theirs = accepted(stranger.post("/messages", body(other)))
    assert operator.get(f"/messages/{theirs['id']}").status_code == 404
    assert operator.get("/conversations").get_json()["data"] == []


def test_moments_are_iso_8601_with_a_zone(demo: Demo, api: Api) -> None:
    shown = accepted(api.post("/messages", body(demo)))
    assert datetime.fromisoformat(shown["created_at"]).tzinfo is not None
    assert MessageState(shown["state"]) is MessageState.QUEUED


# --- the 24-hour window ------------------------------------------------------------------------------------------


def test_free_text_outside_the_window_is_refused_with_the_remedy(demo: Demo, api: Api) -> None:
    refused = api.post("/messages", {"channel_id": str(demo.channel_id), **TEXT})
    assert (refused.status_code, error(refused)["code"]) == (409, "window_closed")
    assert "fallback_template" in error(refused)["hint"]
    assert rows(Message) == []


def test_a_template_to_fall_back_on_is_accepted_beside_the_text(demo: Demo, api: Api) -> None:
    instead = {"name": "hello_world", "language": {"code": "en_US"}}
    new = {"channel_id": str(demo.channel_id), **TEXT, "fallback_template": instead}
    shown = accepted(api.post("/messages", new))
    assert (shown["type"], shown["category"], one(Message).fallback) == ("text", "service", {"template": instead})
    new = {key: value for key, value in new.items() if key != "text"} | {"type": "template", "template": instead}
    assert list(fields(api.post("/messages", new))) == ["fallback_template"]
