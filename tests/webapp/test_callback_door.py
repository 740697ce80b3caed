"""The doors for SMS and e-mail callbacks: what gets in is stored before it is acknowledged, the rest is turned away."""

import uuid
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.errors import Unavailable
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import InboundEvent
from crm_tasks.messages.service import ingest
from crm_tasks.providers import twilio
from crm_tasks.workspaces.models import Channel
from tests.fixtures import Demo
from tests.gateways import SECRET, TOKEN, add_channel, signed
from tests.messages.apply import one, rows

BODY = b'{"messageId":"G1","status":"delivered"}'


@pytest.fixture
def shop(demo: Demo) -> Demo:
    return add_channel(demo)


def post(
    client: FlaskClient, channel_id: Any, body: bytes = BODY, *, secret: str = SECRET, **more: Any
) -> TestResponse:
    path = more.pop("path", f"/webhooks/sms/{channel_id}")
    return client.post(path, data=body, headers=signed(secret, body), **more)


def test_a_signed_callback_is_kept_with_its_channel_and_a_job(client: FlaskClient, shop: Demo) -> None:
    answer = post(client, shop.channel_id)
    assert (answer.status_code, answer.data) == (200, b"")  # Twilio would text a body to the person
    event, job = one(InboundEvent), one(Job)
    assert (event.provider, event.body, event.signed_by) == ("sms", BODY, [str(shop.channel_id)])
    assert (job.task, job.args) == ("messages.receive", {"event_ids": [str(event.id)]})


@pytest.mark.parametrize("secret", ["wrong", TOKEN])
def test_a_forged_one_is_stored_nowhere(client: FlaskClient, shop: Demo, secret: str) -> None:
    assert post(client, shop.channel_id, secret=secret).status_code == 401
    assert client.post(f"/webhooks/sms/{shop.channel_id}", data=BODY).status_code == 401
    assert rows(InboundEvent) == []


def test_one_that_is_signed_for_another_channel_is_forged(client: FlaskClient, demo: Demo, shop: Demo) -> None:
    other = add_channel(demo, callback_secret="another")
    assert post(client, other.channel_id).status_code == 401


def test_only_channels_that_take_callbacks_have_a_door(client: FlaskClient, demo: Demo, shop: Demo) -> None:
    for path in (
        f"/webhooks/sms/{uuid.uuid4()}",
        f"/webhooks/sms/{demo.channel_id}",  # WhatsApp's has its own
        f"/webhooks/email/{shop.channel_id}",
        f"/webhooks/email/{shop.channel_id}/dsn",
        f"/webhooks/sms/{shop.channel_id}/dsn",
        f"/webhooks/fax/{shop.channel_id}",
        "/webhooks/sms/1",
    ):
        assert post(client, "", path=path).status_code == 404, path
    assert client.get(f"/webhooks/sms/{shop.channel_id}").status_code == 405


def test_a_changed_secret_is_good_at_once(client: FlaskClient, shop: Demo) -> None:
    assert post(client, shop.channel_id, secret="newer").status_code == 401
    with db.transaction() as session:
        channel = session.get_one(Channel, shop.channel_id)
        channel.credentials = {**channel.credentials, "callback_secret": "newer"}
    assert post(client, shop.channel_id, secret="newer").status_code == 200


def test_what_is_too_long_is_turned_away(client: FlaskClient, shop: Demo) -> None:
    most = settings().webhook_max_bytes
    assert post(client, shop.channel_id, b"x" * most).status_code == 200
    assert post(client, shop.channel_id, b"x" * (most + 1)).status_code == 413
    assert len(rows(InboundEvent)) == 1


def test_without_postgres_the_provider_is_asked_to_come_again(
    client: FlaskClient, shop: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(ingest, "store", away)
    answer = post(client, shop.channel_id)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize("query", ["", "?x=1&y=%20"])
def test_twilio_signs_the_address_that_it_was_told(client: FlaskClient, demo: Demo, query: str) -> None:
    """Which is the public one, whatever a proxy makes of it."""
    shop = add_channel(demo, "twilio")
    path = f"/webhooks/sms/{shop.channel_id}{query}"
    form = {"MessageSid": "SM1", "MessageStatus": "sent"}
    signature = twilio.signature(TOKEN, settings().outside_url + path, {name: [each] for name, each in form.items()})
    sent = {"data": urlencode(form), "content_type": "application/x-www-form-urlencoded"}
    answer = client.post(path, headers={"X-Twilio-Signature": signature}, base_url="http://inside:1", **sent)
    assert answer.status_code == 200
    assert one(InboundEvent).body == urlencode(form).encode()
    assert client.post(path, headers={"X-Twilio-Signature": "x"}, **sent).status_code == 401
