"""Erasure of a person: nothing is left in any table or file, nobody else loses anything, and a refusal stays."""

import io
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from crm_tasks.contacts import directory, suppression
from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.models import Contact, Identity, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, Snooze
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.types import new_id
from crm_tasks.email.models import EmailAttachment, EmailBounce, Verdict
from crm_tasks.imports import erasing, traces
from crm_tasks.imports.bulk_models import Erasure, WorkState
from crm_tasks.imports.models import Duplicates, Import, ImportChange, ImportReject, ImportState
from crm_tasks.media.models import Media, MediaDirection, MediaState
from crm_tasks.messages.models import AccountUpdate, Category, InboundEvent, Message, MessageState, StatusEvent
from crm_tasks.messages.service import gates, outbox
from crm_tasks.messages.service.look import look
from crm_tasks.models import Base
from crm_tasks.notifications.models import Notification, Severity
from crm_tasks.notifications.service import notify
from crm_tasks.prove import conversations as proof
from crm_tasks.providers.storage import storage
from crm_tasks.webhooks.models import Delivery, DeliveryState
from crm_tasks.webhooks.service import endpoints
from tests.fixtures import Demo
from tests.harness import Program, eventually
from tests.messages.apply import accepted, hear, one, ours, rows, store, tell
from tests.payloads import NOON, contact, message, status, text, told
from tests.webapp.api import Api

ANN, BOB = "15550001111", "15550002222"
NAME, MAIL, BSUID, WORDS = "Annabella Leeward", "ann.leeward@example.com", "US.77001", "my very own words"
SECRETS = (ANN, NAME.lower(), "annabella", MAIL, BSUID.lower(), WORDS, "anns-file", "customer-4711", "lyon-of-ann")


def everything() -> dict[str, list[str]]:
    """Return what of the person is in which table, as a thief of the database would look for it."""
    found: dict[str, list[str]] = {}
    with db.transaction() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(sa.text(f"SELECT * FROM {table.name}")).mappings():
                for column, value in row.items():
                    written = value.tobytes() if isinstance(value, memoryview) else value
                    plain = written.decode("latin-1") if isinstance(written, bytes) else str(written)
                    hits = [secret for secret in SECRETS if secret in plain.lower()]
                    if hits:
                        found.setdefault(f"{table.name}.{column}", []).extend(hits)
    return found


@pytest.fixture
def api(client: FlaskClient, demo: Demo) -> Api:
    return Api(client, demo.api_key)


def ann_of(api: Api) -> uuid.UUID:
    new = {
        "name": NAME,
        "phone": f"+{ANN}",
        "email": MAIL,
        "bsuid": BSUID,
        "tags": ["lyon-of-ann"],
        "external_id": "customer-4711",
        "attributes": {"city": "Lyon-of-Ann"},
    }
    answer = api.post("/contacts", new, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 201
    return uuid.UUID(answer.get_json()["id"])


def live(demo: Demo, ann: uuid.UUID) -> dict[str, Any]:
    """Let a person leave traces everywhere, and another beside them."""
    with db.transaction() as session:
        new = endpoints.NewEndpoint(url="https://example.com/hook", events=["*"])
        endpoints.add(session, demo.workspace_id, new, actor="test")
    said = hear(demo, text(WORDS, ANN), contacts=[contact(ANN, BSUID, NAME)])
    assert said[0].contact_id == ann
    tell(demo, told(demo, messages=[text(WORDS, ANN), text("Bob's words", BOB)]))
    picture = hear(demo, message(ANN, type="image", image={"id": "9", "mime_type": "image/png", "caption": WORDS}))[0]
    sent = accepted(demo, "wamid.OUT1", to=f"+{ANN}", body=WORDS)
    tell(demo, told(demo, statuses=[status("wamid.OUT1", "delivered", to=ANN), status("wamid.GONE", "read", to=ANN)]))
    waiting = ours(demo, MessageState.QUEUED, to=f"+{ANN}", body=WORDS)
    hear(demo, text("stop", ANN))
    (quarantined,) = store(demo, told(demo, messages=[text(WORDS, ANN)]))
    with db.transaction() as session:
        event = session.get_one(InboundEvent, quarantined)
        event.state, event.problem = "quarantined", f"about {ANN}"  # type: ignore[assignment]
    files = {name: storage().save([name.encode()], name=uuid.uuid4(), limit=100).key for name in ("own", "both")}
    with db.transaction() as session:
        _more(session, demo, ann, sent, picture, files)
    return {"waiting": waiting, "files": files, "sent": sent, "quarantined": quarantined}


def _more(session: Session, demo: Demo, ann: uuid.UUID, sent: Message, picture: Message, files: dict[str, str]) -> None:
    session.get_one(Message, sent.id).author = "ai"
    both = Media(
        workspace_id=demo.workspace_id,
        channel_id=demo.channel_id,
        direction=MediaDirection.OUT,
        state=MediaState.STORED,
        storage_key=files["both"],
    )
    session.add(both)
    session.flush()
    own = session.get_one(Media, picture.media_id)
    own.state, own.storage_key, own.filename = MediaState.STORED, files["own"], "anns-file.png"
    session.get_one(Message, sent.id).media_id = both.id
    bob = outbox.send_to(
        session,
        demo.workspace_id,
        demo.channel_id,
        f"+{BOB}",
        outbox.NewMessage(type="text", content={"body": "For Bob"}, author="ai"),
    )
    bob.media_id = both.id
    session.add(EmailAttachment(message_id=sent.id, position=1, workspace_id=demo.workspace_id, data=WORDS.encode()))
    session.add(
        EmailBounce(
            workspace_id=demo.workspace_id,
            address=MAIL,
            verdict=Verdict.FULL,
            message_id=sent.id,
            detail=f"{MAIL} is full",
            occurred_at=session.scalar(sa.select(db.now())),
        )
    )
    session.add(
        AccountUpdate(
            workspace_id=demo.workspace_id,
            event_id=new_id(),
            field="history",
            digest="d",
            value={"from": ANN},
            occurred_at=session.scalar(sa.select(db.now())),
        )
    )
    _import(session, demo, ann)
    notify(session, demo.workspace_id, "test", title=f"{NAME} waits", text="Call back", severity=Severity.INFO)
    notify(session, demo.workspace_id, "other", title="Bob waits", text="Call back", severity=Severity.INFO)
    for state, task in (("dead", "messages.settle"), ("queued", "ai.reply")):
        job_id = enqueue(session, task, args={"message_id": sent.id}, workspace_id=demo.workspace_id)
        errors = [{"class": "Odd", "message": f"no such number +{ANN}", "at": "2026-01-01"}]
        over = sa.func.now() if state == "dead" else None
        session.execute(
            sa.update(Job).where(Job.id == job_id).values(state=state, errors=errors, finished_at=over, rung_at=None)
        )


def _import(session: Session, demo: Demo, ann: uuid.UUID) -> None:
    """As an import leaves it that changed this person, and refused a line about them."""
    made = Import(
        id=new_id(),
        workspace_id=demo.workspace_id,
        state=ImportState.FINISHED,
        actor="test",
        size=1,
        sha256="",
        encoding="utf-8",
        delimiter=",",
        region="US",
        duplicates=Duplicates.UPDATE,
        position=1,
        line=1,
    )
    session.add(made)
    session.add(ImportChange(import_id=made.id, contact_id=ann, before={"name": NAME}, after={}))
    reject = {"import_id": made.id, "column": "phone", "code": "bad_phone"}
    session.add(ImportReject(**reject, line=2, value="+1 (555) 000-1111 x", reason=f"{NAME} has no number"))
    session.add(ImportReject(**reject, line=3, value="Bob", reason="Bob has no number"))


def erase(demo: Demo, contact_id: uuid.UUID) -> Erasure:
    with db.transaction() as session:
        return erasing.begin(session, demo.workspace_id, contact_id, actor="test")


def finish(erasure: Erasure) -> int:
    """Do what the job does, and return in how many transactions."""
    count = 0
    while db.retrying(erasing.step, erasure.id) is not None:
        count += 1
    return count


def test_a_refusal_is_known_again_whatever_way_the_person_comes_back(demo: Demo, api: Api) -> None:
    ann = ann_of(api)
    hear(demo, text("stop", ANN))
    finish(erase(demo, ann))
    # The number and the user id.
    assert [(each.address[:7], each.reason, each.evidence) for each in _listed(demo)] == [
        ("erased:", "keyword", {})
    ] * 2
    assert [each.id for each in _listed(demo, f"+{ANN}")]  # who asks for the number is told

    again = hear(demo, text("Hello again", ANN))[0]
    assert again.contact_id != ann
    new = outbox.NewMessage(type="text", content={"body": "Sale!"}, category=Category.MARKETING, author="campaign")
    with db.transaction() as session:
        sale = outbox.send_to(session, demo.workspace_id, demo.channel_id, f"+{ANN}", new)
        seen = look(session, sale.id)
        assert seen is not None
        assert "suppressed" in [each.rule for each in gates.findings(session, seen)]
        assert again.contact_id is not None
        assert suppression.of_contact(session, demo.workspace_id, again.contact_id)
    hear(demo, text("start", ANN, at=NOON + 60))
    with db.transaction() as session:
        assert again.contact_id is not None
        assert suppression.of_contact(session, demo.workspace_id, again.contact_id) == []


def test_of_two_words_about_an_address_the_newer_counts(demo: Demo, api: Api) -> None:
    ann = ann_of(api)
    hear(demo, text("stop", ANN))
    finish(erase(demo, ann))
    with db.transaction() as session:
        suppression.allow(
            session,
            demo.workspace_id,
            f"+{ANN}",
            medium="whatsapp",
            scope=SuppressionScope.MARKETING,
            reason="api",
            actor="test",
            evidence={},
        )
    back = ann_of_again(api)
    with db.transaction() as session:
        active = suppression.of_contact(session, demo.workspace_id, back)
    assert [each.address for each in active] == [BSUID]
    finish(erase(demo, back))
    assert {each.address[:7] for each in _listed(demo)} == {"erased:"}


def ann_of_again(api: Api) -> uuid.UUID:
    answer = api.post("/contacts", {"phone": f"+{ANN}", "bsuid": BSUID})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return uuid.UUID(answer.get_json()["id"])


def _listed(demo: Demo, address: str | None = None) -> list[Any]:
    with db.transaction() as session:
        return suppression.listed(session, demo.workspace_id, address=address)


def test_a_receipt_that_comes_later_tells_nothing_of_the_person(demo: Demo, api: Api) -> None:
    ann = ann_of(api)
    sent = accepted(demo, "wamid.OUT1", to=f"+{ANN}", body=WORDS)
    finish(erase(demo, ann))
    tell(demo, told(demo, statuses=[status("wamid.OUT1", "read", to=ANN, conversation={"id": ANN})]))
    assert one(Message, Message.id == sent.id).state is MessageState.READ
    event = one(StatusEvent, StatusEvent.message_id == sent.id, StatusEvent.status == "read")
    assert (event.recipient, event.detail) == ("", {})


def test_a_long_history_is_erased_in_many_short_transactions(
    demo: Demo, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "BATCH", 100)
    monkeypatch.setattr(traces, "PAGE", 400)
    ann = ann_of(api)
    hear(demo, text(WORDS, ANN))
    with db.transaction() as session:
        columns = "workspace_id, channel_id, conversation_id, contact_id, direction, state, type, content, text, author"
        session.execute(
            sa.text(
                f"INSERT INTO messages (id, {columns}, occurred_at) SELECT gen_random_uuid(), {columns}, occurred_at "
                "FROM messages, generate_series(1, 1500) WHERE contact_id = :ann"
            ),
            {"ann": ann},
        )
    erasure = erase(demo, ann)
    assert finish(erasure) >= 16
    assert one(Erasure).stores["messages"] == 1_501
    assert everything() == {}


def test_what_is_being_sent_is_waited_for(demo: Demo, api: Api) -> None:
    ann = ann_of(api)
    sending = ours(demo, MessageState.SENDING, to=f"+{ANN}", body=WORDS)
    erasure = erase(demo, ann)
    with pytest.raises(Snooze):
        finish(erasure)
    assert one(Erasure).state is WorkState.RUNNING
    with db.transaction() as session:
        session.get_one(Message, sending.id).state = MessageState.ACCEPTED
        session.get_one(Message, sending.id).provider_id = "wamid.1"
    finish(erasure)
    assert one(Erasure).state is WorkState.FINISHED
    assert one(Erasure).wanted is None


def test_a_number_that_was_given_up_is_its_new_owners(demo: Demo, api: Api) -> None:
    ann = ann_of(api)
    api.patch(f"/contacts/{ann}", {"phone": "+15550009999"})
    bob = api.post("/contacts", {"name": "Bob", "phone": f"+{ANN}"}).get_json()
    at = int(time.time()) + 1
    hear(demo, text("Bob's words", ANN, at=at), contacts=[contact(ANN, None, "Bob")])
    hear(demo, text("stop", ANN, at=at), contacts=[contact(ANN, None, "Bob")])
    finish(erase(demo, ann))
    assert [each.address for each in _listed(demo)] == [f"+{ANN}"]
    assert {each.text for each in rows(Message)} == {"Bob's words", "stop"}
    assert all(ANN.encode() in each.body for each in rows(InboundEvent))
    assert {each.contact_id for each in rows(Identity)} == {uuid.UUID(bob["id"])}


def test_nothing_can_be_kept_of_who_was_erased(demo: Demo, api: Api) -> None:
    ann = ann_of(api)
    erase(demo, ann)
    with db.transaction() as session, pytest.raises(Conflict):
        directory.change(session, demo.workspace_id, ann, {"name": "Ann"})
    with db.transaction() as session:
        moment = session.scalar(sa.select(db.now()))
        assert moment is not None
        names = contacts.Names(phone=f"+{ANN}")
        assert contacts.resolve(session, demo.workspace_id, names, at=moment) != ann
    assert one(Contact, Contact.id == ann).erased_at is not None


def test_nothing_is_left_of_a_person_who_was_erased(demo: Demo, api: Api, importer: Program) -> None:
    ann = ann_of(api)
    was = live(demo, ann)
    before = everything()
    expected = {"contacts.name", "identities.value", "messages.content", "messages.raw", "messages.text", "jobs.errors"}
    expected |= {"inbound_events.body", "status_events.recipient", "media.filename", "webhook_events.body"}
    expected |= {"idempotency_keys.body", "notifications.title", "account_updates.value", "email_bounces.address"}
    expected |= {"import_changes.before", "import_rejects.reason"}
    expected |= {"suppressions.address", "consent_events.address", "email_attachments.data", "contacts.attributes"}
    assert expected <= set(before), sorted(expected - set(before))

    answer = api.delete(f"/contacts/{ann}?erase=true")
    assert answer.status_code == 202
    path = f"/erasures/{answer.get_json()['id']}"
    done = eventually(
        lambda: found if (found := api.get(path).get_json())["state"] == "finished" else None, "an end", 60
    )
    assert everything() == {}
    assert not storage().exists(was["files"]["own"])
    _is_told(done)
    _others_keep_theirs(was)
    with db.transaction() as session:
        # Not that every answer answers something: some here are the test's own.
        for invariant in proof.INVARIANTS[1:]:
            assert list(invariant.check(session, timedelta(0))) == [], invariant.name
    assert api.delete(f"/contacts/{ann}?erase=true").get_json()["id"] == done["id"]
    shown = api.get(f"/contacts/{ann}").get_json()
    assert shown["erased_at"] and shown["identities"] == [] and shown["name"] is None
    assert api.patch(f"/contacts/{ann}", {"name": "x"}).status_code == 409
    assert str(ann) not in [each["id"] for each in api.get("/contacts").get_json()["data"]]
    _is_still_refused_when_a_file_brings_them_back(api)


def _is_still_refused_when_a_file_brings_them_back(api: Api) -> None:
    file = (io.BytesIO(f"phone,name\n+{ANN},Ann\n".encode()), "people.csv")
    answer = api.post("/imports", data={"file": file}, content_type="multipart/form-data")
    assert answer.status_code == 202, answer.get_data(as_text=True)
    path = f"/imports/{answer.get_json()['id']}"
    eventually(lambda: api.get(path).get_json()["state"] == "finished", "an import", 60)
    (back,) = api.get("/contacts", query_string={"q": ANN}).get_json()["data"]
    (entry,) = api.get(f"/contacts/{back['id']}/consent").get_json()["suppressions"]
    assert (entry["address"], entry["reason"]) == (f"+{ANN}", "keyword")


def _is_told(done: dict[str, Any]) -> None:
    """Look at the certificate."""
    counts = {each["store"]: each["rows"] for each in done["stores"]}
    least = {"contacts": 1, "identities": 4, "suppressions": 2, "consent_events": 2, "messages": 6, "media": 1}
    least |= {"email_attachments": 1, "email_bounces": 1, "status_events": 2, "inbound_events": 6, "dead_letters": 1}
    least |= {"account_updates": 1, "webhook_events": 5, "webhook_deliveries": 5, "idempotency_keys": 1}
    assert {name: counts[name] for name in least if counts[name] < least[name]} == {}
    assert (counts["notifications"], counts["import_changes"], counts["import_rejects"]) == (1, 1, 1)
    assert (counts["redis"], counts["logs"], counts["exports"]) == (0, 0, 0)
    assert all(each["what"] for each in done["stores"])
    assert "retention" in done["backups"]


def _others_keep_theirs(was: dict[str, Any]) -> None:
    assert storage().exists(was["files"]["both"])
    assert {each.text for each in rows(Message, Message.text.is_not(None))} == {"Bob's words", "For Bob"}
    assert [each.title for each in rows(Notification)] == ["Bob waits"]
    with db.transaction() as session:
        refused = session.execute(sa.select(ImportReject.value, ImportReject.reason).order_by(ImportReject.line)).all()
    assert [tuple(each) for each in refused] == [("erased", "erased"), ("Bob", "Bob has no number")]
    waiting = one(Message, Message.id == was["waiting"].id)
    assert (waiting.state, one(Job, Job.id == waiting.job_id).state) == (MessageState.CANCELLED, JobState.CANCELLED)
    assert one(Job, Job.task == "ai.reply").state is JobState.CANCELLED
    assert one(Job, Job.task == "messages.settle").errors[0]["class"] == "Odd"
    quarantined = one(InboundEvent, InboundEvent.id == was["quarantined"])
    assert (quarantined.state, quarantined.problem) == ("done", None)
    assert DeliveryState.CANCELLED in {each.state for each in rows(Delivery)}
