"""`/api/v1/messages/unknown` and `…/settle`: a person decides about what may have been sent."""

import uuid

import pytest

from crm_tasks.core import db
from crm_tasks.messages.models import Message, MessageState
from tests.core.ledger import rung
from tests.fixtures import Demo
from tests.messages.outgoing import message, post
from tests.webapp.api import Api, error, fields


@pytest.fixture
def unknown(demo: Demo) -> list[uuid.UUID]:
    """Three messages of which nobody knows."""
    ids = [post(demo, f"number {number}") for number in range(3)]
    with db.transaction() as session:
        for message_id in ids:
            session.get_one(Message, message_id).state = MessageState.UNKNOWN
    rung()
    return ids


def test_they_are_listed_the_newest_first_and_paged(api: Api, unknown: list[uuid.UUID]) -> None:
    first = api.get("/messages/unknown", query_string={"limit": 2}).get_json()
    second = api.get("/messages/unknown", query_string={"limit": 2, "cursor": first["next"]}).get_json()
    assert [each["id"] for each in first["data"] + second["data"]] == [str(each) for each in reversed(unknown)]
    assert second["next"] is None


def test_one_is_sent_again_by_a_new_job(api: Api, unknown: list[uuid.UUID]) -> None:
    before = message(unknown[0]).job_id
    answer = api.post(f"/messages/{unknown[0]}/settle", {"decision": "resend"})
    assert (answer.status_code, answer.get_json()["state"]) == (200, "queued")
    assert message(unknown[0]).job_id != before
    assert str(message(unknown[0]).job_id) in rung()


def test_one_is_taken_for_failed(api: Api, unknown: list[uuid.UUID]) -> None:
    answer = api.post(f"/messages/{unknown[0]}/settle", {"decision": "failed"})
    assert (answer.status_code, answer.get_json()["state"]) == (200, "failed")
    assert answer.get_json()["failed_at"]


def test_what_was_decided_is_decided(api: Api, unknown: list[uuid.UUID]) -> None:
    api.post(f"/messages/{unknown[0]}/settle", {"decision": "resend"})
    answer = api.post(f"/messages/{unknown[0]}/settle", {"decision": "resend"})
    assert (answer.status_code, error(answer)["code"]) == (409, "not_unknown")


def test_a_decision_is_one_of_two(api: Api, unknown: list[uuid.UUID]) -> None:
    assert "decision" in fields(api.post(f"/messages/{unknown[0]}/settle", {"decision": "perhaps"}))


def test_there_is_no_such_message(api: Api, demo: Demo) -> None:
    assert api.post(f"/messages/{uuid.uuid4()}/settle", {"decision": "resend"}).status_code == 404
