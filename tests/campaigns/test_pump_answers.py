"""What follows from each answer of a provider to a message of a campaign."""

import uuid

import pytest

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.contacts.models import Identity
from crm_tasks.core import breaker, db, holds
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import MessageState
from tests.campaigns.audience import (
    SALE,
    campaign,
    counts,
    found,
    people,
    person,
)
from tests.campaigns.pumping import (
    LONG,
    counted,
    finished,
    hurried,
    messages,
    numbers,
    of,
    proved,
    scope_of,
    set_channel,
    start,
    times,
)
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import rows
from tests.messages.outgoing import fault, wait_left
from tests.outside import Sandbox

pytestmark = pytest.mark.usefixtures("fleet")


def to(number: int) -> str:
    """Return what a rule of the sandbox says of one person."""
    return f"1415555{number:04d}$"


def test_a_no_for_now_becomes_an_ordinary_job_of_the_campaign(shop: Demo, sandbox: Sandbox) -> None:
    for number in range(6):
        person(shop, number)
    busy = fault(recipient=to(2), status=503, error_code=131016, times=1)
    sandbox.faults(busy, fault(statuses="none"))
    mine = campaign(shop, SALE)
    start(mine)
    assert finished(mine) == {"accepted": 6}
    (again,) = rows(Job, Job.task == "messages.send")
    assert scope_of(mine) in again.scopes
    assert (again.state, again.attempt) == (JobState.SUCCEEDED, 0)
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    assert len(sandbox.log("message")) == 7
    proved(sandbox)


def test_a_no_for_good_fails_one_and_touches_no_other(shop: Demo, sandbox: Sandbox) -> None:
    gone, *_ = [person(shop, number) for number in range(6)]
    sandbox.faults(fault(recipient=to(0), status=400, error_code=131026), fault(statuses="none"))
    mine = campaign(shop, SALE)
    start(mine)
    assert finished(mine) == {"accepted": 5, "failed": 1}
    failed = of(mine, gone)
    assert (failed.state, (failed.error or {})["code"]) == (MessageState.FAILED, 131026)
    assert failed.failed_at is not None
    assert any(identity.unreachable_at for identity in rows(Identity, Identity.contact_id == gone))
    assert rows(Job, Job.task == "messages.send") == []
    assert len(sandbox.log("message")) == 6
    proved(sandbox)


def test_too_soon_for_one_person_waits_for_that_person_alone(shop: Demo, sandbox: Sandbox) -> None:
    for number in range(5):
        person(shop, number)
    sandbox.faults(fault(recipient=to(3), status=400, error_code=131056, times=1), fault(statuses="none"))
    mine = campaign(shop, SALE)
    start(mine)
    counted(mine, accepted=4, queued=1)
    (job,) = rows(Job, Job.task == "messages.send")
    assert job.run_at > job.created_at
    assert (job.attempt, wait_left(job) < 60) == (0, True)
    hurried()
    assert finished(mine) == {"accepted": 5}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def test_too_fast_for_the_provider_slows_the_channel_and_loses_nobody(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 40)
    sandbox.faults(fault(status=400, error_code=130429, times=3), fault(statuses="none"))
    mine = campaign(shop, SALE)
    start(mine)
    assert finished(mine) == {"accepted": 40}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    learned = execute("SELECT count(*) FROM pace_rates WHERE name = :name", name=f"channel:{shop.channel_id}")
    assert learned[0][0] == 1
    proved(sandbox)


def test_a_no_to_the_whole_channel_holds_it_and_the_rest_stays_planned(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 60)
    set_channel(shop, per_second=20)
    sandbox.faults(fault(status=401, error_code=190))
    mine = campaign(shop, SALE)
    start(mine)
    held = eventually(lambda: holds_of(shop), "the channel is held", LONG)
    eventually(lambda: "sending" not in counts(mine), "no more under way", LONG)
    eventually(lambda: rows(Job, Job.task == "campaigns.pump", Job.held_by.is_not(None)), "its pump is held", LONG)
    asked = len(sandbox.log("message"))
    still = counts(mine)
    # Those under way when the first no came wait as jobs of their own, which are held; all others are planned.
    assert still == {"queued": asked, "planned": 60 - asked}
    assert 0 < asked < 60
    sandbox.quiet()
    with db.transaction() as session:
        holds.release(session, held, actor="a test")
    hurried()
    assert finished(mine) == {"accepted": 60}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def holds_of(demo: Demo) -> uuid.UUID | None:
    with db.transaction() as session:
        return next((h.id for h in holds.listed(session) if h.scope == f"channel:{demo.channel_id}"), None)


def test_without_an_answer_it_is_unknown_and_looked_after(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 12)
    sandbox.faults(fault(recipient=to(4), drop="after"), fault(recipient=to(5), drop="before"), fault(statuses="none"))
    mine = campaign(shop, SALE)
    start(mine)
    assert finished(mine) == {"accepted": 10, "unknown": 2}
    unknown = [message.id for message in messages(mine) if message.state is MessageState.UNKNOWN]
    settling = rows(Job, Job.task == "messages.settle")
    assert {uuid.UUID(job.args["message_id"]) for job in settling} == set(unknown)
    assert len(sandbox.log("message")) == 12
    proved(sandbox)


def test_a_provider_that_is_down_is_left_alone_and_the_rest_goes_when_it_is_back(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 80)
    set_channel(shop, per_second=40)
    sandbox.faults(fault(status=503, error_code=131016))
    mine = campaign(shop, SALE)
    start(mine)
    key = f"channel:{shop.channel_id}"
    eventually(lambda: breaker.state(key).state is breaker.Position.OPEN, "the breaker is open", LONG)

    def still() -> dict[str, int] | None:
        at_once = counts(mine)
        return at_once if at_once.keys() == {"queued", "planned"} and sum(at_once.values()) == 80 else None

    assert eventually(still, "no more under way", LONG)["planned"] > 0
    tried = len(sandbox.log("message"))
    assert found(mine).state is CampaignState.RUNNING
    sandbox.quiet()
    assert finished(mine, 120) == {"accepted": 80}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    assert tried < 80
    proved(sandbox)
