"""The life of a campaign: every step by the table, each done once, stopped and let go on, at its time."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_tasks.campaigns.models import TRANSITIONS, CampaignState
from crm_tasks.campaigns.service import drafting, lifecycle, planning, retrying, states, watching
from crm_tasks.campaigns.service.guards import Halt
from crm_tasks.core import db, holds
from crm_tasks.core.errors import Conflict, DomainError
from crm_tasks.core.jobs.model import Hold, Job
from tests.campaigns.audience import SALE, campaign, counts, found, go_on, night, people, run, work_off
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import rows
from tests.webhooks import hooks


def act(action: Callable[..., Any], campaign_id: uuid.UUID) -> Any:
    """Do what a person does."""
    with db.transaction() as session:
        return action(session, None, campaign_id, actor="a test")


def jobs(task: str) -> list[Job]:
    return rows(Job, Job.task == task)


def in_force(campaign_id: uuid.UUID) -> list[Hold]:
    with db.transaction() as session:
        return holds.in_force(session, [f"campaign:{campaign_id}"])


def test_a_campaign_runs_to_its_end_and_tells_of_it(shop: Demo) -> None:
    people(shop, 3)
    mine = campaign(shop, SALE)
    assert found(mine).state is CampaignState.DRAFT
    run(mine)
    assert found(mine).state is CampaignState.FINISHED
    assert counts(mine) == {"accepted": 3}
    ((title, text),) = execute("SELECT title, text FROM notifications WHERE kind = 'campaign.finished'")
    assert (title, text) == ("Spring is finished", "3 recipients: 3 accepted.")


def test_started_twice_it_starts_once(shop: Demo) -> None:
    people(shop, 3)
    mine = campaign(shop, SALE)
    first, second = act(lifecycle.start, mine), act(lifecycle.start, mine)
    assert first.started_at == second.started_at
    assert len(jobs("campaigns.supervise")) == 1
    go_on()
    assert act(lifecycle.start, mine).state is CampaignState.FINISHED
    assert counts(mine) == {"accepted": 3}
    assert execute("SELECT count(*) FROM messages WHERE direction = 'out'") == [(3,)]


def test_nothing_goes_while_it_is_paused_and_all_goes_after(shop: Demo) -> None:
    people(shop, 3)
    mine = campaign(shop, SALE)
    act(lifecycle.start, mine)
    act(lifecycle.pause, mine)
    assert act(lifecycle.pause, mine).state is CampaignState.PAUSED
    (hold,) = in_force(mine)
    assert hold.reason == "Spring is paused"
    go_on()
    assert counts(mine) == {}  # not even planned: its jobs are held
    act(lifecycle.resume, mine)
    assert act(lifecycle.resume, mine).state is CampaignState.RUNNING
    assert in_force(mine) == []
    _let_go()
    go_on()
    assert counts(mine) == {"accepted": 3}


def _let_go() -> None:
    with db.transaction() as session:
        holds.let_go(session)


def test_cancelled_who_waits_is_cancelled_too(shop: Demo) -> None:
    people(shop, 5)
    mine = campaign(shop, SALE)
    act(lifecycle.start, mine)
    db.retrying(planning.plan_on, mine)
    act(lifecycle.cancel, mine)
    assert act(lifecycle.cancel, mine).state is CampaignState.CANCELLED
    go_on()
    assert counts(mine) == {"cancelled": 5}
    assert found(mine).audience_total == 5
    assert {job.state for job in jobs("campaigns.supervise")} == {"cancelled"}
    with pytest.raises(Conflict) as refused:
        act(lifecycle.start, mine)
    assert refused.value.code == "campaign_cancelled"


def test_messages_that_wait_are_cancelled_with_it(shop: Demo) -> None:
    people(shop, 4, time_zone="UTC")
    mine = campaign(shop, SALE)
    night(shop, "UTC")
    act(lifecycle.start, mine)
    go_on()
    assert counts(mine) == {"queued": 4}
    act(lifecycle.cancel, mine)
    go_on()
    assert counts(mine) == {"cancelled": 4}
    assert {job.state for job in jobs("messages.send")} == {"cancelled"}


def test_it_starts_at_its_time(shop: Demo, clock: Callable[[str], None]) -> None:
    people(shop, 2)
    with db.transaction() as session:
        at = session.scalars(sa.select(db.now() + timedelta(hours=3))).one()
    mine = campaign(shop, SALE, scheduled_for=at)
    assert found(mine).state is CampaignState.SCHEDULED
    assert act(lifecycle.start, mine).state is CampaignState.SCHEDULED  # it would be too early
    go_on()
    assert found(mine).started_at is None
    clock("now() + interval '3 hours 1 minute'")
    go_on()
    assert found(mine).state is CampaignState.FINISHED
    assert counts(mine) == {"accepted": 2}


def test_moved_to_later_it_starts_then_and_taken_off_not_at_all(shop: Demo, clock: Callable[[str], None]) -> None:
    with db.transaction() as session:
        at = session.scalars(sa.select(db.now() + timedelta(hours=1))).one()
    moved, taken = campaign(shop, SALE, scheduled_for=at), campaign(shop, SALE, scheduled_for=at)
    with db.transaction() as session:
        drafting.change(session, shop.workspace_id, moved, {"scheduled_for": at + timedelta(hours=5)}, actor="a test")
        drafting.change(session, shop.workspace_id, taken, {"scheduled_for": None}, actor="a test")
    clock("now() + interval '2 hours'")
    work_off()
    assert found(moved).state is CampaignState.SCHEDULED
    clock("now() + interval '7 hours'")
    go_on()
    assert found(moved).state is CampaignState.FINISHED
    assert found(taken).state is CampaignState.DRAFT


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        ("2027-06-01T09:00:00", "2027-06-01T07:00:00+00:00"),
        ("2027-03-28T02:30:00", "2027-03-28T01:00:00+00:00"),  # there is no half past two
        ("2027-10-31T02:30:00", "2027-10-31T00:30:00+00:00"),  # there are two: the first
    ],
)
def test_a_local_time_is_that_of_its_zone(shop: Demo, clock: Callable[[str], None], local: str, instant: str) -> None:
    clock("timestamptz '2026-12-01 00:00+00'")
    mine = campaign(shop, SALE, scheduled_for=datetime.fromisoformat(local), time_zone="Europe/Berlin")
    assert found(mine).scheduled_for == datetime.fromisoformat(instant)


def test_the_audience_cannot_change_once_it_runs(shop: Demo) -> None:
    mine = campaign(shop, SALE)
    act(lifecycle.start, mine)
    with db.transaction() as session, pytest.raises(Conflict) as refused:
        drafting.change(session, shop.workspace_id, mine, {"audience": {"tags": ["vip"]}}, actor="a test")
    assert refused.value.code == "campaign_running"
    with db.transaction() as session:
        assert drafting.change(session, shop.workspace_id, mine, {"name": "Summer"}, actor="a test").name == "Summer"


def test_of_the_failed_those_of_a_code_are_sent_again_and_no_unknown(shop: Demo) -> None:
    people(shop, 4)
    mine = campaign(shop, SALE)
    run(mine)
    execute(
        "UPDATE messages m SET state = CASE r.position WHEN 3 THEN 'unknown' ELSE 'failed' END, failed_at = now(), "
        "error = jsonb_build_object('code', CASE r.position WHEN 1 THEN 131026 ELSE 131000 END) "
        "FROM recipients r WHERE r.message_id = m.id AND r.position <= 3"
    )
    with db.transaction() as session:
        retrying.ask(session, None, mine, ["131026"], actor="a test")
    go_on()
    assert counts(mine) == {"accepted": 2, "failed": 1, "unknown": 1}
    with db.transaction() as session:
        retrying.ask(session, None, mine, [], actor="a test")
    go_on()
    assert counts(mine) == {"accepted": 3, "unknown": 1}
    assert found(mine).state is CampaignState.FINISHED
    assert execute("SELECT count(*) FROM messages WHERE state = 'failed'") == [(2,)]  # the first attempts stay


def test_planning_goes_on_where_it_was_killed_and_plans_each_once(shop: Demo) -> None:
    people(shop, 7)
    mine = campaign(shop, SALE)
    assert db.retrying(planning.plan_on, mine, chunk=3)
    try:
        with db.transaction() as session:
            planning.plan_on(session, mine, chunk=3)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    while db.retrying(planning.plan_on, mine, chunk=3):
        continue
    assert found(mine).audience_total == 7
    assert execute("SELECT count(*), count(DISTINCT contact_id), max(position) FROM recipients") == [(7, 7, 7)]


STEPS: dict[str, Callable[..., Any]] = {
    "start": lifecycle.start,
    "pause": lifecycle.pause,
    "resume": lifecycle.resume,
    "continue": lifecycle.go_on,
    "cancel": lifecycle.cancel,
}


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.sampled_from([*STEPS, "halt", "finish", "again", "due"]), min_size=1, max_size=12))
def test_no_order_of_steps_leaves_the_table(empty: None, steps: list[str]) -> None:
    """Each step is one of the table or refused; held it is exactly while it is stopped; said twice it is done once."""
    execute("TRUNCATE campaigns, workspaces, channels, jobs, holds CASCADE")
    mine = campaign(make_demo())
    for step in steps:
        before = found(mine).state
        _take(step, mine)
        after = found(mine)
        assert after.state is before or after.state in TRANSITIONS[before], (step, before, after.state)
        stopped = after.state in (CampaignState.PAUSED, CampaignState.HALTED)
        own = [hold for hold in in_force(mine) if hold.expires_at is None]
        assert [hold.id for hold in own] == ([after.hold_id] if stopped else [])
        assert (after.halted_by is not None) == (after.state is CampaignState.HALTED)
        _take(step, mine)
        assert found(mine).state is after.state


def _take(step: str, campaign_id: uuid.UUID) -> None:
    try:
        with db.transaction() as session:
            if step in STEPS:
                STEPS[step](session, None, campaign_id, actor="a test")
                return
            mine = states.get(session, None, campaign_id, lock=True)
            if step == "halt":
                watching.halt(session, mine, Halt("failures", "6 of 100 failed", "5%"))
            elif step == "finish":
                watching.finish(session, mine)
            elif step == "due":
                lifecycle.start_due(session, campaign_id)
            else:
                lifecycle.run_again(session, mine, actor="a test")
    except DomainError as refused:
        assert isinstance(refused, Conflict)


def test_the_end_is_told_to_the_businesss_own_systems(shop: Demo) -> None:
    hooks.add(shop, "https://receiver.example.test/", "campaign.finished")
    people(shop, 2)
    mine = campaign(shop, SALE)
    run(mine)
    ((body,),) = execute("SELECT body FROM webhook_events WHERE type = 'campaign.finished'")
    assert f'"campaign_id":"{mine}"'.encode() in body
    assert b'"accepted":2' in body
