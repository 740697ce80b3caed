"""Workers that die, stand still, or lose Postgres while they send a campaign: nobody is lost, nobody gets it twice."""

import os
import signal
import uuid

import psycopg
import pytest

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.campaigns.service import lifecycle
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from tests.campaigns.audience import campaign, counts, found, many
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
from tests.core.ledger import execute, new
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
    # Who has lost two workers waits up to a minute; how long is no matter here.
    eventually(lambda: brought_forward() or found(mine).state is CampaignState.FINISHED, "it is finished", LONG)
    figures = counts(mine)
    assert figures == {"accepted": 600 - figures["unknown"], "unknown": figures["unknown"]}
    assert 0 < figures["unknown"] <= cut_off
    got = times(sandbox)
    assert set(got.values()) == {1}
    # Whoever is missing there is unknown here, and the other way round nobody is accepted who did not get it.
    accepted = {str(message.id) for message in messages(mine) if message.state == "accepted"}
    assert accepted <= {entry["biz_opaque_callback_data"] for entry in received(sandbox)}
    assert len(got) >= figures["accepted"]
    proved(sandbox)


def brought_forward() -> None:
    execute("UPDATE jobs SET run_at = crm_now() WHERE state = 'queued' AND crashes > 0 AND run_at > crm_now()")


def test_cancelled_after_its_worker_died_nobody_is_left_as_being_sent_to(
    shop: Demo, sandbox: Sandbox, fleet: Program
) -> None:
    mine = begun(shop, sandbox, 300)
    in_the_middle(sandbox, 50)
    fleet.kill()
    cut_off = sending()
    take(lifecycle.cancel, mine)
    fleet.start(" ready.")
    # Whatever was sending, pump or ordinary job, is held from now on and comes back to nobody.
    senders = Job.task.in_(("campaigns.pump", "messages.send"))
    eventually(lambda: not rows(Job, senders, Job.state == "running"), "the leases are over", LONG)
    new("campaigns.supervise_all")
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
    killed, other = (psycopg.connect(db.psycopg_url(), autocommit=True) for _ in range(2))
    os.kill(killed.info.backend_pid, signal.SIGKILL)
    # Until the others are ended too it still answers.
    eventually(lambda: _is_cut(other), "all connections are cut")
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
