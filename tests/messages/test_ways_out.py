"""Where a message goes: to a person's newest number, and, if that cannot be, to the next way that is possible."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.contacts.models import Identity, IdentityKind
from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import explain, failures, fallback, outbox
from crm_tasks.messages.service.look import look
from crm_tasks.providers.provider import Action, Refusal
from crm_tasks.workspaces import policies
from crm_tasks.workspaces import service as workspaces
from tests.fixtures import Demo, make_demo
from tests.messages.outgoing import ANN, message

HELLO = {"name": "hello_world", "language": {"code": "en_US"}}


def sms_of(demo: Demo) -> uuid.UUID:
    values = {"token": "t", "callback_secret": "s"}
    new = workspaces.NewChannel(kind="sms", name="SMS", values=values, base_url="http://127.0.0.1:9")
    with db.transaction() as session:
        return workspaces.add_channel(session, demo.workspace_id, new).id


def post(demo: Demo, ways: list[dict[str, Any]]) -> uuid.UUID:
    new = outbox.NewMessage(type="template", content=HELLO, fallback={"channels": ways} if ways else None)
    with db.transaction() as session:
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, ANN, new).id


def instead_of(message_id: uuid.UUID) -> list[Message]:
    with db.transaction() as session:
        return list(session.scalars(sa.select(Message).where(Message.fallback_of == message_id)))


def refuse(message_id: uuid.UUID, no: Refusal) -> None:
    with db.transaction() as session:
        found = session.get_one(Message, message_id)
        found.state = MessageState.FAILED
        failures.follow(session, found, no, at=datetime.now(UTC))


def test_a_person_with_a_new_number_is_written_to_at_the_new_one(demo: Demo) -> None:
    sent = post(demo, [])
    with db.transaction() as session:
        contact_id, older = message(sent).contact_id, datetime.now(UTC) - timedelta(days=9)
        session.execute(sa.update(Identity).values(created_at=older))
        new = Identity(
            workspace_id=demo.workspace_id, contact_id=contact_id, kind=IdentityKind.PHONE, value="+15550009999"
        )
        session.add(new)
    with db.transaction() as session:
        seen = look(session, sent)
        assert seen is not None
        address = seen.address()
    assert address is not None and address.value == "+15550009999"


def test_a_way_that_is_not_possible_is_passed_over_and_stops_nothing(demo: Demo) -> None:
    sms = str(sms_of(demo))
    sent = post(demo, [])
    lost = {"channel_id": str(demo.channel_id), "type": "image", "content": {"id": str(uuid.uuid4())}}
    text = {"channel_id": sms, "type": "text", "content": {"body": "Hello by SMS"}}
    with db.transaction() as session:
        session.get_one(Message, sent).fallback = {"channels": [lost, text]}
    refuse(sent, Refusal(Action.PERSON, 131026, "undeliverable"))
    (instead,) = instead_of(sent)
    assert (str(instead.channel_id), instead.type, instead.parts) == (sms, "text", 1)


def test_who_has_refused_is_not_written_to_another_way(demo: Demo) -> None:
    text = {"channel_id": str(sms_of(demo)), "type": "text", "content": {"body": "Hello by SMS"}}
    for no in (
        Refusal(Action.PERSON, 131050, "stopped marketing"),
        Refusal(Action.PERSON, 21610, "unsubscribed", verdict="unsubscribed"),
    ):
        sent = post(demo, [text])
        refuse(sent, no)
        assert instead_of(sent) == []


def test_a_way_with_a_file_that_is_not_here_is_refused_at_once(demo: Demo) -> None:
    way = {"channel_id": str(demo.channel_id), "type": "image", "content": {"id": str(uuid.uuid4())}}
    with db.transaction() as session, pytest.raises(Invalid, match="no file"):
        fallback.check(session, demo.workspace_id, [way])


@pytest.mark.parametrize(
    "hours", [{"from": "21:00Z", "to": "08:00"}, {"from": "21:00", "to": "21:00:00"}, {"from": "9pm", "to": "08:00"}]
)
def test_quiet_hours_are_two_times_of_day(demo: Demo, hours: dict[str, str]) -> None:
    with db.transaction() as session, pytest.raises(Invalid):
        policies.put(session, demo.workspace_id, "quiet_hours", hours, actor="bob")


def test_the_story_of_one_request_shows_each_workspace_its_own(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    mine, theirs = post(demo, []), post(other, [])
    trace = uuid.uuid4()
    with db.transaction() as session:
        session.execute(sa.update(Message).values(trace_id=trace))
    with db.transaction() as session:
        told = explain.message(session, mine, workspace_id=demo.workspace_id)
    assert {step.message_id for step in told.story if step.message_id} == {mine}
    assert theirs not in {step.message_id for step in told.story}
