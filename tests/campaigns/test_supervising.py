"""How many pumps a campaign has: as many as its channel's rate needs, of those that the processes can have."""

import pytest

from crm_tasks.campaigns.service import lifecycle, planning, supervising
from crm_tasks.core import db
from crm_tasks.workspaces.models import Channel
from tests.campaigns.audience import SALE, campaign, people
from tests.campaigns.pumping import set_channel
from tests.core.ledger import execute
from tests.fixtures import Demo

_PROCESS = (
    "INSERT INTO processes (id, kind, name, host, pid, queues, tasks, seen_at, stopped_at) "
    "VALUES (gen_random_uuid(), :kind, 'w', 'h', 1, :queues, '{}', now() - cast(:ago AS interval), "
    "        CASE WHEN :stopped THEN now() END)"
)


def lanes(demo: Demo) -> int:
    with db.transaction() as session:
        return supervising.lanes(session, session.get_one(Channel, demo.channel_id))


def process(queue: str = "campaigns", *, kind: str = "worker", ago: str = "0 s", stopped: bool = False) -> None:
    execute(_PROCESS, queues=[queue], kind=kind, ago=ago, stopped=stopped)


@pytest.mark.parametrize(("rate", "pumps"), [(0.5, 1), (80, 1), (1_000, 2), (1_001, 3), (100_000, 6)])
def test_as_many_as_the_rate_needs_and_two_for_each_process(shop: Demo, rate: float, pumps: int) -> None:
    set_channel(shop, per_second=rate)
    for _ in range(3):
        process()
    assert lanes(shop) == pumps


def test_only_processes_that_live_and_take_campaigns_count(shop: Demo) -> None:
    set_channel(shop, per_second=100_000)
    assert lanes(shop) == 2
    process()
    process("messages")
    process(kind="web")
    process(ago="1 hour")
    process(stopped=True)
    assert lanes(shop) == 2
    process()
    assert lanes(shop) == 4


def test_a_pump_has_no_successor_once_there_are_fewer_processes(shop: Demo) -> None:
    set_channel(shop, per_second=100_000)
    people(shop, 1)
    mine = campaign(shop, SALE, guards={"canary_share": 0})
    db.retrying(planning.plan_on, mine)
    with db.transaction() as session:
        lifecycle.start(session, None, mine, actor="a test")
    execute("DELETE FROM jobs WHERE task = 'campaigns.pump'")
    with db.transaction() as session:
        for lane in range(4):
            supervising.hand_on(session, mine, lane, after=0, wait=None, over=False)
    left = execute("SELECT (args ->> 'lane')::int FROM jobs WHERE task = 'campaigns.pump' ORDER BY 1")
    assert left == [(0,), (1,)]


def test_there_are_never_more_than_can_be_cancelled(shop: Demo) -> None:
    set_channel(shop, per_second=100_000)
    for _ in range(20):
        process()
    assert lanes(shop) == supervising.MOST_LANES
