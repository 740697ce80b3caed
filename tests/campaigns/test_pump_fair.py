"""Nobody waits behind somebody else's broadcast: not another business, not a reply."""

import uuid

import pytest

from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
from tests.campaigns.audience import campaign, many, people
from tests.campaigns.pumping import (
    HELLO,
    LONG,
    finished,
    numbers,
    proved,
    received,
    set_channel,
    start,
)
from tests.fixtures import NUMBER, Demo, make_demo
from tests.harness import eventually
from tests.messages.apply import rows
from tests.messages.outgoing import post
from tests.outside import Sandbox
from tests.templates.fetched import fetch

pytestmark = pytest.mark.usefixtures("fleet")
OTHER = "106540352242999"
# More than the threads of the worker.
CAMPAIGNS = 12


def other(sandbox: Sandbox) -> Demo:
    """Return another business, with a number of its own."""
    number = {
        "phone_number_id": OTHER,
        "waba_id": f"9{OTHER}",
        "access_token": f"token-of-{OTHER}",
        "app_secret": f"secret-of-{OTHER}",
    }
    sandbox.control("PUT", "numbers", number)
    demo = make_demo(number=OTHER, base_url=sandbox.url, name="Other")
    fetch(demo)
    return demo


def by(sandbox: Sandbox) -> list[str]:
    """Return through which number each message came, in order."""
    return [entry["path"].split("/")[2] for entry in received(sandbox)]


def test_ten_of_one_business_go_at_once_however_many_of_another_wait(shop: Demo, sandbox: Sandbox) -> None:
    many(shop, 100)
    set_channel(shop, per_second=20)
    for _ in range(CAMPAIGNS):
        start(campaign(shop, HELLO))
    beside = other(sandbox)
    people(beside, 10)
    eventually(lambda: len(received(sandbox)) >= 40, "the first is at work", LONG)
    mine = campaign(beside, HELLO)
    before = by(sandbox).count(NUMBER)
    start(mine)
    assert finished(mine) == {"accepted": 10}
    order = by(sandbox)
    last = max(place for place, number in enumerate(order) if number == OTHER)
    assert order.count(OTHER) == 10
    # Six seconds of the first one's pace: it had more than a thousand before.
    assert order[:last].count(NUMBER) - before < 120
    pumps = rows(Job, Job.task == "campaigns.pump", Job.workspace_id == beside.workspace_id, Job.state == "succeeded")
    assert sum(_sent_by(pump.id) for pump in pumps[:1]) == 10


def _sent_by(job_id: uuid.UUID) -> int:
    return len(rows(Message, Message.job_id == job_id))


def test_replies_keep_their_share_of_a_channel_at_its_limit(shop: Demo, sandbox: Sandbox) -> None:
    many(shop, 1_000)
    set_channel(shop, per_second=50)
    mine = campaign(shop, HELLO, guards={"canary_share": 0})
    start(mine)
    eventually(lambda: len(received(sandbox)) >= 100, "it is under way", LONG)
    waited = []
    for number in range(10):
        before = len(received(sandbox))
        post(shop, f"Reply {number}", to=f"+1555200{number:04d}")
        place = eventually(lambda said=f"Reply {number}": _place(sandbox, said), "a reply arrives", LONG)
        waited.append(place - before)
    # A second's worth at most is before each, and mostly far less: one that waited in line would wait for all the rest.
    assert sorted(waited)[5] <= 50, waited
    assert max(waited) <= 150, waited
    assert len(received(sandbox)) < 1_000, "the broadcast was still at work"
    assert finished(mine, 120) == {"accepted": 1_000}
    assert len(numbers(mine)) == 1_000
    proved(sandbox)


def _place(sandbox: Sandbox, said: str) -> int | None:
    texts = [(entry["body"].get("text") or {}).get("body") for entry in received(sandbox)]
    return texts.index(said) if said in texts else None
