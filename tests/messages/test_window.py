"""The 24-hour window: free text outside it is refused with the remedy, or gives way to a template."""

from collections.abc import Callable
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.core.errors import Conflict
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import Category, Conversation, Message, MessageState
from crm_tasks.messages.service import outbox
from crm_tasks.messages.service.conversations import closes_at
from crm_tasks.templates.models import Template
from tests.fixtures import Demo
from tests.messages.apply import hear, one, rows, wrote
from tests.messages.outgoing import ANN, fault, job_until, message, post, send_job, until
from tests.outside import Sandbox
from tests.payloads import NOON, text
from tests.templates.fetched import fetch

pytestmark = pytest.mark.usefixtures("sender")
HELLO = {"name": "hello_world", "language": {"code": "en_US"}}


def say(demo: Demo, body: str = "Hello", template: dict[str, Any] | None = None, **more: Any) -> Message:
    """Accept a text, with a template for a closed window."""
    new = outbox.NewMessage(
        type="text", content={"body": body}, fallback={"template": template} if template else None, **more
    )
    with db.transaction() as session:
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, ANN, new)


def test_free_text_to_somebody_who_never_wrote_is_refused(shop: Demo) -> None:
    with pytest.raises(Conflict) as refused:
        say(shop)
    assert refused.value.code == "window_closed"
    assert "never wrote" in refused.value.message
    assert "fallback_template" in refused.value.hint
    assert rows(Message) == []


def test_the_window_closes_five_minutes_early_and_says_when(shop: Demo, clock: Callable[[str], None]) -> None:
    hear(shop, text("Hi", at=NOON))
    clock(f"to_timestamp({NOON + 86_400 - 301})")
    assert say(shop).state is MessageState.QUEUED
    clock(f"to_timestamp({NOON + 86_400 - 300})")
    with pytest.raises(Conflict) as refused:
        say(shop)
    until_ = closes_at(one(Conversation).last_inbound_at)
    assert until_ is not None
    assert until_.isoformat(timespec="seconds") in refused.value.message


def test_an_older_message_that_comes_late_does_not_close_the_window(shop: Demo, clock: Callable[[str], None]) -> None:
    clock(f"to_timestamp({NOON + 80_000})")
    hear(shop, text("new", at=NOON), text("old", at=NOON - 90_000))
    assert say(shop).state is MessageState.QUEUED


def test_what_is_scheduled_is_judged_by_the_moment_it_is_due(shop: Demo, clock: Callable[[str], None]) -> None:
    hear(shop, text("Hi", at=NOON))
    clock(f"to_timestamp({NOON})")
    closes = closes_at(one(Conversation).last_inbound_at)
    with pytest.raises(Conflict):
        say(shop, scheduled_for=closes)
    assert say(shop, template=HELLO, scheduled_for=closes).scheduled_for == closes


def test_a_template_is_sent_instead_when_the_window_has_closed_by_then(shop: Demo, sandbox: Sandbox) -> None:
    fetch(shop)
    sent = until(say(shop, "Are you there?", HELLO).id, MessageState.ACCEPTED)
    (entry,) = sandbox.sends()
    assert (entry["body"]["type"], entry["body"]["template"]) == ("template", HELLO)
    assert (sent.type, sent.content, sent.category) == ("template", HELLO, Category.UTILITY)
    assert (sent.text or "").startswith("Hello World\n")
    assert sent.fallback is None


def test_free_text_is_sent_while_the_window_is_open_and_the_template_is_not(shop: Demo, sandbox: Sandbox) -> None:
    fetch(shop)
    with db.transaction() as session:
        wrote(session, shop, ANN)
    until(say(shop, "Here you are", HELLO).id, MessageState.ACCEPTED)
    assert sandbox.texts() == ["Here you are"]


def test_a_template_to_fall_back_on_is_checked_when_the_message_is_accepted(shop: Demo) -> None:
    fetch(shop)
    with pytest.raises(Exception) as refused:
        say(shop, template={"name": "nothing", "language": {"code": "en_US"}})
    assert getattr(refused.value, "code", "") == "template_unknown"
    assert [each.field for each in getattr(refused.value, "fields", ())] == ["fallback_template.name"]


def test_a_window_that_closes_while_a_message_waits_is_seen_before_it_leaves(
    shop: Demo, sandbox: Sandbox, clock: Callable[[str], None]
) -> None:
    sandbox.faults(fault(status=429, body="slow down", headers={"Retry-After": "600"}, times=1))
    sent = post(shop)
    job_until(sent, lambda job: job.attempt == 1, "the first attempt failed")
    clock("now() + interval '25 hours'")
    ended = until(sent, MessageState.SUPPRESSED)
    assert ended.error is not None
    assert (ended.error["code"], "template" in ended.error["remedy"]) == ("window_closed", True)
    assert len(sandbox.sends()) == 1
    assert send_job(sent).state is JobState.SUCCEEDED


def test_the_providers_own_no_takes_the_template_too(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=400, error_code=131047, times=1), fault(statuses="none"))
    with db.transaction() as session:
        wrote(session, shop, ANN)
    sent = until(say(shop, "Hello", HELLO).id, MessageState.ACCEPTED)
    assert [entry["body"]["type"] for entry in sandbox.sends()] == ["text", "template"]
    assert (sent.type, sent.error) == ("template", None)


def test_a_template_that_is_paused_while_a_message_waits_is_put_off_and_sent_later(
    shop: Demo, sandbox: Sandbox, clock: Callable[[str], None]
) -> None:
    fetch(shop)
    sandbox.faults(fault(status=429, body="slow down", headers={"Retry-After": "60"}, times=1), fault(statuses="none"))
    new = outbox.NewMessage(type="template", content=HELLO)
    with db.transaction() as session:
        sent = outbox.send_to(session, shop.workspace_id, shop.channel_id, ANN, new).id
    job_until(sent, lambda job: job.attempt == 1, "the first attempt failed")
    found = one(Template, Template.name == "hello_world")
    with db.transaction() as session:
        session.get_one(Template, found.id).status = "PAUSED"
    clock("now() + interval '10 minutes'")
    job = job_until(sent, lambda job: job.claim_no == 2 and job.state is JobState.QUEUED, "put off")
    assert [gate["rule"] for gate in message(sent).gates or ()] == ["template_paused"]
    assert 0 <= (job.run_at - found.status_at).total_seconds() - 3 * 3600 <= 1
    with db.transaction() as session:
        session.get_one(Template, found.id).status = "APPROVED"
    clock("now() + interval '4 hours'")
    until(sent, MessageState.ACCEPTED)


def test_a_template_that_is_disabled_meanwhile_is_not_sent(
    shop: Demo, sandbox: Sandbox, clock: Callable[[str], None]
) -> None:
    fetch(shop)
    sandbox.faults(fault(status=429, body="slow down", headers={"Retry-After": "60"}, times=1), fault(statuses="none"))
    new = outbox.NewMessage(type="template", content=HELLO)
    with db.transaction() as session:
        sent = outbox.send_to(session, shop.workspace_id, shop.channel_id, ANN, new).id
    job_until(sent, lambda job: job.attempt == 1, "the first attempt failed")
    found = one(Template, Template.name == "hello_world")
    with db.transaction() as session:
        session.get_one(Template, found.id).status = "DISABLED"
    clock("now() + interval '10 minutes'")
    ended = until(sent, MessageState.SUPPRESSED)
    assert ended.error is not None
    assert ended.error["code"] == "template_disabled"
    assert len(sandbox.sends()) == 1
