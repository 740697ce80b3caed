"""Sends whose outcome nobody knows: never repeated blindly, settled by a status, by the policy, or by a person."""

import uuid
from typing import Any

import pytest

from crm_tasks.core import db, holds
from crm_tasks.core.errors import Snooze
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import settle, unknown
from crm_tasks.workspaces.models import UnknownPolicy
from tests.core.ledger import said, update
from tests.fixtures import Demo
from tests.harness import Program, eventually
from tests.messages.apply import rows
from tests.messages.outgoing import (
    AT_MOST,
    fault,
    job_until,
    message,
    point,
    post,
    send_job,
    send_jobs,
    until,
)
from tests.outside import Sandbox, Site

pytestmark = pytest.mark.usefixtures("sender")

# What the sandbox does, whether it kept the message, and how the message says what happened.
NO_ANSWERS = {
    "dropped before it was read": ({"drop": "before"}, False, "ServerDisconnectedError"),
    "accepted, then dropped": ({"drop": "after"}, True, "ServerDisconnectedError"),
    "no answer in time": ({"delay": 30}, False, "Timeout"),
    "a gateway's page": ({"status": 502, "body": "<html>Bad Gateway</html>"}, False, "HTTP 502 that is not the"),
    "a gateway's page after it was accepted": ({"status": 504, "body": "late", "accept": True}, True, "HTTP 504"),
    "a 500 with nothing": ({"status": 500, "body": ""}, False, "HTTP 500 that is not the"),
    "something went wrong": ({"status": 500, "error_code": 131000}, False, "131000: something went wrong"),
    "an error without a code": ({"status": 500, "body": {"error": {"message": "?"}}}, False, "an error without code"),
    "a 200 without an id": ({"status": 200, "body": {"messages": []}}, False, "HTTP 200 without a message id"),
    "a 200 that is no JSON": ({"status": 200, "body": "ok"}, False, "HTTP 200 that is not the"),
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_without_a_clear_answer_a_send_is_unknown_and_not_repeated(shop: Demo, sandbox: Sandbox, what: str) -> None:
    action, _, title = NO_ANSWERS[what]
    sandbox.faults(fault(**action), fault(statuses="none"))
    unknown = until(post(shop), MessageState.UNKNOWN)
    assert unknown.error is not None
    assert unknown.error["code"] == "unknown"
    assert title in unknown.error["title"]
    assert send_job(unknown.id).state is JobState.SUCCEEDED

    # The wait is over, no status came: the policy `hold` leaves it to a person.
    (settling,) = send_jobs(unknown.id, "messages.settle")
    update([settling.id], "run_at = crm_now()")
    job_until(unknown.id, lambda job: job.state is JobState.SUCCEEDED, "looked after", "messages.settle")
    assert message(unknown.id).state is MessageState.UNKNOWN
    assert [job.task for job in rows(Job)] == ["messages.send", "messages.settle"]
    sandbox.faults()  # who sleeps wakes up, and its request is in the log
    eventually(lambda: len(sandbox.sends()) == 1, "one request", AT_MOST)


@pytest.mark.parametrize("what", [what for what, (_, kept, _) in NO_ANSWERS.items() if kept])
def test_a_status_settles_what_was_unknown(shop: Demo, sandbox: Sandbox, web: Site, what: str) -> None:
    sandbox.faults(fault(**NO_ANSWERS[what][0], late=1))
    sent = post(shop)
    settled = until(sent, MessageState.DELIVERED)
    (entry,) = sandbox.sends()
    assert (settled.provider_id, settled.error) == (entry["message_id"], None)


def test_the_wait_before_a_person_is_asked_is_the_setting(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(drop="before"))
    unknown = until(post(shop), MessageState.UNKNOWN)
    (settling,) = send_jobs(unknown.id, "messages.settle")
    assert (settling.run_at - settling.created_at).total_seconds() == pytest.approx(10, abs=0.5)


# --- a worker that dies while it sends ---------------------------------------------------------------------------


def killed_while_it_sends(demo: Demo, sandbox: Sandbox, sender: Program) -> uuid.UUID:
    """Kill a worker whose request has left and is not answered yet; return the message."""
    sent = post(demo)
    until(sent, MessageState.SENDING)
    eventually(lambda: sandbox.control("GET", "faults")["data"][0]["hits"] == 1, "the request has left", AT_MOST)
    sender.kill()
    return sent


def test_a_worker_killed_while_it_sends_leaves_an_unknown_and_no_second_message(
    shop: Demo, sandbox: Sandbox, sender: Program
) -> None:
    """Its `sending` is committed, its request has left, and nobody is there to hear the answer."""
    sandbox.faults(fault(delay=2.5), fault(statuses="none"))
    sent = killed_while_it_sends(shop, sandbox, sender)
    assert message(sent).state is MessageState.SENDING
    sender.start(" ready.")

    unknown = until(sent, MessageState.UNKNOWN)
    assert unknown.error is not None
    assert unknown.error["title"] == "its worker went away while it was being sent"
    job = job_until(sent, lambda job: job.state is JobState.SUCCEEDED, "over")
    assert (job.crashes, job.attempt, job.claim_no) == (1, 0, 2)
    eventually(lambda: len(sandbox.sends()) == 1, "the request of the dead worker", AT_MOST)
    assert len(send_jobs(sent)) == 1


def test_a_worker_killed_after_the_message_was_accepted_is_put_right_by_the_status(
    shop: Demo, sandbox: Sandbox, sender: Program, web: Site
) -> None:
    sandbox.faults(fault(delay=2.5, late=1))
    sent = killed_while_it_sends(shop, sandbox, sender)
    sender.start(" ready.")
    settled = until(sent, MessageState.DELIVERED)
    (entry,) = sandbox.sends()
    assert settled.provider_id == entry["message_id"]


def test_a_killed_workers_message_is_unknown_even_while_its_job_is_held(
    shop: Demo, sandbox: Sandbox, sender: Program
) -> None:
    """Held for days its job comes back to it only then; nobody should read `sending` so long."""
    sandbox.faults(fault(delay=2.5), fault(statuses="none"))
    sent = killed_while_it_sends(shop, sandbox, sender)
    assert forsaken() == 0  # its lease is not over
    with db.transaction() as session:
        hold = holds.place(session, f"channel:{shop.channel_id}", reason="a look", actor="test")
    sender.start(" ready.")
    job_until(sent, lambda job: job.state is JobState.QUEUED, "taken back")
    assert message(sent).state is MessageState.SENDING
    assert [forsaken(), forsaken()] == [1, 0]
    assert message(sent).state is MessageState.UNKNOWN

    with db.transaction() as session:
        holds.release(session, hold.id, actor="test")
    job_until(sent, lambda job: job.state is JobState.SUCCEEDED, "over")
    assert message(sent).state is MessageState.UNKNOWN
    assert len(sandbox.sends()) <= 1


def forsaken() -> int:
    with db.transaction() as session:
        return unknown.forsaken(session)


# --- the policy `resend` -----------------------------------------------------------------------------------------


def decide(message_id: Any) -> str:
    with db.transaction() as session:
        return settle.settle(session, message_id)


def test_it_is_sent_again_only_after_a_later_message_had_its_echo(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    point(shop, sandbox.url, unknown_policy=UnknownPolicy.RESEND)
    sandbox.faults(fault(drop="before", times=1), fault(statuses="none"))
    unknown = until(post(shop), MessageState.UNKNOWN)
    until(post(shop, "silent", to="+15550002222"), MessageState.ACCEPTED)
    with pytest.raises(Snooze, match="no later send on this channel has had its echo yet"):
        decide(unknown.id)
    assert message(unknown.id).state is MessageState.UNKNOWN

    sandbox.faults()
    until(post(shop, "loud", to="+15550003333"), MessageState.DELIVERED)
    assert decide(unknown.id) == "resent"
    until(unknown.id, MessageState.DELIVERED)
    assert decide(unknown.id) == "settled"
    assert sandbox.texts() == ["Hello", "silent", "loud", "Hello"]


def test_of_two_decisions_one_sends(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    point(shop, sandbox.url, unknown_policy=UnknownPolicy.RESEND)
    sandbox.faults(fault(drop="before", times=1))
    unknown = until(post(shop), MessageState.UNKNOWN)
    until(post(shop, "loud", to="+15550003333"), MessageState.DELIVERED)
    assert [decide(unknown.id), decide(unknown.id)] == ["resent", "settled"]
    until(unknown.id, MessageState.DELIVERED)
    assert sandbox.texts().count("Hello") == 2  # the one that nobody kept, and its only repetition


def test_an_unknown_is_logged_and_counted(shop: Demo, sandbox: Sandbox, sender: Program) -> None:
    before = len(sender.said())
    sandbox.faults(fault(drop="before", times=1), fault(statuses="none"))
    unknown = until(post(shop), MessageState.UNKNOWN)
    (line,) = eventually(lambda: said(sender.said(before), "send.unknown"), "the line", AT_MOST)
    assert (line["message_id"], line["reason"]) == (str(unknown.id), "ServerDisconnectedError")
    assert len(rows(Message, Message.state == MessageState.UNKNOWN)) == 1
