"""The webhook's door: what gets in, what is stored before it is acknowledged, what is turned away."""

from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import InboundEvent, Message
from crm_tasks.messages.service import events, receive
from crm_tasks.workspaces import service as workspaces
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.harness import eventually
from tests.payloads import raw, signature, signed

DOOR = "/webhooks/whatsapp"
# The vectors of the protocol reference: what Meta signs is the escaped form.
SECRET = "dummy_app_secret"
ESCAPED = rb'{"object":"whatsapp_business_account","entry":[],"note":"caf\u00e9"}'
ESCAPED_SIGNATURE = "61805eaa873559e8af91b556aeecf3982a73b568bdd3a282601d43c41ecc1897"
RAW = '{"object":"whatsapp_business_account","entry":[],"note":"café"}'.encode()
RAW_SIGNATURE = "63308ee3da8c1a40e385da99e83252637f8c822890f7a70019b6039c18d90f83"


def stored() -> list[InboundEvent]:
    with db.transaction() as session:
        return list(session.scalars(sa.select(InboundEvent).order_by(InboundEvent.id)))


def apply_all() -> None:
    with db.transaction() as session:
        receive.receive(session, session.scalars(sa.select(InboundEvent.id)).all())


def post(client: FlaskClient, body: bytes, secret: str) -> TestResponse:
    return client.post(DOOR, data=body, headers=signed(secret, body))


@pytest.fixture
def vectors(empty: None) -> None:
    """A channel with the secret of the published vectors."""
    demo = make_demo()
    with db.transaction() as session:
        workspaces.rotate_app_secret(session, demo.workspace_id, demo.channel_id, SECRET)


# --- handshake ---------------------------------------------------------------------------------------------------


def test_the_handshake_returns_the_challenge(client: FlaskClient, demo: Demo) -> None:
    query = f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={demo.verify_token}"
    answer = client.get(f"{DOOR}?{query}")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"1158201444", "text/plain")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
        "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=verify-106540352242922",
        "hub.challenge=1&hub.verify_token=verify-106540352242922",
        f"hub.mode=subscribe&hub.challenge=1&hub.verify_token={quote('vérify')}",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=%00%ff",
    ],
)
def test_the_handshake_refuses_everybody_else(client: FlaskClient, demo: Demo, query: str) -> None:
    answer = client.get(f"{DOOR}?{query}")
    assert answer.status_code == 403
    assert b"1" not in answer.data


def test_the_handshake_of_a_channel_just_added_works_at_once(client: FlaskClient, demo: Demo) -> None:
    """An administrator adds the channel and presses Verify; the secrets this process knows are older."""
    assert client.get(f"{DOOR}?hub.mode=subscribe&hub.verify_token=nobody").status_code == 403
    new = make_demo(number="55500")
    query = f"hub.mode=subscribe&hub.challenge=77&hub.verify_token={new.verify_token}"
    eventually(lambda: client.get(f"{DOOR}?{query}").data == b"77", "the new token is known", 3)


# --- signatures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "digest"), [(ESCAPED, ESCAPED_SIGNATURE), (RAW, RAW_SIGNATURE)])
def test_the_published_vectors_verify(client: FlaskClient, vectors: None, body: bytes, digest: str) -> None:
    answer = client.post(DOOR, data=body, headers={"X-Hub-Signature-256": f"sha256={digest}"})
    assert answer.status_code == 200
    assert [event.body for event in stored()] == [body]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"sha256={RAW_SIGNATURE}",  # of the same JSON with a raw é: the bytes differ
        f"sha256={ESCAPED_SIGNATURE.upper()}",
        f"SHA256={ESCAPED_SIGNATURE}",
        f"sha1={ESCAPED_SIGNATURE}",
        ESCAPED_SIGNATURE,
        f"sha256={ESCAPED_SIGNATURE[:-1]}",
        f"sha256={ESCAPED_SIGNATURE}0",
        f"sha256={ESCAPED_SIGNATURE[:-1]}é",
        f"sha256= {ESCAPED_SIGNATURE[:-1]}",
        f"sha256={'0' * 64}",
        f"sha256={ESCAPED_SIGNATURE},sha256={ESCAPED_SIGNATURE}",
    ],
)
def test_a_wrong_signature_is_401_and_stores_nothing(client: FlaskClient, vectors: None, header: str | None) -> None:
    headers = {} if header is None else {"X-Hub-Signature-256": header}
    answer = client.post(DOOR, data=ESCAPED, headers=headers)
    assert answer.status_code == 401
    with db.transaction() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(InboundEvent)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0


def test_a_changed_byte_is_401(client: FlaskClient, demo: Demo) -> None:
    body = raw(payloads.told(demo, messages=[payloads.text("Pay 10")]))
    headers = signed(demo.app_secret, body)
    assert client.post(DOOR, data=body.replace(b"Pay 10", b"Pay 99"), headers=headers).status_code == 401
    assert stored() == []


def test_the_secret_is_that_of_the_number(client: FlaskClient, demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    for each in (demo, other):
        body = raw(payloads.told(each, messages=[payloads.message()]))
        assert post(client, body, each.app_secret).status_code == 200
    assert len(stored()) == 2


def test_a_number_signed_with_the_secret_of_another_workspace_is_refused(client: FlaskClient, demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    body = raw(payloads.told(demo, messages=[payloads.message()]))
    assert post(client, body, other.app_secret).status_code == 401
    assert stored() == []


def test_a_secret_counts_only_for_its_own_numbers(client: FlaskClient, demo: Demo) -> None:
    """One request for two numbers of two apps cannot come from Meta: whoever signed it owns one of them at most."""
    other, third = make_demo(number="20002", name="Other"), make_demo(number="30003", name="Third")
    both = payloads.told(demo, messages=[payloads.message()])
    both["entry"] += payloads.told(other, messages=[payloads.message()])["entry"]
    for secret in (demo.app_secret, other.app_secret, third.app_secret):
        assert post(client, raw(both), secret).status_code == 401
    assert stored() == []


def test_an_account_update_signed_by_another_app_is_not_believed(client: FlaskClient, demo: Demo) -> None:
    """It names no number, so any secret opens the door; but it changes nothing."""
    other = make_demo(number="20002", name="Other")
    forged = payloads.envelope({"field": "account_update", "value": {"event": "DISABLED"}}, waba_id=demo.waba_id)
    assert post(client, raw(forged), other.app_secret).status_code == 200
    apply_all()
    (event,) = stored()
    assert event.state == "quarantined"
    assert "secret" in (event.problem or "")
    with db.transaction() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM account_updates")) == 0


def test_while_a_secret_is_exchanged_both_are_valid_and_the_one_before_is_not(client: FlaskClient, demo: Demo) -> None:
    body = raw(payloads.told(demo, messages=[payloads.message()]))
    assert post(client, body, demo.app_secret).status_code == 200

    def rotate(secret: str) -> None:
        with db.transaction() as session:
            workspaces.rotate_app_secret(session, demo.workspace_id, demo.channel_id, secret)

    rotate("second")
    eventually(lambda: post(client, body, "second").status_code == 200, "the new secret is good at once", 3)
    assert post(client, body, demo.app_secret).status_code == 200
    rotate("third")
    eventually(lambda: post(client, body, "third").status_code == 200, "the newest secret is good at once", 3)
    assert post(client, body, "second").status_code == 200
    assert post(client, body, demo.app_secret).status_code == 401
    apply_all()
    assert {event.state for event in stored()} <= {"done", "quarantined"}


# --- what is signed is kept --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", {"metadata": {"phone_number_id": "1234567890"}, "messages": [payloads.message()]}),
        ("brand_new_field", {"anything": [1, None, {"deep": True}]}),
        ("calls", {"calls": [{"id": "x"}]}),
        ("messages", {"metadata": {"phone_number_id": 106540352242922}, "statuses": [{"id": "x", "status": "odd"}]}),
    ],
)
def test_unknown_numbers_fields_and_kinds_are_stored_and_acknowledged(
    client: FlaskClient, demo: Demo, field: str, value: dict
) -> None:
    body = raw(payloads.envelope({"field": field, "value": value}, waba_id=demo.waba_id))
    assert post(client, body, demo.app_secret).status_code == 200
    (event,) = stored()
    assert (event.body, event.provider) == (body, "whatsapp")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b'{"entry":"x"}',
        b"9" * 5_000,
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_signed_but_cannot_be_read_is_quarantined(client: FlaskClient, demo: Demo, body: bytes) -> None:
    assert post(client, body, demo.app_secret).status_code == 200
    apply_all()
    (event,) = stored()
    assert (event.body, event.state) == (body, "quarantined")
    assert event.problem
    with db.transaction() as session:
        assert [each.id for each in events.listed(session)] == [event.id]


def test_three_megabytes_are_taken_and_a_byte_more_is_413(client: FlaskClient, demo: Demo) -> None:
    most = 3 * 1024 * 1024
    empty = raw(payloads.told(demo, messages=[payloads.text("", id="wamid.BIG")]))
    fits = raw(payloads.told(demo, messages=[payloads.text("x" * (most - len(empty)), id="wamid.BIG")]))
    assert len(fits) == most
    assert post(client, fits, demo.app_secret).status_code == 200
    assert post(client, fits + b" ", demo.app_secret).status_code == 413
    assert len(stored()) == 1


def test_a_thousand_updates_in_one_request_are_all_applied(client: FlaskClient, demo: Demo) -> None:
    messages = [payloads.text(f"No. {n}", sender=f"1555{n % 250:07d}") for n in range(1000)]
    assert post(client, raw(payloads.told(demo, messages=messages)), demo.app_secret).status_code == 200
    apply_all()
    assert [event.state for event in stored()] == ["done"]
    with db.transaction() as session:
        found = dict(session.execute(sa.select(Message.provider_id, Message.text)).all())
    assert found == {item["id"]: item["text"]["body"] for item in messages}


def test_the_same_request_again_changes_nothing(client: FlaskClient, demo: Demo) -> None:
    sent = payloads.status("wamid.OUT1", "sent")
    body = raw(payloads.told(demo, messages=[payloads.message(), payloads.message("15550002222")], statuses=[sent]))
    assert post(client, body, demo.app_secret).status_code == 200
    apply_all()
    tables = ("contacts", "identities", "conversations", "messages", "status_events", "account_updates")

    def everything() -> dict[str, list]:
        with db.transaction() as session:
            return {table: session.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).all() for table in tables}

    before = everything()
    for _ in range(3):
        assert post(client, body, demo.app_secret).status_code == 200
    apply_all()
    assert everything() == before
    assert [event.state for event in stored()] == ["done"] * 4
    assert signature(demo.app_secret, body)
