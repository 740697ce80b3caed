"""Workers that die, stand still, or lose Postgres while they send a campaign: nobody is lost, nobody gets it twice."""

import os
import signal
import time
import uuid
from typing import Any

import psycopg
import pytest

from crm_tasks.campaigns.pump import Pump
from crm_tasks.campaigns.service import lifecycle, outcomes
from crm_tasks.campaigns.service.drawing import Drawn
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
from tests.campaigns.audience import SALE, campaign, counts, many, people, run
from tests.campaigns.pumping import (
    HELLO,
    LONG,
    finished,
    messages,
    numbers,
    proved,
    received,
    sending,
    set_channel,
    start,
    take,
    times,
)
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import Program, eventually
from tests.messages.apply import rows
from tests.messages.outgoing import fault
from tests.outside import Sandbox

RATE = 100


def begun(demo: Demo, sandbox: Sandbox, count: int) -> uuid.UUID:
    """Return a campaign that runs, at a provider that takes its time."""
    many(demo, count)
    set_channel(demo, per_second=RATE)
    sandbox.faults(fault(delay=0.4), fault(statuses="none"))
    mine = campaign(demo, HELLO, guards={"canary_share": 0})
    start(mine)
    return mine


def in_the_middle(sandbox: Sandbox, after: int) -> None:
    """Wait until so many have it, and some are being sent to."""
    eventually(lambda: len(received(sandbox)) >= after and sending() > 0, f"{after} have it", LONG)


@pytest.mark.slow
def test_killed_again_and_again_nobody_gets_it_twice_and_only_what_was_under_way_is_unknown(
    shop: Demo, sandbox: Sandbox, fleet: Program
) -> None:
    mine = begun(shop, sandbox, 600)
    cut_off = 0
    for after in (80, 250, 400):
        in_the_middle(sandbox, after)
        fleet.kill()
        cut_off += sending()
        fleet.start(" ready.")
    figures = finished(mine, 120)
    assert figures["accepted"] + figures["unknown"] == 600
    assert 0 < figures["unknown"] <= cut_off
    got = times(sandbox)
    assert set(got.values()) == {1}
    # Whoever is missing there is unknown here, and the other way round nobody is accepted who did not get it.
    accepted = {str(message.id) for message in messages(mine) if message.state == "accepted"}
    assert accepted <= {entry["biz_opaque_callback_data"] for entry in received(sandbox)}
    assert len(got) >= figures["accepted"]
    proved(sandbox)


def test_cancelled_after_its_worker_died_nobody_is_left_as_being_sent_to(
    shop: Demo, sandbox: Sandbox, fleet: Program
) -> None:
    mine = begun(shop, sandbox, 300)
    in_the_middle(sandbox, 50)
    fleet.kill()
    cut_off = sending()
    take(lifecycle.cancel, mine)
    fleet.start(" ready.")
    eventually(lambda: not rows(Job, Job.task == "campaigns.pump", Job.state.in_(("queued", "running"))), "over", LONG)
    execute("UPDATE calendar SET next_at = crm_now() WHERE entry = 'campaigns'")
    eventually(lambda: sending() == 0, "nobody is being sent to", LONG)
    figures = counts(mine)
    assert figures == {"accepted": figures["accepted"], "unknown": cut_off, "cancelled": figures["cancelled"]}
    assert sum(figures.values()) == 300
    assert set(times(sandbox).values()) == {1}
    proved(sandbox)


def test_postgres_that_starts_again_in_the_middle_costs_nobody_their_message(
    shop: Demo, sandbox: Sandbox, fleet: Program
) -> None:
    mine = begun(shop, sandbox, 400)
    for after in (60, 200):
        in_the_middle(sandbox, after)
        crash_postgres()
    assert finished(mine, 120) == {"accepted": 400}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def crash_postgres() -> None:
    """Kill a server process of Postgres: it ends all the others, and recovers as after a power loss."""
    with psycopg.connect(db.psycopg_url()) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        eventually(lambda: _is_cut(connection), "the connection is cut")
    eventually(_answers, "Postgres answers", LONG)


def _is_cut(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False


def _answers() -> bool:
    try:
        execute("SELECT 1")
    except Exception:  # noqa: BLE001  it recovers
        return False
    return True


def test_a_worker_that_stood_still_sends_nothing_that_another_has_taken_over(
    shop: Demo, sandbox: Sandbox, fleet: Program
) -> None:
    mine = begun(shop, sandbox, 300)
    in_the_middle(sandbox, 50)
    fleet.signal(signal.SIGSTOP)
    try:
        cut_off = sending()
        eventually(lambda: rows(Job, Job.task == "campaigns.pump", Job.crashes > 0), "its lease is over", LONG)
    finally:
        fleet.signal(signal.SIGCONT)
    figures = finished(mine, 120)
    assert figures["accepted"] + figures.get("unknown", 0) == 300
    assert figures.get("unknown", 0) <= cut_off
    assert set(times(sandbox).values()) == {1}
    proved(sandbox)


# --- in this process: what cannot be brought about from outside ---------------------------------------------------


def test_marked_by_a_commit_of_which_nobody_heard_they_are_sent_all_the_same(
    shop: Demo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(shop, 6)
    heed, lost = Pump._heed, []

    def deaf(self: Pump, drawn: Drawn) -> None:
        if drawn.orders and not lost:
            lost.extend(drawn.orders)
            drawn = Drawn(drawn.after)
        heed(self, drawn)

    monkeypatch.setattr(Pump, "_heed", deaf)
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

    def stand_still(self: Pump, order: Any) -> None:
        stood.append(order)
        self._claim.lease_end = time.monotonic()
        send(self, order)

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
