"""What happened is told in the transaction in which it happens, to those who want it and to nobody else."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import handover, results
from crm_tasks.providers.provider import Unknown
from crm_tasks.webhooks.models import Delivery, Event, EventType
from crm_tasks.webhooks.service.publishing import News, publish, publish_many
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import accepted, hear, one, ours, rows
from tests.messages.apply import tell as tell_room
from tests.webhooks.hooks import add, jobs, tell

AWAY = "http://127.0.0.1:9/"


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note the statements that SQLAlchemy sends."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(db.engine(), "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(db.engine(), "before_cursor_execute", note)


def told() -> list[tuple[str, dict[str, Any]]]:
    """Return what was published, in order: the type and the data."""
    return [(event.type, orjson.loads(event.body)["data"]) for event in rows(Event)]


def counts() -> tuple[int, int, int]:
    return len(rows(Event)), len(rows(Delivery)), len(jobs())


def test_what_nobody_wants_costs_one_look_a_transaction(demo: Demo) -> None:
    with db.transaction() as session, statements() as seen:
        for _ in range(100):
            assert publish(session, demo.workspace_id, "message.received", {}) is None
    assert len(seen) == 1
    assert "webhook_endpoints" in seen[0]
    assert counts() == (0, 0, 0)


def test_each_taker_has_a_delivery_and_a_job_of_one_event(demo: Demo) -> None:
    first, second = add(demo, AWAY), add(demo, AWAY)
    event_id = tell(demo)
    assert event_id == one(Event).id
    found = rows(Delivery)
    assert {each.endpoint_id for each in found} == {first.id, second.id}
    assert [each.job_id for each in found] == [each.id for each in jobs()]
    for delivery, job in zip(found, jobs(), strict=True):
        assert job.args == {"delivery_id": str(delivery.id)}
        assert job.scopes == [f"endpoint:{delivery.endpoint_id}"]
        assert (job.workspace_id, job.max_attempts) == (demo.workspace_id, 10)


def test_many_news_cost_no_more_statements_than_one(demo: Demo) -> None:
    add(demo, AWAY)
    with db.transaction() as session, statements() as seen:
        ids = publish_many(session, demo.workspace_id, [News("message.received", {"n": n}) for n in range(50)])
    assert len(seen) == 4
    assert [each.id for each in rows(Event)] == ids
    assert counts() == (50, 50, 50)


def test_only_the_types_that_an_endpoint_names_come_to_it(demo: Demo) -> None:
    some, everything = add(demo, AWAY, "message.status", "contact.opted_out"), add(demo, AWAY, "*")
    for type in EventType:
        tell(demo, type)
    wanted = {(row.endpoint_id, one(Event, Event.id == row.event_id).type) for row in rows(Delivery)}
    assert {type for endpoint_id, type in wanted if endpoint_id == some.id} == {"message.status", "contact.opted_out"}
    assert {type for endpoint_id, type in wanted if endpoint_id == everything.id} == set(EventType)


def test_a_workspace_hears_nothing_of_another(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    add(other, AWAY)
    assert tell(demo) is None
    assert tell(other) is not None
    assert [each.workspace_id for each in rows(Delivery)] == [other.workspace_id]


def test_a_type_that_there_is_not_is_refused_with_the_closest(demo: Demo) -> None:
    with pytest.raises(Invalid, match=r"Did you mean 'message\.received'"):
        tell(demo, "message.recieved")


def test_what_is_rolled_back_was_never_told(demo: Demo) -> None:
    add(demo, AWAY)
    with pytest.raises(RuntimeError), db.transaction() as session:
        publish(session, demo.workspace_id, "message.received", {})
        raise RuntimeError
    assert counts() == (0, 0, 0)


def test_an_endpoint_added_in_this_transaction_is_told_what_comes_after(demo: Demo) -> None:
    from crm_tasks.webhooks.service import endpoints

    with db.transaction() as session:
        assert publish(session, demo.workspace_id, "message.received", {}) is None
        endpoints.add(session, demo.workspace_id, endpoints.NewEndpoint(url=AWAY, events=["*"]), actor="a test")
        assert publish(session, demo.workspace_id, "message.received", {}) is not None


def test_a_body_has_type_time_and_data_in_plain_json(demo: Demo) -> None:
    add(demo, AWAY)
    some_id = uuid.uuid4()
    event_id = tell(demo, data={"id": some_id, "text": "a\x00b", "state": MessageState.READ})
    assert event_id is not None
    body = orjson.loads(one(Event).body)
    assert list(body) == ["type", "timestamp", "data"]
    assert body["timestamp"].endswith("Z")
    assert body["data"] == {"id": str(some_id), "text": "a\ufffdb", "state": "read"}


# --- what the messages room tells --------------------------------------------------------------------------------


def test_a_customers_message_is_told_once_however_often_it_comes(demo: Demo) -> None:
    add(demo, AWAY)
    message = payloads.message(text={"body": "x" * 4000})
    (kept,) = hear(demo, message)
    hear(demo, message)
    (received, data), (updated, about) = told()
    assert (received, updated) == ("message.received", "conversation.updated")
    assert data == {
        "message_id": str(kept.id),
        "conversation_id": str(kept.conversation_id),
        "contact_id": str(kept.contact_id),
        "channel_id": str(demo.channel_id),
        "type": "text",
        "state": "received",
        "provider_id": kept.provider_id,
        "occurred_at": data["occurred_at"],
        "text": "x" * 1000,
    }
    assert about == {
        "conversation_id": str(kept.conversation_id),
        "contact_id": str(kept.contact_id),
        "channel_id": str(demo.channel_id),
        "occurred_at": data["occurred_at"],
    }


def test_each_rise_of_a_status_is_told_and_no_other_report(demo: Demo) -> None:
    add(demo, AWAY, "message.status")
    message = accepted(demo, "wamid.1")
    for name in ("delivered", "sent", "delivered", "read"):
        tell_room(demo, payloads.told(demo, statuses=[payloads.status("wamid.1", name)]))
    assert [data["state"] for _, data in told()] == ["accepted", "delivered", "read"]
    assert {data["message_id"] for _, data in told()} == {str(message.id)}
    assert {data["provider_id"] for _, data in told()} == {"wamid.1"}


def test_statuses_that_came_before_the_answer_are_told_after_it(demo: Demo) -> None:
    add(demo, AWAY, "message.status")
    tell_room(demo, payloads.told(demo, statuses=[payloads.status("wamid.1", name) for name in ("sent", "delivered")]))
    assert told() == []
    accepted(demo, "wamid.1")
    assert [data["state"] for _, data in told()] == ["accepted", "sent", "delivered"]


def test_an_unknown_send_is_told(demo: Demo) -> None:
    add(demo, AWAY, "message.status")
    message = ours(demo, MessageState.SENDING)
    with db.transaction() as session:
        results.record(session, message.id, Unknown("the connection broke"))
    ((_, data),) = told()
    assert (data["state"], data["error"]["title"]) == ("unknown", "the connection broke")


def test_a_failed_send_is_told_when_its_job_dies(demo: Demo) -> None:
    add(demo, AWAY, "message.status")
    message = ours(demo, MessageState.SENDING)
    from crm_tasks.core.errors import Permanent

    no = Permanent("131026: not on WhatsApp", code="whatsapp:131026", detail={"code": 131026, "title": "no"})
    with db.transaction() as session:
        results.follow(session, JobState.DEAD, no, str(message.id))
    ((_, data),) = told()
    assert (data["state"], data["error"]) == ("failed", {"code": 131026, "title": "no"})


def test_what_we_say_updates_its_conversation(demo: Demo) -> None:
    add(demo, AWAY, "conversation.updated")
    message = ours(demo, MessageState.QUEUED)
    ((type, data),) = told()
    assert (type, data["conversation_id"]) == ("conversation.updated", str(message.conversation_id))


def test_taking_in_a_hundred_messages_looks_once(demo: Demo) -> None:
    """Ingestion is hot: without endpoints a webhook of any size costs one statement more."""
    from tests.messages.apply import receive_all, store

    ids = store(demo, payloads.told(demo, messages=[payloads.message() for _ in range(100)]))
    with statements() as seen:
        receive_all(ids)
    assert len([each for each in seen if "webhook_" in each]) == 1


def test_a_person_who_takes_over_or_hands_back_updates_the_conversation(demo: Demo) -> None:
    message = ours(demo, MessageState.QUEUED)
    add(demo, AWAY)
    for _ in range(2):  # the second time nothing changes
        with db.transaction() as session:
            handover.take_over(session, demo.workspace_id, message.conversation_id, actor="ann")
    assert [type for type, _ in told()] == ["conversation.updated"]
    for _ in range(2):
        with db.transaction() as session:
            handover.hand_back(session, demo.workspace_id, message.conversation_id)
    assert [type for type, _ in told()] == ["conversation.updated"] * 2
