"""Sending, with a real worker and the sandbox over HTTP: once, again only where nothing left, and what errors mean."""

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import MessageState
from tests.core.ledger import said
from tests.fixtures import Demo
from tests.harness import Program, eventually, free_ports
from tests.messages.outgoing import AT_MOST, fault, job_until, message, point, post, post_template, send_job, until
from tests.outside import Sandbox, Site
from tests.wire import Wire

pytestmark = pytest.mark.usefixtures("sender")

# --- once --------------------------------------------------------------------------------------------------------


def test_a_text_is_sent_once_and_as_the_cloud_api_wants_it(shop: Demo, sandbox: Sandbox) -> None:
    sent = until(post(shop, "Hé 😀"), MessageState.ACCEPTED)
    (entry,) = sandbox.sends()
    assert entry["body"] == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+15550001111",
        "type": "text",
        "text": {"body": "Hé 😀"},
        "biz_opaque_callback_data": str(sent.id),
    }
    assert entry["path"] == f"/v26.0/{shop.phone_number_id}/messages"
    assert (sent.provider_id, sent.error) == (entry["message_id"], None)
    assert send_job(sent.id).state is JobState.SUCCEEDED


def test_a_template_is_sent_once_with_its_parameters(shop: Demo, sandbox: Sandbox) -> None:
    words = [{"type": "text", "text": "Ann"}, {"type": "text", "text": "A-100"}]
    template = {
        "name": "order_update",
        "language": {"code": "en_US"},
        "components": [{"type": "body", "parameters": words}],
    }
    sent = until(post_template(shop, template), MessageState.ACCEPTED)
    (entry,) = sandbox.sends()
    assert (entry["body"]["type"], entry["body"]["template"]) == ("template", template)
    assert (sent.provider_id, sent.text) == (entry["message_id"], "[order_update]")


def test_a_reply_names_the_message_that_it_answers(shop: Demo, sandbox: Sandbox) -> None:
    until(post(shop, context="wamid.THEIRS="), MessageState.ACCEPTED)
    (entry,) = sandbox.sends()
    assert entry["body"]["context"] == {"message_id": "wamid.THEIRS="}


def test_a_person_without_a_number_is_sent_to_by_user_id(shop: Demo, sandbox: Sandbox) -> None:
    until(post(shop, to="US.13491208655302741918"), MessageState.ACCEPTED)
    (entry,) = sandbox.sends()
    assert entry["body"]["recipient"] == "US.13491208655302741918"
    assert "to" not in entry["body"]


def test_messages_to_one_person_leave_in_order(shop: Demo, sandbox: Sandbox) -> None:
    texts = [f"No. {n}" for n in range(8)]
    for text in texts:
        last = post(shop, text)
    until(last, MessageState.ACCEPTED)
    assert sandbox.texts() == texts


def test_a_second_job_for_a_message_that_was_sent_sends_nothing(shop: Demo, sandbox: Sandbox) -> None:
    sent = until(post(shop), MessageState.ACCEPTED)
    again = db.retrying(enqueue, "messages.send", args={"message_id": sent.id})
    job_until(sent.id, lambda job: job.id == again and job.state is JobState.SUCCEEDED, "the second job over")
    assert len(sandbox.sends()) == 1
    assert message(sent.id).state is MessageState.ACCEPTED


def test_statuses_carry_a_message_on_to_delivered(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults()
    sent = until(post(shop), MessageState.DELIVERED)
    # What came earlier may be written later: each is another job.
    eventually(lambda: (now := message(sent.id)).accepted_at and now.sent_at and now.delivered_at, "all three", AT_MOST)


def test_a_message_that_fails_after_it_was_accepted_says_why(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults(fault(status_code=131026))
    failed = until(post(shop), MessageState.FAILED)
    assert failed.error is not None
    assert failed.error["code"] == 131026
    assert send_job(failed.id).state is JobState.SUCCEEDED


# --- again, where nothing can have left --------------------------------------------------------------------------


def test_a_refused_connection_is_tried_again_and_the_message_sent_once(
    shop: Demo, sandbox: Sandbox, sender: Program, wire: Wire
) -> None:
    wire.cut()
    before = len(sender.said())
    sent = post(shop)
    eventually(lambda: said(sender.said(before), "http.retry"), "a try again", AT_MOST)
    wire.mend()
    until(sent, MessageState.ACCEPTED)
    assert len(sandbox.sends()) == 1


def test_every_try_again_is_logged_with_its_reason_and_the_pauses_are_those_of_the_settings(
    shop: Demo, sender: Program
) -> None:
    point(shop, f"http://127.0.0.1:{free_ports(1)[0]}")
    before = len(sender.said())
    failed = until(post(shop), MessageState.FAILED)
    retries = said(sender.said(before), "http.retry")
    job = send_job(failed.id)
    assert [retry["delay"] for retry in retries] == [0.1, 0.2, 0.4] * job.max_attempts
    assert {(retry["host"], retry["reason"]) for retry in retries} == {("127.0.0.1", "ClientConnectorError")}
    assert {retry["job_id"] for retry in retries} == {str(job.id)}
    assert (job.state, job.attempt) == (JobState.DEAD, 3)
    assert [error["code"] for error in job.errors] == ["whatsapp:-1"] * 3
    assert failed.error == {"code": -1, "title": "no connection: ClientConnectorError", "times": 3}


def test_a_name_that_does_not_resolve_is_a_clear_no(shop: Demo) -> None:
    point(shop, "http://nobody.invalid")
    failed = until(post(shop), MessageState.FAILED)
    assert failed.error is not None
    assert failed.error["code"] == -1


def test_what_is_dead_is_sent_after_a_person_retries_it(shop: Demo, sandbox: Sandbox, wire: Wire) -> None:
    wire.cut()
    failed = until(post(shop), MessageState.FAILED)
    wire.mend()
    with db.transaction() as session:
        repair.retry(session, send_job(failed.id).id, actor="test")
    sent = until(failed.id, MessageState.ACCEPTED)
    assert (sent.error, sent.failed_at, len(sandbox.sends())) == (None, None, 1)


# --- beside it ---------------------------------------------------------------------------------------------------


def test_nothing_personal_is_in_the_log_of_the_worker(shop: Demo, sandbox: Sandbox, sender: Program) -> None:
    before = len(sender.said())
    sandbox.faults(fault(status=400, error_code=131047, times=1), fault(statuses="none"))
    until(post(shop, "a very private text"), MessageState.FAILED)
    until(post(shop, "a very private text"), MessageState.ACCEPTED)
    log = sender.said(before)
    assert "job.dead" in log
    for secret in ("private", "15550001111", shop.access_token):
        assert secret not in log


def test_rows_of_a_message_and_its_job_agree(shop: Demo) -> None:
    sent = until(post(shop), MessageState.ACCEPTED)
    job = send_job(sent.id)
    assert (sent.job_id, sent.claim_no) == (job.id, job.claim_no)
    with db.transaction() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM status_events")) == 1
