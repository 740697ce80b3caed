"""A campaign at work: real workers send it through the sandbox, and everybody gets it once, in their own words."""

import dataclasses
import time
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.campaigns.service.supervising import PER_PROCESS
from crm_tasks.contacts import service as contacts
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Conversation, Message
from crm_tasks.workspaces import service as workspaces
from tests import payloads
from tests.campaigns.audience import DISCOUNT, SALE, attribute, campaign, counts, many, people, person, put
from tests.campaigns.pumping import (
    HELLO,
    LONG,
    counted,
    finished,
    messages,
    numbers,
    proved,
    received,
    set_channel,
    start,
    times,
)
from tests.core.ledger import execute, in_threads
from tests.fixtures import Demo
from tests.harness import eventually
from tests.media.samples import ours
from tests.messages.apply import hear, one, rows, tell
from tests.outside import Sandbox, Site

pytestmark = pytest.mark.usefixtures("fleet")


def named(entry: dict[str, Any]) -> tuple[str, str]:
    """Return what a request to send `spring_sale` says: whom it names, and how much is off."""
    header, body = entry["body"]["template"]["components"]
    return header["parameters"][0]["text"], body["parameters"][0]["text"]


def test_each_gets_it_once_in_their_own_words_and_it_is_in_their_history(
    shop: Demo, sandbox: Sandbox, web: Site
) -> None:
    sandbox.faults()
    attribute(shop, "discount")
    put(shop, "prices", {"whatsapp_marketing": 0.02, "countries": {"DE": {"whatsapp_marketing": 0.11}}})
    for number in range(40):
        prefix = "+4915122233" if number % 2 else "+1415555"
        person(shop, number, prefix=prefix, attributes={"discount": f"{number} %"})
    mine = campaign(shop, DISCOUNT)
    start(mine)
    counted(mine, delivered=40)
    finished(mine)

    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    said = {entry["to"].lstrip("+"): named(entry) for entry in received(sandbox)}
    assert said["14155550006"] == ("Person 6", "6 %")
    assert said["49151222330007"] == ("Person 7", "7 %")
    for message in messages(mine):
        talk = one(Conversation, Conversation.id == message.conversation_id)
        number = int((message.text or "").split("Person ")[1].split("!")[0])
        assert message.text and f"Take {number} % off everything" in message.text
        assert message.content["components"][0]["parameters"] == [{"type": "text", "text": f"Person {number}"}]
        assert (message.cost, message.category) == (110_000 if number % 2 else 20_000, "marketing")
        assert (talk.contact_id, talk.channel_id) == (message.contact_id, shop.channel_id)
        assert talk.last_message_at == message.occurred_at
        assert (message.author, message.direction, message.error) == ("campaign", "out", None)
        assert message.provider_id is not None and message.accepted_at is not None
    assert len(rows(Conversation)) == 40
    proved(sandbox)


def test_what_is_read_is_counted_as_read(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults()
    sandbox.control("PUT", "limits", {"statuses": {"sent_ms": 0, "delivered_ms": 10, "read_ms": 20}})
    people(shop, 10)
    mine = campaign(shop, SALE)
    start(mine)
    counted(mine, read=10)
    finished(mine)
    proved(sandbox)


def test_the_first_go_alone_until_it_is_known_how_they_fared(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    many(shop, 130)
    mine = campaign(shop, SALE, guards={"canary_wait": 3600})
    start(mine)
    counted(mine, accepted=20, planned=110)
    # Supervision has looked since, more than once.
    looked = _supervised()
    eventually(lambda: _supervised() >= looked + 2, "it is looked after", LONG)
    assert counts(mine) == {"accepted": 20, "planned": 110}
    assert sorted(times(sandbox)) == sorted(numbers(mine)[:20])
    # The pump that found nobody more is not begun again until somebody may be drawn.
    assert len(rows(Job, Job.task == "campaigns.pump")) <= 3
    tell(shop, payloads.told(shop, statuses=[payloads.status(e["message_id"], "delivered") for e in received(sandbox)]))
    assert finished(mine) == {"delivered": 20, "accepted": 110}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def _supervised() -> int:
    (row,) = execute("SELECT count(*) FROM jobs WHERE task = 'campaigns.supervise' AND state = 'succeeded'")
    return row[0]


def test_lanes_that_pump_at_once_never_send_to_the_same_person(shop: Demo, sandbox: Sandbox) -> None:
    many(shop, 1_500)
    set_channel(shop, per_second=100_000)
    mine = campaign(shop, HELLO, guards={"canary_share": 0})
    start(mine)
    assert finished(mine) == {"accepted": 1_500}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    lanes = execute("SELECT DISTINCT args ->> 'lane' FROM jobs WHERE task = 'campaigns.pump'")
    assert len(lanes) == PER_PROCESS > 1
    # Each has sent: the messages keep which job sent them.
    senders = execute("SELECT DISTINCT j.args ->> 'lane' FROM messages m JOIN jobs j ON j.id = m.job_id")
    assert len(senders) > 1
    proved(sandbox)


def test_started_by_many_at_once_it_goes_out_once(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 25)
    mine = campaign(shop, SALE)
    assert in_threads(*[partial(start, mine)] * 6) == [None] * 6
    assert finished(mine) == {"accepted": 25}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    start(mine)
    assert finished(mine) == {"accepted": 25}
    assert len(received(sandbox)) == 25
    proved(sandbox)


def test_a_file_of_ours_is_brought_once_and_sent_by_the_providers_name_of_it(shop: Demo, sandbox: Sandbox) -> None:
    for number in range(24):
        person(shop, number)
        hear(shop, payloads.text("Hello", f"1415555{number:04d}", at=int(time.time())))
    set_channel(shop, per_second=100_000)  # several pumps want it at once
    image = {"id": str(ours(shop)), "caption": "For {{name}}"}
    mine = campaign(shop, {"type": "image", "image": image}, guards={"canary_share": 0})
    start(mine)
    assert finished(mine) == {"accepted": 24}
    (upload,) = [entry for entry in sandbox.log("media") if entry["method"] == "POST"]
    ((there,),) = execute("SELECT provider_media_id FROM media_uploads")
    assert there in str(upload["answer"])
    assert {entry["body"]["image"]["id"] for entry in received(sandbox)} == {there}
    captions = {entry["to"].lstrip("+"): entry["body"]["image"]["caption"] for entry in received(sandbox)}
    assert captions == dict(zip(numbers(mine), (message.content["caption"] for message in messages(mine)), strict=True))
    assert all(caption.startswith("For ") and "{" not in caption for caption in captions.values())
    assert {(str(message.media_id), message.content["id"]) for message in messages(mine)} == {(image["id"],) * 2}
    proved(sandbox)


# --- other channels ----------------------------------------------------------------------------------------------


def beside(shop: Demo, kind: str, base_url: str = "", **values: str) -> Demo:
    """Return the business with another channel in the place of its number."""
    new = workspaces.NewChannel(kind=kind, name=kind, values=values, base_url=base_url)
    with db.transaction() as session:
        made = workspaces.add_channel(session, shop.workspace_id, new)
    return dataclasses.replace(shop, channel_id=made.id)


def test_texts_go_by_the_gateway_with_their_parts_and_receipts(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults()
    own = {"token": shop.access_token, "callback_secret": shop.app_secret}
    by_sms = beside(shop, "sms", f"{sandbox.url}/sms", **own)
    put(shop, "prices", {"sms": 0.05})
    long = "x" * 200
    for number in range(30):
        person(shop, number, name=f"Ann {long}" if number % 3 == 0 else f"Bo {number}")
    mine = campaign(by_sms, {"type": "text", "text": {"body": "Hello {{name}}"}, "category": "marketing"})
    start(mine)
    counted(mine, delivered=30)
    finished(mine)
    assert times(sandbox, "sms") == dict.fromkeys(numbers(mine), 1)
    parts = [(message.parts, message.cost) for message in messages(mine)]
    assert sorted(parts) == [(1, 50_000)] * 20 + [(2, 100_000)] * 10  # type: ignore[comparison-overlap]
    assert {entry["body"]["message"] for entry in received(sandbox, "sms")} == {m.text for m in messages(mine)}
    proved()


def test_mails_go_by_smtp_each_with_its_own_subject_and_way_out(shop: Demo, sandbox: Sandbox) -> None:
    at = sandbox.control("GET", "gateways")["smtp"]
    own = {"host": at["host"], "port": str(at["port"]), "security": "starttls", "from_address": "shop@example.com"}
    by_mail = beside(shop, "smtp", cafile=at["certificate"], callback_secret=shop.app_secret, **own)
    with db.transaction() as session:
        moment = session.scalars(sa.select(db.now())).one()
        for number in range(20):
            names = contacts.Names(email=f"person{number}@example.org", name=f"Person <{number}>")
            contacts.resolve(session, shop.workspace_id, names, at=moment)
    mail = {"subject": "Spring for {{name}}", "html": "<p>Hello {{name}}</p>"}
    mine = campaign(by_mail, {"type": "email", "email": mail, "category": "marketing"})
    start(mine)
    assert finished(mine) == {"accepted": 20}
    mails = sandbox.control("GET", "mail?limit=50")["data"]
    assert sorted(mail["subject"] for mail in mails) == sorted(f"Spring for Person <{number}>" for number in range(20))
    assert sorted(to for mail in mails for to in mail["rcpt_to"]) == sorted(numbers(mine, "email"))
    raw = sandbox.http.get(f"{sandbox.url}/_sandbox/mail/{mails[0]['id']}/raw", timeout=10).text
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in raw
    assert "&lt;" in raw
    assert {message.state for message in rows(Message)} == {"accepted"}
    proved()
