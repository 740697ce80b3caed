"""What speaks against somebody at the instant of sending, and what follows from each answer of a provider."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.campaigns.service import lifecycle, planning, rehearsal
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Identity, SuppressionScope
from crm_tasks.core import breaker, db, holds
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import Message, MessageState
from tests import payloads
from tests.campaigns.audience import (
    DISCOUNT,
    SALE,
    TEXT,
    attribute,
    campaign,
    counts,
    found,
    night,
    people,
    person,
    put,
    recipients,
)
from tests.campaigns.pumping import (
    LONG,
    counted,
    finished,
    messages,
    numbers,
    proved,
    reasons,
    received,
    set_channel,
    start,
    take,
    times,
    until,
)
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import hear, one, rows
from tests.messages.outgoing import fault, wait_left
from tests.outside import Sandbox

pytestmark = pytest.mark.usefixtures("fleet")
NUMBER = "+1415555{:04d}"


def planned(demo: Demo, campaign_id: uuid.UUID) -> None:
    """Plan a campaign now: what is true of its people may change before it is sent."""
    while db.retrying(planning.plan_on, campaign_id):
        continue


def opt_out(demo: Demo, contact_id: uuid.UUID) -> None:
    with db.transaction() as session:
        moment = session.scalars(sa.select(db.now())).one()
        suppression.suppress_contact(
            session,
            demo.workspace_id,
            contact_id,
            medium="whatsapp",
            scope=SuppressionScope.MARKETING,
            reason="keyword",
            actor="customer",
            evidence={},
            at=moment,
        )


def wrote(demo: Demo, number: int, ago: timedelta = timedelta(0)) -> None:
    """Let the person of a number have written so long ago."""
    (moment,) = execute("SELECT extract(epoch FROM crm_now())::int")[0]
    hear(demo, payloads.text("Hello", f"1415555{number:04d}", at=moment - int(ago.total_seconds())))


def hurried(task: str = "messages.send") -> None:
    """Let what waits for its time be due."""
    execute("UPDATE jobs SET run_at = crm_now(), rung_at = NULL WHERE state = 'queued' AND task = :task", task=task)


def of(campaign_id: uuid.UUID, contact_id: uuid.UUID) -> Message:
    """Return the message to a person."""
    (message,) = [each for each in messages(campaign_id) if each.contact_id == contact_id]
    return message


def job_of(message: Message) -> Job:
    assert message.job_id is not None
    return one(Job, Job.id == message.job_id)


# --- what is final -----------------------------------------------------------------------------------------------


def test_what_is_final_at_that_instant_leaves_them_out_whatever_was_forecast(shop: Demo, sandbox: Sandbox) -> None:
    attribute(shop, "discount")
    values: dict[str, Any] = {"attributes": {"discount": "20 %"}}
    sent = people(shop, 3, **values)
    out, unnamed, unsaid, gone, answered = (person(shop, number, **values) for number in range(10, 15))
    mine = campaign(shop, DISCOUNT)
    with db.transaction() as session:
        rehearsal.ask(session, shop.workspace_id, mine, actor="a test")
    eventually(lambda: found(mine).rehearsal, "rehearsed", LONG)
    assert {each.forecast for each in recipients(mine)} == {"will_be_sent"}
    opt_out(shop, out)
    execute("DELETE FROM identities WHERE contact_id = :one", one=unnamed)
    execute("UPDATE contacts SET attributes = '{}' WHERE id = :one", one=unsaid)
    execute("DELETE FROM identities WHERE contact_id = :one", one=gone)
    execute("DELETE FROM contacts WHERE id = :one", one=gone)
    wrote(shop, 14, timedelta(days=2))
    execute("UPDATE conversations SET human_since = crm_now(), human_by = 'Bo' WHERE contact_id = :one", one=answered)
    start(mine)
    assert finished(mine) == {"accepted": 3, "suppressed": 5}
    assert reasons(mine) == {
        out: "suppressed",
        unnamed: "no_identity",
        unsaid: "missing_parameter",
        gone: "no_identity",
        answered: "human_took_over",
    }
    assert {message.contact_id for message in messages(mine)} == set(sent)
    assert len(received(sandbox)) == 3
    proved(sandbox)


def test_free_text_reaches_those_whose_window_is_open_at_that_instant(shop: Demo, sandbox: Sandbox) -> None:
    _, closed_since, never = people(shop, 3)
    wrote(shop, 0, timedelta(hours=23))
    wrote(shop, 1, timedelta(hours=25))
    mine = campaign(shop, TEXT)
    start(mine)
    assert finished(mine) == {"accepted": 1, "suppressed": 2}
    assert reasons(mine) == dict.fromkeys((closed_since, never), "window_closed")
    assert sandbox.texts() == ["Hello Person 0"]
    proved(sandbox)


# --- what is put off ---------------------------------------------------------------------------------------------


def test_at_night_it_waits_for_the_morning_as_an_ordinary_job(shop: Demo, sandbox: Sandbox) -> None:
    awake = person(shop, 1, time_zone="UTC")
    asleep = person(shop, 2, time_zone="Asia/Tokyo")
    morning = night(shop, "Asia/Tokyo")
    mine = campaign(shop, SALE)
    start(mine)
    counted(mine, accepted=1, queued=1)
    waiting = of(mine, asleep)
    job = job_of(waiting)
    assert (job.task, job.run_at) == ("messages.send", morning)
    assert {mine_scope(mine), f"channel:{shop.channel_id}", f"contact:{asleep}"} <= set(job.scopes)
    assert [finding["rule"] for finding in waiting.gates or ()] == ["quiet_hours"]
    assert (waiting.cost, waiting.text) == (None, waiting.text and waiting.text.replace("Person 1", "Person 2"))
    assert found(mine).state is CampaignState.RUNNING
    put(shop, "quiet_hours", {"from": "00:00", "to": "00:00"} | _never(shop))
    hurried()
    assert finished(mine) == {"accepted": 2}
    assert sorted(times(sandbox)) == sorted(numbers(mine))
    assert of(mine, awake).accepted_at < of(mine, asleep).accepted_at  # type: ignore[operator]
    proved(sandbox)


def mine_scope(campaign_id: uuid.UUID) -> str:
    return f"campaign:{campaign_id}"


def _never(demo: Demo) -> dict[str, Any]:
    """Return quiet hours that are over everywhere but twelve hours from here."""
    (moment,) = execute("SELECT crm_now() AT TIME ZONE 'UTC'")[0]
    far = moment + timedelta(hours=3)
    return {"from": f"{far:%H:%M}", "to": f"{far + timedelta(minutes=1):%H:%M}"}


def test_who_has_had_enough_waits_until_the_cap_allows_it(shop: Demo, sandbox: Sandbox) -> None:
    put(shop, "frequency_cap", {"messages": 1, "days": 7})
    people(shop, 4)
    first, second = campaign(shop, SALE), campaign(shop, SALE)
    start(first)
    assert finished(first) == {"accepted": 4}
    start(second)
    counted(second, queued=4)
    before = {message.contact_id: message.accepted_at for message in messages(first)}
    for message in messages(second):
        reached = before[message.contact_id]
        assert reached is not None
        assert timedelta(0) <= job_of(message).run_at - (reached + timedelta(days=7)) < timedelta(seconds=1)
    assert len(received(sandbox)) == 4
    proved(sandbox)


# --- what stops all of it ----------------------------------------------------------------------------------------


def test_of_a_held_channel_nobody_is_marked_and_all_go_when_it_is_released(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 10)
    mine = campaign(shop, SALE)
    with db.transaction() as session:
        hold = holds.place(session, f"channel:{shop.channel_id}", reason="a test", actor="a test").id
    start(mine)
    waiting = lambda: rows(Job, Job.task == "campaigns.pump", Job.held_by.is_not(None))  # noqa: E731
    eventually(waiting, "its pump is held", LONG)
    assert (counts(mine), rows(Message)) == ({"planned": 10}, [])
    with db.transaction() as session:
        holds.release(session, hold, actor="a test")
    assert finished(mine) == {"accepted": 10}
    proved(sandbox)


def test_a_template_that_is_paused_halts_it_and_nobody_is_left_out(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 10)
    mine = campaign(shop, SALE)
    execute("UPDATE templates SET status = 'PAUSED', status_at = crm_now() WHERE name = 'spring_sale'")
    start(mine)
    until(mine, CampaignState.HALTED)
    assert (counts(mine), received(sandbox)) == ({"planned": 10}, [])
    assert (found(mine).halted_by or {})["rule"] == "template_paused"
    execute("UPDATE templates SET status = 'APPROVED' WHERE name = 'spring_sale'")
    take(lifecycle.go_on, mine)
    assert finished(mine) == {"accepted": 10}
    proved(sandbox)


def test_a_template_that_the_provider_has_paused_is_looked_up_and_halts_it(shop: Demo, sandbox: Sandbox) -> None:
    people(shop, 200)
    set_channel(shop, per_second=20)
    mine = campaign(shop, SALE, guards={"canary_share": 0})
    start(mine)
    eventually(lambda: len(received(sandbox)) >= 10, "it is under way", LONG)
    # Its webhook reaches nobody here: the first refusal says it.
    sandbox.control("PUT", "templates", {"name": "spring_sale", "status": "paused"})
    until(mine, CampaignState.HALTED)
    eventually(lambda: "sending" not in counts(mine), "no more under way", LONG)
    assert (found(mine).halted_by or {})["rule"] == "template_paused"
    figures = counts(mine)
    assert figures["accepted"] == len(received(sandbox))
    # Who was refused meanwhile is sent to later, by an ordinary job; all the others are still planned.
    assert figures["queued"] + figures["planned"] == 200 - figures["accepted"]
    assert figures["planned"] > 0
    proved(sandbox)


def test_used_up_the_budget_halts_it_to_the_last_message_and_a_larger_one_lets_it_go_on(
    shop: Demo, sandbox: Sandbox
) -> None:
    put(shop, "prices", {"whatsapp_marketing": 0.02})
    people(shop, 30)
    set_channel(shop, per_second=100_000)  # several pumps spend at once
    mine = campaign(shop, SALE, budget=210_000)
    start(mine)
    until(mine, CampaignState.HALTED)
    eventually(lambda: counts(mine) == {"accepted": 10, "planned": 20}, "ten of them", LONG)
    assert (found(mine).halted_by or {})["rule"] == "budget"
    assert execute("SELECT sum(cost) FROM messages")[0][0] == 200_000
    execute("UPDATE campaigns SET budget = 600_000")
    take(lifecycle.go_on, mine)
    assert finished(mine) == {"accepted": 30}
    assert len(received(sandbox)) == 30
    proved(sandbox)


# --- what the provider says --------------------------------------------------------------------------------------


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
    assert mine_scope(mine) in again.scopes
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
    eventually(lambda: "sending" not in counts(mine), "no more under way", LONG)
    tried = len(sandbox.log("message"))
    assert counts(mine) == {"queued": counts(mine)["queued"], "planned": 80 - counts(mine)["queued"]}
    assert counts(mine)["planned"] > 0
    assert found(mine).state is CampaignState.RUNNING
    sandbox.quiet()
    assert finished(mine, 120) == {"accepted": 80}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    assert tried < 80
    proved(sandbox)
