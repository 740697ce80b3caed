"""What speaks against somebody at the instant of sending: for good, for a while, or against all of them."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.campaigns.service import lifecycle, rehearsal
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.core import db, holds
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
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
    hurried,
    job_of,
    messages,
    numbers,
    of,
    proved,
    reasons,
    received,
    scope_of,
    set_channel,
    start,
    take,
    times,
    until,
)
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import hear, rows
from tests.outside import Sandbox

pytestmark = pytest.mark.usefixtures("fleet")


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
    assert {scope_of(mine), f"channel:{shop.channel_id}", f"contact:{asleep}"} <= set(job.scopes)
    assert [finding["rule"] for finding in waiting.gates or ()] == ["quiet_hours"]
    assert (waiting.cost, waiting.text) == (None, waiting.text and waiting.text.replace("Person 1", "Person 2"))
    assert found(mine).state is CampaignState.RUNNING
    put(shop, "quiet_hours", {"from": "00:00", "to": "00:00"} | _never(shop))
    hurried()
    assert finished(mine) == {"accepted": 2}
    assert sorted(times(sandbox)) == sorted(numbers(mine))
    assert of(mine, awake).accepted_at < of(mine, asleep).accepted_at  # type: ignore[operator]
    proved(sandbox)


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
