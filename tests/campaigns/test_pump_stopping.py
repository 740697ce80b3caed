"""A campaign that is stopped while it runs, by its people, by its recipients: what was being sent arrives, no more."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.campaigns.service import lifecycle
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
from tests.campaigns.audience import SALE, campaign, counts, found, many
from tests.campaigns.pumping import (
    LONG,
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
)
from tests.core.ledger import execute, new
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import rows
from tests.messages.outgoing import fault
from tests.outside import Sandbox, Site

pytestmark = pytest.mark.usefixtures("fleet")
# So many are drawn at once at the rate of these tests: see `pacing.soon`.
RATE, A_DRAW = 100, 10


def begun(demo: Demo, sandbox: Sandbox, count: int, after: int) -> uuid.UUID:
    """Return a campaign of so many that runs, when so many of them have it."""
    many(demo, count)
    set_channel(demo, per_second=RATE)
    sandbox.faults(fault(delay=0.2), fault(statuses="none"))
    mine = campaign(demo, SALE, guards={"canary_share": 0})
    start(mine)
    eventually(lambda: len(received(sandbox)) >= after, f"{after} have it", LONG)
    return mine


def stopped(mine: uuid.UUID, step: Callable[..., Any]) -> int:
    """Take a step that stops it, and return how many have a message when that is acknowledged."""
    take(step, mine)
    return execute("SELECT count(*) FROM recipients WHERE message_id IS NOT NULL")[0][0]


def still() -> bool:
    """Say whether nothing is under way, and no pump that was there at the stop still works."""
    return not rows(Message, Message.state == "sending") and not rows(
        Job, Job.task == "campaigns.pump", Job.state == "running"
    )


def test_paused_it_sends_what_was_being_sent_and_no_more_and_resumed_the_rest(shop: Demo, sandbox: Sandbox) -> None:
    mine = begun(shop, sandbox, 400, after=60)
    marked = stopped(mine, lifecycle.pause)
    eventually(still, "all quiet", LONG)
    sent = len(received(sandbox))
    # Whoever looked before the pause may have marked once more.
    assert sent <= marked + A_DRAW
    assert counts(mine) == {"accepted": sent, "planned": 400 - sent}
    # Nothing takes it up again by itself: its jobs are held, and who looks after all campaigns leaves it alone.
    new("campaigns.supervise_all")
    looked = lambda: rows(Job, Job.task == "campaigns.supervise_all", Job.state == "succeeded")  # noqa: E731
    eventually(looked, "all campaigns are looked after", LONG)
    assert len(received(sandbox)) == sent

    take(lifecycle.resume, mine)
    assert finished(mine) == {"accepted": 400}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


def test_cancelled_it_sends_what_was_being_sent_and_the_others_are_cancelled(shop: Demo, sandbox: Sandbox) -> None:
    mine = begun(shop, sandbox, 400, after=60)
    marked = stopped(mine, lifecycle.cancel)
    eventually(lambda: still() and "planned" not in counts(mine), "all quiet", LONG)
    sent = len(received(sandbox))
    assert sent <= marked + A_DRAW
    assert counts(mine) == {"accepted": sent, "cancelled": 400 - sent}
    assert set(times(sandbox).values()) == {1}
    eventually(lambda: not rows(Job, Job.state.in_(("queued", "running"))), "no job is left of it", LONG)
    proved(sandbox)


def test_a_worker_that_starts_while_it_is_paused_sends_nothing_of_it(shop: Demo, sandbox: Sandbox, fleet: Any) -> None:
    mine = begun(shop, sandbox, 300, after=40)
    take(lifecycle.pause, mine)
    eventually(still, "all quiet", LONG)
    sent = len(received(sandbox))
    fleet.stop()
    fleet.start(" ready.")
    eventually(lambda: execute("SELECT count(*) FROM processes WHERE pid = :pid", pid=fleet.pid)[0][0], "it is there")
    assert len(received(sandbox)) == sent
    take(lifecycle.resume, mine)
    assert finished(mine) == {"accepted": 300}
    assert times(sandbox) == dict.fromkeys(numbers(mine), 1)
    proved(sandbox)


@pytest.mark.slow
def test_who_writes_stop_in_the_middle_gets_nothing_from_then_on(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    mine = begun(shop, sandbox, 2_000, after=300)
    tired = numbers(mine)[-1_200:-200:5]
    assert len(tired) == 200
    says = [{"from": number, "type": "text", "text": {"body": "STOP"}} for number in tired]
    sandbox.control("POST", "inbound?wait=60", says)
    eventually(lambda: _suppressed() == 200, "all of them are suppressed", LONG)
    (moment,) = execute("SELECT clock_timestamp()")[0]
    journal = received(sandbox)
    assert found(mine).state is CampaignState.RUNNING
    assert len(journal) < 1_800

    figures = finished(mine, 120)
    after = [entry["to"].lstrip("+") for entry in received(sandbox)[len(journal) :] if _is_ours(entry)]
    began = {number: message.occurred_at for number, message in zip(_reached(mine), messages(mine), strict=True)}
    # Only who was being sent to when it was written down: whoever was looked at later was left out.
    late = set(after) & set(tired)
    assert [number for number in late if began[number] > moment] == []
    assert len(late) <= A_DRAW
    reached = set(tired) & set(times(sandbox)) & set(began)
    assert figures == {"accepted": 2_000 - (200 - len(reached)), "suppressed": 200 - len(reached)}
    assert set(reasons(mine).values()) == {"suppressed"}
    sent = [entry["to"] for entry in received(sandbox) if _is_ours(entry)]
    assert len(sent) == len(set(sent)) == figures["accepted"]
    proved(sandbox)


def _suppressed() -> int:
    return execute("SELECT count(DISTINCT address) FROM suppressions WHERE active AND medium IN ('*', 'whatsapp')")[0][
        0
    ]


def _is_ours(entry: dict[str, Any]) -> bool:
    """Say whether it is of the campaign, and no answer to somebody's STOP."""
    return entry["body"]["type"] == "template"


def _reached(mine: uuid.UUID) -> list[str]:
    found = execute(
        "SELECT i.value FROM recipients r JOIN identities i ON i.contact_id = r.contact_id AND i.kind = 'phone' "
        "WHERE r.campaign_id = :mine AND r.message_id IS NOT NULL ORDER BY r.position",
        mine=mine,
    )
    return [value.lstrip("+") for (value,) in found]
