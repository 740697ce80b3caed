"""What stops a campaign by itself: the canary, failures, opt-outs, the template, the number, its budget."""

import uuid
from typing import Any

import pytest

from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.service import guards, lifecycle, planning, supervising
from crm_tasks.campaigns.service.guards import GUARDS, NO_LIMIT
from crm_tasks.core import db
from crm_tasks.core.types import new_id
from tests.campaigns.audience import SALE, campaign, found, go_on, many, run
from tests.core.ledger import execute
from tests.fixtures import Demo

_DELIVER = (
    "UPDATE messages m SET state = CASE WHEN r.position <= :failed THEN 'failed' ELSE 'delivered' END "
    "FROM recipients r WHERE r.message_id = m.id AND r.campaign_id = :campaign AND r.position <= :upto"
)


@pytest.fixture
def sent(shop: Demo) -> uuid.UUID:
    """A running campaign of 200 whose messages are all accepted, as if by its pumps; without a canary."""
    return _sent(shop, 200, canary_share=0)


def _sent(demo: Demo, count: int, **values: Any) -> uuid.UUID:
    many(demo, count)
    mine = campaign(demo, SALE, guards=values)
    db.retrying(planning.plan_on, mine)
    with db.transaction() as session:
        lifecycle.start(session, None, mine, actor="a test")
    _send(demo, mine, count)
    return mine


def _send(demo: Demo, campaign_id: uuid.UUID, upto: int) -> None:
    """Let the recipients up to a position have accepted messages."""
    execute(
        "WITH talks AS (INSERT INTO conversations (id, workspace_id, channel_id, contact_id) "
        "  SELECT gen_random_uuid(), :w, :ch, contact_id FROM recipients WHERE campaign_id = :c AND position <= :upto "
        "    AND message_id IS NULL RETURNING id, contact_id), "
        "made AS (INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, "
        "    type, content, author, occurred_at, accepted_at, provider_id) "
        "  SELECT gen_random_uuid(), :w, :ch, id, contact_id, 'out', 'accepted', 'template', '{}', 'campaign', "
        "    crm_now(), crm_now(), 'wamid.' || contact_id FROM talks RETURNING id, contact_id) "
        "UPDATE recipients r SET message_id = made.id FROM made WHERE r.contact_id = made.contact_id "
        "  AND r.campaign_id = :c",
        w=demo.workspace_id,
        ch=demo.channel_id,
        c=campaign_id,
        upto=upto,
    )


def broken(campaign_id: uuid.UUID) -> str | None:
    """Return the rule that says stop."""
    with db.transaction() as session:
        halt = guards.broken(session, session.get_one(Campaign, campaign_id))
        return halt.rule if halt else None


def deliver(campaign_id: uuid.UUID, upto: int = 200, failed: int = 0) -> None:
    execute(_DELIVER, campaign=campaign_id, upto=upto, failed=failed)


def test_five_in_a_hundred_may_fail_and_six_not(sent: uuid.UUID) -> None:
    deliver(sent, failed=10)
    assert broken(sent) is None
    deliver(sent, failed=11)
    assert broken(sent) == "failures"


def test_fewer_than_a_hundred_prove_nothing(shop: Demo) -> None:
    mine = _sent(shop, 99)
    deliver(mine, failed=90)
    assert broken(mine) is None


def test_halted_it_is_told_held_and_goes_on_with_one_call(sent: uuid.UUID) -> None:
    deliver(sent, failed=11)
    go_on(1)
    mine = found(sent)
    assert mine.state is CampaignState.HALTED
    assert mine.halted_by == {"rule": "failures", "value": "11 of 200 failed", "limit": "5.00%"}
    ((title, severity),) = execute("SELECT title, severity FROM notifications WHERE kind = 'campaign.halted'")
    assert (title, severity) == ("Spring was halted", "error")
    with db.transaction() as session:
        lifecycle.go_on(session, None, sent, actor="a test")
    go_on(2)
    # What it was halted for is seen, and it has nobody left.
    assert found(sent).state is CampaignState.FINISHED


def test_more_than_one_in_a_hundred_who_opt_out_halt_it(sent: uuid.UUID, shop: Demo) -> None:
    word = (
        "INSERT INTO consent_events (id, workspace_id, medium, address, scope, allowed, reason, actor, evidence, "
        "occurred_at) SELECT :id, :w, 'whatsapp', i.value, 'marketing', false, 'keyword', 'customer', '{}', crm_now() "
        "FROM recipients r JOIN identities i ON i.contact_id = r.contact_id WHERE r.position = :p"
    )
    for position in (1, 2):
        execute(word, id=new_id(), w=shop.workspace_id, p=position)
    execute(word, id=new_id(), w=shop.workspace_id, p=2)  # said twice is one who opts out
    assert broken(sent) is None
    execute(word, id=new_id(), w=shop.workspace_id, p=3)
    assert broken(sent) == "opt_outs"


def test_a_paused_template_halts_it(sent: uuid.UUID) -> None:
    execute("UPDATE templates SET status = 'PAUSED' WHERE name = 'spring_sale'")
    assert broken(sent) == "template_paused"


@pytest.mark.parametrize(("event", "rule"), [("FLAGGED", "quality_dropped"), ("UPGRADE", None)])
def test_a_number_that_loses_quality_halts_it(sent: uuid.UUID, shop: Demo, event: str, rule: str | None) -> None:
    execute(
        "INSERT INTO account_updates (id, workspace_id, channel_id, event_id, field, digest, value, occurred_at) "
        "VALUES (:id, :w, :ch, :id, 'phone_number_quality_update', 'x', cast(:v AS json), crm_now())",
        id=new_id(),
        w=shop.workspace_id,
        ch=shop.channel_id,
        v=f'{{"event": "{event}"}}',
    )
    assert broken(sent) == rule


def test_the_canary_goes_first_and_the_rest_when_its_results_are_known(shop: Demo) -> None:
    many(shop, 150)
    mine = campaign(shop, SALE)
    run(mine, rounds=2)
    ((drawn,),) = execute("SELECT count(*) FROM recipients WHERE message_id IS NOT NULL")
    assert drawn == GUARDS["canary_min"] == 20
    assert found(mine).canary_passed_at is None  # accepted, and no more is known
    execute(_DELIVER, campaign=mine, upto=20, failed=0)
    go_on(3)
    assert found(mine).canary_passed_at is not None
    ((drawn,),) = execute("SELECT count(*) FROM recipients WHERE message_id IS NOT NULL")
    assert drawn == 150


def test_a_canary_that_fails_halts_it(shop: Demo) -> None:
    many(shop, 150)
    mine = campaign(shop, SALE)
    run(mine, rounds=2)
    execute(_DELIVER, campaign=mine, upto=20, failed=11)
    go_on(2)
    assert found(mine).halted_by == {
        "rule": "canary",
        "value": "11 of the first 20 failed",
        "limit": "50% of those who go first",
    }
    ((drawn,),) = execute("SELECT count(*) FROM recipients WHERE message_id IS NOT NULL")
    assert drawn == 20


def test_nothing_heard_of_the_canary_for_long_enough_is_good_enough(shop: Demo) -> None:
    many(shop, 150)
    mine = campaign(shop, SALE, guards={"canary_wait": 0})
    run(mine, rounds=4)
    ((drawn,),) = execute("SELECT count(*) FROM recipients WHERE message_id IS NOT NULL")
    assert drawn == 150


@pytest.mark.parametrize(
    ("total", "values", "expected"),
    [(100, {}, 0), (101, {}, 20), (10_000, {}, 100), (10_000, {"canary_share": 0}, 0), (150, {"canary_min": 500}, 150)],
)
def test_how_many_go_first(total: int, values: dict[str, Any], expected: int) -> None:
    assert guards.canary(Campaign(audience_total=total, guards={**GUARDS, **values})) == expected


def test_how_many_may_be_drawn(shop: Demo) -> None:
    many(shop, 150)
    mine = campaign(shop, SALE)
    assert _may(mine) == 0
    with db.transaction() as session:
        lifecycle.start(session, None, mine, actor="a test")
    assert _may(mine) == 0  # not planned yet
    db.retrying(planning.plan_on, mine)
    assert _may(mine) == 20
    execute("UPDATE campaigns SET canary_passed_at = crm_now()")
    assert _may(mine) == NO_LIMIT
    with db.transaction() as session:
        lifecycle.pause(session, None, mine, actor="a test")
    assert _may(mine) == 0


def _may(campaign_id: uuid.UUID) -> int:
    with db.transaction() as session:
        return guards.may_send(session, session.get_one(Campaign, campaign_id))


def test_the_budget_is_never_overdrawn_and_what_was_refused_comes_back(shop: Demo) -> None:
    mine = _sent(shop, 3)
    execute("UPDATE campaigns SET budget = 100, spent = 0")
    with db.transaction() as session:
        kept = session.get_one(Campaign, mine)
        assert guards.afford(session, kept, [40, 40, 40]) == 2
        assert kept.spent == 80
        assert guards._budget(session, kept)
    execute("UPDATE messages SET cost = 40, state = 'failed', accepted_at = NULL WHERE contact_id = "
            "(SELECT contact_id FROM recipients WHERE position = 1)")  # fmt: skip
    execute("UPDATE messages SET cost = 40 WHERE contact_id = (SELECT contact_id FROM recipients WHERE position = 2)")
    with db.transaction() as session:
        kept = session.get_one(Campaign, mine)
        assert guards.afford(session, kept, [40]) == 1
        assert kept.spent == 80
        assert kept.budget_asked is None


def test_pumps_that_keep_failing_halt_it(sent: uuid.UUID) -> None:
    execute(
        "INSERT INTO jobs (id, task, queue, args, state, max_attempts, attempt, claim_no, started_at, finished_at, "
        "serial_key, scopes) SELECT gen_random_uuid(), 'campaigns.pump', 'campaigns', '{}', 'dead', 2, 2, 2, now(), "
        "crm_now(), :key, '{}' FROM generate_series(1, 3)",
        key=supervising.pump_key(sent, 0),
    )
    assert broken(sent) == "pump_failed"
