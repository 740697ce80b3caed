"""How soon a message may leave: by the channel's pace, and not while its provider fails; both say so when asked."""

import uuid

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import explain
from crm_tasks.workspaces import policies
from crm_tasks.workspaces.models import Channel
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.outgoing import AT_MOST, fault, job_until, message, post_template, until
from tests.outside import Sandbox

pytestmark = pytest.mark.usefixtures("sender")

HELLO = {"name": "hello_world", "language": {"code": "en_US"}}


def say(demo: Demo, number: int) -> uuid.UUID:
    return post_template(demo, HELLO, to=f"+1555000{number}")


def first_gate(demo: Demo, message_id: uuid.UUID) -> explain.Explanation:
    with db.transaction() as session:
        return explain.message(session, message_id, workspace_id=demo.workspace_id)


def test_a_message_over_the_channels_pace_is_told_when_to_come_back_and_uses_no_attempt(
    shop: Demo, sandbox: Sandbox
) -> None:
    with db.transaction() as session:
        session.execute(sa.update(Channel).values(settings={"per_second": 0.2}))
    sent = [say(shop, number) for number in (1111, 1112, 1113)]
    waiting = [
        each
        for each in sent
        if job_until(each, lambda job: job.state is not JobState.RUNNING and (job.reason or job.finished_at), "told")
        and message(each).state is MessageState.QUEUED
    ]
    assert waiting
    told = first_gate(shop, waiting[-1])
    assert told.reasons[0].gate == "pace"
    assert f"channel:{shop.channel_id}" in told.reasons[0].text
    assert told.reasons[0].until is not None
    for each in sent:
        until(each, MessageState.ACCEPTED)
    assert len(sandbox.sends()) == 3
    assert all(job_until(each, lambda job: job.finished_at, "over").attempt == 0 for each in sent)


def test_the_workspaces_own_rate_is_obeyed_and_says_who_set_it(shop: Demo, sandbox: Sandbox) -> None:
    with db.transaction() as session:
        policies.put(session, shop.workspace_id, "rate", {"rate": "12/m"}, actor="ann@example.test")
    sent = [say(shop, number) for number in (2111, 2112, 2113)]
    told = eventually(
        lambda: next(
            (t for each in sent if (t := first_gate(shop, each)).reasons and t.reasons[0].gate == "pace"), None
        ),
        "one waits",
        AT_MOST,
    )
    assert f"workspace:{shop.workspace_id}" in told.reasons[0].text


def test_a_provider_that_keeps_failing_is_left_alone_and_then_tried_by_one(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(drop="before"))
    for number in range(3111, 3121):
        until(say(shop, number), MessageState.UNKNOWN)
    waits = say(shop, 4111)
    found = eventually(lambda: m if (m := message(waits)).gates else None, "put off", AT_MOST)
    assert found.state is MessageState.QUEUED
    told = first_gate(shop, waits)
    assert (told.reasons[0].gate, told.reasons[0].set_by) == ("breaker", "system")
    job = job_until(waits, lambda job: job.state is JobState.QUEUED, "queued")
    assert job.attempt == 0
    sandbox.faults(fault(statuses="none"))
    until(waits, MessageState.ACCEPTED)
    assert len(sandbox.sends()) == 11
