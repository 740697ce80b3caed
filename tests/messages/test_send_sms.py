"""SMS on their way out, by a worker: sent once, with what the gateway is to know; and what it says is believed."""

from collections.abc import Iterator
from typing import Any

import pytest

from crm_tasks.contacts.models import Suppression
from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import Message, MessageState
from tests.fixtures import Demo, make_demo
from tests.gateways import ACCOUNT, CUT, SECRET, TOKEN, Gateway, add_channel, gateway, signed
from tests.harness import Program, eventually
from tests.messages.apply import one, rows, wrote
from tests.messages.outgoing import ANN, AT_MOST, job_until, post, send_job, until
from tests.outside import Sandbox, Site

pytestmark = pytest.mark.usefixtures("sender")


@pytest.fixture
def there(empty: None) -> Iterator[Gateway]:
    """The gateway."""
    with gateway() as made:
        yield made


@pytest.fixture
def demo(empty: None, sandbox: Sandbox) -> Demo:
    """A business whose number is the sandbox's, which sends no statuses."""
    sandbox.quiet()
    return make_demo(base_url=sandbox.url)


@pytest.fixture
def shop(demo: Demo, there: Gateway) -> Demo:
    """A business with an SMS gateway."""
    return add_channel(demo, url=there.url)


def test_a_text_is_sent_once_with_its_ids_and_its_parts(shop: Demo, there: Gateway) -> None:
    sent = until(post(shop, "€" * 81), MessageState.ACCEPTED)
    (request,) = there.requests
    body = request["body"]
    assert (body["to"], body["message"]) == (ANN, "€" * 81)
    assert (body["contactId"], body["workspaceId"]) == (str(sent.contact_id), str(sent.workspace_id))
    assert body["idempotencyKey"] == request["headers"]["Idempotency-Key"] == str(sent.id)
    assert (sent.provider_id, sent.parts, sent.error) == ("G1", 2, None)


def test_an_earlier_systems_call_reaches_the_gateway_as_it_did(shop: Demo, there: Gateway, web: Site) -> None:
    given = {"to": "(555) 000-1111", "message": "Hi", "contactId": "c_1", "workspaceId": 7, "metadata": {"k": "v"}}
    headers = {"Authorization": f"Bearer {shop.api_key}"}
    said = web.http.post(f"{web.url}/api/schedule-sms", json=given, headers=headers, timeout=10)
    assert said.status_code == 202
    eventually(lambda: there.requests, "the gateway has it", AT_MOST)
    body = there.requests[0]["body"]
    assert {name: body[name] for name in ("to", "message", "contactId", "workspaceId", "k")} == {
        "to": ANN,
        "message": "Hi",
        "contactId": "c_1",
        "workspaceId": "7",
        "k": "v",
    }


def test_a_busy_gateway_is_asked_again(shop: Demo, there: Gateway) -> None:
    there.answers = [(429, b""), (200, {"data": {"id": "A"}})]
    sent = until(post(shop), MessageState.ACCEPTED)
    assert (sent.provider_id, len(there.requests), send_job(sent.id).attempt) == ("A", 2, 1)


def test_a_refusal_is_final(shop: Demo, there: Gateway) -> None:
    there.answers = [(200, {"success": False, "error": "no", "code": "blocked"})]
    failed = until(post(shop), MessageState.FAILED)
    assert failed.error == {"code": -200, "title": "HTTP 200, the gateway refuses this message: blocked", "times": 1}
    assert (send_job(failed.id).state, len(there.requests)) == (JobState.DEAD, 1)


@pytest.mark.parametrize("answer", [CUT, (502, b"<html>")], ids=["cut", "502"])
def test_what_may_have_been_sent_is_not_sent_again(shop: Demo, there: Gateway, answer: Any) -> None:
    there.answers = [answer, (200, {"id": "A"})]
    unknown = until(post(shop), MessageState.UNKNOWN)
    job_until(unknown.id, lambda job: job.state is JobState.SUCCEEDED, "the job over")
    assert len(there.requests) == 1


@pytest.mark.parametrize("answer", [CUT, (502, b"<html>")], ids=["cut", "502"])
def test_a_gateway_that_heeds_the_key_is_asked_again_with_the_same(demo: Demo, there: Gateway, answer: Any) -> None:
    shop = add_channel(demo, url=there.url, idempotent="true")
    there.answers = [answer, (200, {"id": "A"})]
    sent = until(post(shop), MessageState.ACCEPTED)
    assert [request["headers"]["Idempotency-Key"] for request in there.requests] == [str(sent.id)] * 2


def test_a_wrong_token_holds_the_channel_and_loses_nothing(shop: Demo, there: Gateway) -> None:
    there.answers = [(401, b"")]
    sent = post(shop)
    job = job_until(sent, lambda job: job.held_by is not None or job.errors, "stopped")
    assert one(Message).state is MessageState.QUEUED, job.errors


def test_twilio_takes_the_same(demo: Demo, there: Gateway) -> None:
    shop = add_channel(demo, "twilio", there.url)
    sent = until(post(shop, "Hé"), MessageState.ACCEPTED)
    (request,) = there.requests
    assert request["path"] == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert (request["body"]["Body"], sent.provider_id, sent.parts) == ("Hé", "G1", 1)
    assert request["body"]["StatusCallback"].endswith(f"/webhooks/sms/{shop.channel_id}")


def test_whom_twilio_knows_as_unsubscribed_gets_no_more(demo: Demo, there: Gateway) -> None:
    shop = add_channel(demo, "twilio", there.url)
    there.answers = [(400, {"code": 21610, "message": "unsubscribed", "status": 400})]
    failed = until(post(shop), MessageState.FAILED)
    found = one(Suppression)
    assert (found.medium, found.address, found.reason, found.actor) == ("sms", ANN, "unsubscribed", "provider:twilio")
    assert found.evidence == {"message_id": str(failed.id), "code": 21610}
    until(post(shop), MessageState.SUPPRESSED)
    assert len(there.requests) == 1


def test_who_is_not_on_whatsapp_gets_an_sms(
    demo: Demo, shop: Demo, there: Gateway, sandbox: Sandbox, web: Site
) -> None:
    sandbox.faults({"kind": "message", "status_code": 131026})
    with db.transaction() as session:
        wrote(session, demo, ANN)
    way = {"channel_id": str(shop.channel_id), "type": "text", "text": {"body": "By SMS"}}
    asked = {"channel_id": str(demo.channel_id), "to": ANN, "type": "text", "text": {"body": "Hello"}}
    headers = {"Authorization": f"Bearer {demo.api_key}"}
    new = {**asked, "fallback": {"channels": [way]}}
    said = web.http.post(f"{web.url}/api/v1/messages", json=new, headers=headers, timeout=10)
    assert said.status_code == 202, said.text
    eventually(lambda: there.requests, "the gateway has it", AT_MOST)
    (instead,) = rows(Message, Message.fallback_of.is_not(None))
    until(instead.id, MessageState.ACCEPTED)
    assert [request["body"]["message"] for request in there.requests] == ["By SMS"]


def test_what_the_gateway_tells_carries_the_message_on(shop: Demo, there: Gateway, web: Site) -> None:
    sent = until(post(shop), MessageState.ACCEPTED)
    url = there.requests[0]["body"]["callbackUrl"]
    assert url.endswith(f"/webhooks/sms/{shop.channel_id}")
    body = b'{"messageId":"G1","status":"delivered"}'
    path = url.partition("/webhooks")[2]
    answer = web.http.post(f"{web.url}/webhooks{path}", data=body, headers=signed(SECRET, body), timeout=10)
    assert (answer.status_code, answer.content) == (200, b"")
    until(sent.id, MessageState.DELIVERED)


def test_nothing_secret_or_personal_is_in_the_log(shop: Demo, there: Gateway, sender: Program) -> None:
    before = len(sender.said())
    there.answers = [(400, {"success": False, "error": f"{ANN} cannot get 'very private'"}), (200, {"id": "A"})]
    until(post(shop, "very private"), MessageState.FAILED)
    until(post(shop, "very private"), MessageState.ACCEPTED)
    log = sender.said(before)
    assert "job.dead" in log
    for secret in ("private", "15550001111", "5550001111", TOKEN, SECRET):
        assert secret not in log
