"""What cannot be brought about from outside: a pump in this process, to which something happens between two steps."""

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from crm_tasks.campaigns.pump import Pump
from crm_tasks.campaigns.service import outcomes
from crm_tasks.campaigns.service.drawing import AT_ONCE, Drawn
from crm_tasks.core import db, pace
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.pace import Wish
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import pacing
from crm_tasks.providers import registry
from tests.campaigns.audience import SALE, campaign, counts, go_on, people, run
from tests.campaigns.pumping import numbers, proved, set_channel, start, times
from tests.core.ledger import execute, new, take, update
from tests.fixtures import Demo
from tests.messages.apply import rows
from tests.messages.outgoing import fault
from tests.outside import Sandbox
from tests.webhooks import hooks


def test_marked_by_a_commit_of_which_nobody_heard_they_are_sent_all_the_same(
    shop: Demo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(shop, 6)
    draw, lost = Pump._draw, []

    def deaf(self: Pump, session: Session) -> Drawn:
        drawn = draw(self, session)
        if drawn.orders and not lost:
            lost.extend(drawn.orders)
            return Drawn(drawn.after)
        return drawn

    monkeypatch.setattr(Pump, "_draw", deaf)
    mine = campaign(shop, SALE)
    run(mine)
    assert lost
    assert counts(mine) == {"accepted": 6}
    assert {job.state for job in rows(Job, Job.task == "messages.send")} == {"succeeded"}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def test_a_lease_that_would_not_outlast_the_request_sends_nothing(
    shop: Demo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(shop, 6)
    send, stood = Pump._send, []

    def stand_still(self: Pump, orders: Any) -> None:
        stood.extend(orders)
        self._claim.lease_end = time.monotonic()
        send(self, orders)

    monkeypatch.setattr(Pump, "_send", stand_still)
    mine = campaign(shop, SALE)
    run(mine)
    assert counts(mine) == {"accepted": 6}
    # All by ordinary jobs: the pump itself sent nothing.
    assert len(rows(Job, Job.task == "messages.send")) == len(stood) == 6
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def test_an_answer_kept_twice_has_one_job_follow(shop: Demo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    people(shop, 2)
    sandbox.faults(fault(status=503, error_code=131016, times=2), fault(statuses="none"))
    keep = outcomes.keep

    def twice(session: Any, campaign_id: uuid.UUID, answers: Any) -> None:
        keep(session, campaign_id, answers)
        session.commit()
        keep(session, campaign_id, answers)

    monkeypatch.setattr(outcomes, "keep", twice)
    mine = campaign(shop, SALE)
    run(mine)
    execute("UPDATE jobs SET run_at = crm_now() WHERE state = 'queued'")
    run(mine)
    assert counts(mine) == {"accepted": 2}
    assert len(rows(Job, Job.task == "messages.send")) == 2
    assert len(rows(Message)) == 2
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)


def test_an_answer_that_cannot_be_kept_takes_no_other_with_it_and_is_not_sent_again(
    shop: Demo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *_ = people(shop, 6)
    keep = outcomes.keep

    def picky(session: Any, campaign_id: uuid.UUID, answers: Any) -> None:
        if any(each.order.message.contact_id == str(bad) for each in answers):
            raise ValueError("a character that no table takes")
        keep(session, campaign_id, answers)

    monkeypatch.setattr(outcomes, "keep", picky)
    mine = campaign(shop, SALE)
    run(mine)
    assert counts(mine) == {"accepted": 5, "sending": 1}
    new("campaigns.supervise_all")
    go_on()
    assert counts(mine) == {"accepted": 5, "unknown": 1}
    assert [message.contact_id for message in rows(Message, Message.state == "unknown")] == [bad]
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


@pytest.mark.parametrize(("crashes", "goes_on"), [(2, True), (5, False)])
def test_a_pump_that_waits_after_the_death_of_its_worker_keeps_nobody_waiting_unless_it_is_to_blame(
    shop: Demo, sandbox: Sandbox, crashes: int, goes_on: bool
) -> None:
    people(shop, 6)
    mine = campaign(shop, SALE)
    start(mine)
    while not (pumps := rows(Job, Job.task == "campaigns.pump")):
        for job in rows(Job, Job.state == "queued"):
            hooks.run_one(job.id, job.queue)
    dying = Pump(mine, 0, 0, take(pumps[0].id))
    dying._most = 2
    cut_off = db.retrying(dying._draw).orders
    assert len(cut_off) == 2
    # As the scheduler leaves it.
    put_off = "state = 'queued', lease_until = NULL, rung_at = NULL, run_at = crm_now() + interval '1 hour'"
    update([pumps[0].id], f"{put_off}, crashes = {crashes}")
    go_on(tasks=["campaigns.supervise"])
    if goes_on:
        assert counts(mine) == {"accepted": 4, "unknown": 2}
        assert set(times(sandbox).values()) == {1}
        proved(sandbox)
    else:
        assert counts(mine) == {"planned": 4, "sending": 2}
        assert times(sandbox) == {}


# --- few a second -----------------------------------------------------------------------------------------------------


def test_who_asks_after_it_does_not_stand_behind_all_that_it_has_still_to_send(shop: Demo) -> None:
    people(shop, 30)
    set_channel(shop, per_second=0.1)
    mine = campaign(shop, SALE, guards={"canary_share": 0})
    start(mine)
    hooks.work_off()
    assert counts(mine) == {"accepted": 1, "planned": 29}
    limit = pacing.limit_of_channel(shop.channel_id, registry.provider("whatsapp"), {"per_second": 0.1})
    assert limit is not None
    (slot,) = pace.reserve_many([Wish([limit], 5)])
    step = timedelta(seconds=1 / limit.rate)
    assert not slot.reserved
    assert slot.wait < 3 * step
    ((wait,),) = execute("SELECT run_at - crm_now() FROM jobs WHERE task = 'campaigns.pump' AND state = 'queued'")
    assert wait < 2 * step


def test_a_long_run_of_those_who_want_nothing_is_passed_by_in_large_steps(
    shop: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first, who may be written to, one is drawn at a time, as one a draw is what the channel takes."""
    first, *_ = people(shop, 201)
    set_channel(shop, per_second=5)
    mine = campaign(shop, SALE, guards={"canary_share": 0})
    execute(
        "INSERT INTO suppressions (id, workspace_id, medium, address, scope, active, reason, actor, changed_at) "
        "SELECT uuidv7(), workspace_id, 'whatsapp', value, 'marketing', true, 'keyword', 'customer', crm_now() "
        "FROM identities WHERE kind = 'phone' AND contact_id <> :first",
        first=first,
    )
    draw, draws = Pump._draw, []

    def counted(self: Pump, session: Session) -> Drawn:
        draws.append(self._most)
        return draw(self, session)

    monkeypatch.setattr(Pump, "_draw", counted)
    run(mine)
    assert counts(mine) == {"accepted": 1, "suppressed": 200}
    assert draws[0] == AT_ONCE
    assert draws[1:8] == [1, 2, 4, 8, 16, 32, 64]
