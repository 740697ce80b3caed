"""What the provider took and reported as failed later: said once more where that may help, and never twice."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import Category, Message, MessageState
from crm_tasks.messages.service import outbox, results
from crm_tasks.providers.provider import Accepted
from tests import payloads
from tests.fixtures import Demo
from tests.messages.apply import accepted, one, rows, tell, wrote
from tests.messages.outgoing import ANN, fault, message, point, send_job, until
from tests.outside import Sandbox, Site
from tests.payloads import NOON, status

HELLO = {"name": "hello_world", "language": {"code": "en_US"}}
SALE = {"name": "spring_sale", "language": {"code": "en_US"}}
WAMID = "wamid.OURS"


def failed(code: int, *, at: int = NOON, provider_id: str = WAMID, **more: Any) -> payloads.Json:
    return status(provider_id, "failed", at=at, errors=[{"code": code, "title": "x"}], **more)


def report(demo: Demo, *statuses: payloads.Json) -> None:
    for each in statuses:
        (event,) = tell(demo, payloads.told(demo, statuses=[each]))
        assert event.problem is None


def say(demo: Demo, type: str, content: dict[str, Any], **more: Any) -> Message:
    """Accept a message to somebody who has just written."""
    with db.transaction() as session:
        wrote(session, demo, ANN)
    with db.transaction() as session:
        new = outbox.NewMessage(type=type, content=content, **more)
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, ANN, new)


def taken(demo: Demo, type: str, content: dict[str, Any], provider_id: str = WAMID, **more: Any) -> Message:
    """Return a message that the provider has accepted."""
    made = say(demo, type, content, **more)
    take(made, provider_id)
    return made


def take(made: Message, provider_id: str) -> None:
    with db.transaction() as session:
        session.get_one(Message, made.id).state = MessageState.SENDING
        session.flush()
        results.record(session, made.id, Accepted(provider_id))


def again() -> list[Message]:
    return rows(Message, Message.fallback_of.is_not(None))


# --- the window was closed ---------------------------------------------------------------------------------------


def test_a_window_that_the_provider_finds_closed_later_takes_the_template(demo: Demo) -> None:
    first = taken(demo, "text", {"body": "Hello"}, fallback={"template": HELLO}, author="ai")
    report(demo, failed(131047))
    (instead,) = again()
    assert (instead.type, instead.content, instead.fallback_of) == ("template", HELLO, first.id)
    assert (instead.state, instead.author, instead.conversation_id) == (
        MessageState.QUEUED,
        "ai",
        first.conversation_id,
    )
    assert (instead.trace_id, instead.scheduled_for) == (first.trace_id or first.id, None)
    assert send_job(instead.id).state is JobState.QUEUED
    assert message(first.id).state is MessageState.FAILED


def test_it_is_sent_once_however_often_and_in_whatever_form_the_failure_is_told(demo: Demo) -> None:
    taken(demo, "text", {"body": "Hello"}, fallback={"template": HELLO})
    report(demo, failed(131047), failed(131047), failed(131047, to="US.123"), failed(131047, at=NOON + 5, to=None))
    assert len(again()) == 1


def test_without_a_template_named_nothing_is_sent_instead(demo: Demo) -> None:
    accepted(demo, WAMID)
    taken(demo, "template", HELLO, "wamid.TEMPLATE", fallback={"template": SALE})
    report(demo, failed(131047))
    assert again() == []


@pytest.mark.parametrize("reached", ["delivered", "read"])
def test_what_has_arrived_is_not_said_again_whatever_is_reported_after(demo: Demo, reached: str) -> None:
    taken(demo, "text", {"body": "Hello"}, fallback={"template": HELLO})
    report(demo, status(WAMID, reached), failed(131047, at=NOON + 5))
    assert (again(), one(Message, Message.provider_id == WAMID).state) == ([], reached)


def test_a_failure_told_before_we_knew_the_message_has_the_same_effect(demo: Demo) -> None:
    made = say(demo, "text", {"body": "Hello"}, fallback={"template": HELLO})
    report(demo, failed(131047))
    assert again() == []
    take(made, WAMID)
    assert [each.content for each in again()] == [HELLO]


def test_the_template_arrives_and_the_first_stays_failed(
    demo: Demo, sandbox: Sandbox, web: Site, sender: object
) -> None:
    point(demo, sandbox.url)
    sandbox.faults(fault(status_code=131047, times=1))
    first = say(demo, "text", {"body": "Hello"}, fallback={"template": HELLO})
    until(first.id, MessageState.FAILED)
    until(again()[0].id, MessageState.DELIVERED)
    assert [entry["body"]["type"] for entry in sandbox.sends()] == ["text", "template"]


# --- too much marketing ------------------------------------------------------------------------------------------


def test_marketing_that_was_held_back_goes_a_day_later(demo: Demo) -> None:
    ways = {"channels": []}
    first = taken(demo, "template", SALE, category=Category.MARKETING, fallback=ways)
    report(demo, failed(131049), failed(131049, to="US.123"))
    (later,) = again()
    assert (later.type, later.content, later.category, later.fallback) == ("template", SALE, "marketing", ways)
    with db.transaction() as session:
        moment = session.scalar(sa.select(db.now()))
    assert moment is not None
    assert timedelta(hours=23, minutes=59) < send_job(later.id).run_at - moment <= timedelta(hours=24)
    assert later.scheduled_for == send_job(later.id).run_at
    assert message(first.id).state is MessageState.FAILED


def test_the_second_try_is_the_last(demo: Demo) -> None:
    taken(demo, "template", SALE, category=Category.MARKETING)
    report(demo, failed(131049))
    (later,) = again()
    take(later, "wamid.LATER")
    report(demo, failed(131049, provider_id="wamid.LATER"))
    assert (len(again()), message(later.id).state) == (1, MessageState.FAILED)


def test_who_has_said_stop_by_then_gets_none(demo: Demo, clock: Callable[[str], None], sender: object) -> None:
    taken(demo, "template", SALE, category=Category.MARKETING)
    report(demo, failed(131049))
    (later,) = again()
    taken(demo, "template", SALE, "wamid.OTHER", category=Category.MARKETING)
    report(demo, failed(131050, provider_id="wamid.OTHER"))
    clock("now() + interval '25 hours'")
    assert (until(later.id, MessageState.SUPPRESSED).error or {})["code"] == "suppressed"


@pytest.mark.parametrize("code", [131000, 131026, 131056, 130429, 132015, 131050])
def test_nothing_else_is_said_again(demo: Demo, code: int) -> None:
    taken(demo, "template", SALE, fallback={"template": HELLO})
    report(demo, failed(code))
    assert again() == []
