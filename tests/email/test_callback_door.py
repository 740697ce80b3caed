"""The doors of what comes back: signed or nothing, kept before it is acknowledged, one job of the queue `email`."""

import hmac
import uuid

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import EventState, InboundEvent
from crm_tasks.messages.service import events
from tests.email.shop import SECRET, Shop, make_shop, tell
from tests.fixtures import make_demo
from tests.messages.apply import one, rows
from tests.providers.returned import bounce


@pytest.fixture
def shop(empty: None) -> Shop:
    return make_shop()


def call(
    client: FlaskClient, channel_id: uuid.UUID | str, body: bytes, *, secret: str = SECRET, tail: str = ""
) -> TestResponse:
    signed = "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
    return client.post(f"/webhooks/email/{channel_id}{tail}", data=body, headers={"X-Signature-256": signed})


@pytest.mark.parametrize(("tail", "body"), [("", b"{}"), ("/dsn", bounce())])
def test_what_is_signed_is_kept_as_it_came_and_has_a_job(
    client: FlaskClient, shop: Shop, tail: str, body: bytes
) -> None:
    assert call(client, shop.channel_id, body, tail=tail).status_code == 200
    event = one(InboundEvent)
    assert (event.provider, bytes(event.body), event.state) == ("smtp", body, EventState.RECEIVED)
    job = one(Job, Job.task == "email.receive")
    assert (job.queue, job.args) == ("email", {"event_ids": [str(event.id)]})


def test_what_is_not_signed_by_this_channel_leaves_nothing(client: FlaskClient, shop: Shop) -> None:
    whatsapp, unsigned = make_demo(), make_shop(name="Unsigned", callback_secret="")
    answers = [
        call(client, shop.channel_id, b"{}", secret="wrong"),
        call(client, uuid.uuid4(), b"{}"),
        call(client, whatsapp.channel_id, b"{}"),
        call(client, unsigned.channel_id, b"{}", secret=""),
        client.post(f"/webhooks/email/{shop.channel_id}", data=b"{}"),
        client.post(f"/webhooks/email/{shop.channel_id}", data=b"{}", headers={"X-Signature-256": "sha256=\xff"}),
    ]
    assert [answer.status_code for answer in answers] == [401, 404, 404, 401, 401, 401]
    assert (rows(InboundEvent), rows(Job)) == ([], [])


def test_what_is_no_channel_at_all_is_a_404_and_what_is_too_large_a_413(client: FlaskClient, shop: Shop) -> None:
    assert call(client, "x", b"{}").status_code == 404
    assert call(client, shop.channel_id, b"x" * (3 * 1024 * 1024 + 1), tail="/dsn").status_code == 413
    assert client.get(f"/webhooks/email/{shop.channel_id}").status_code == 405
    assert rows(InboundEvent) == []


def test_a_replayed_event_goes_to_the_task_of_its_provider(shop: Shop) -> None:
    event_id = tell(shop, b"{")
    with db.transaction() as session:
        events.replay(session, event_id, actor="test")
    assert one(Job, Job.unique_key == f"replay:{event_id}").task == "email.receive"
