"""The rehearsal: exact counts, the same that come; what it takes and costs; and what differed."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.campaigns.service import planning, recipients, rehearsal
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Contact, Identity, SuppressionScope
from crm_tasks.core import db
from crm_tasks.messages.models import Conversation, Direction, Message
from crm_tasks.messages.service.conversations import conversation
from crm_tasks.workspaces.models import Channel
from tests.campaigns import audience
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
    run,
    work_off,
)
from tests.core.ledger import execute
from tests.fixtures import Demo


def rehearse(demo: Demo, campaign_id: uuid.UUID) -> dict[str, Any]:
    """Rehearse a campaign and return what it says."""
    with db.transaction() as session:
        rehearsal.ask(session, demo.workspace_id, campaign_id, actor="a test")
    work_off()
    report = found(campaign_id).rehearsal
    assert report is not None
    return report


def said(report: dict[str, Any]) -> dict[str, int]:
    """Return the outcomes that there are."""
    return {name: count for name, count in report["outcomes"].items() if count}


def every_class(demo: Demo) -> None:
    """Make an audience that holds every class: two that are sent to, one of each other."""
    attribute(demo, "discount")
    values: dict[str, Any] = {"attributes": {"discount": "20 %"}, "time_zone": "UTC"}
    first, *_ = people(demo, 2, **values)
    person(demo, 10, **values, duplicate_of=first)
    opted_out, unnamed = person(demo, 11, **values), person(demo, 12, **values)
    person(demo, 13, time_zone="UTC")  # without a discount
    capped = person(demo, 14, **values)
    person(demo, 15, **{**values, "time_zone": "Asia/Tokyo"})
    answered = person(demo, 16, **values)
    with db.transaction() as session:
        moment = session.scalars(sa.select(db.now())).one()
        suppression.suppress_contact(
            session,
            demo.workspace_id,
            opted_out,
            medium="whatsapp",
            scope=SuppressionScope.MARKETING,
            reason="keyword",
            actor="customer",
            evidence={},
            at=moment,
        )
        session.execute(sa.delete(Identity).where(Identity.contact_id == unnamed))
        channel = session.get_one(Channel, demo.channel_id)
        for each in (capped, answered):
            conversation(session, channel, each)
        session.execute(
            sa.update(Conversation).where(Conversation.contact_id == answered).values(human_since=moment, human_by="Bo")
        )
        where = conversation(session, channel, capped)
        session.add(
            Message(
                workspace_id=demo.workspace_id,
                channel_id=demo.channel_id,
                conversation_id=where,
                contact_id=capped,
                direction=Direction.OUT,
                state="delivered",
                type="template",
                content={},
                author="campaign",
                occurred_at=moment,
                accepted_at=moment,
                category="marketing",
                provider_id="wamid.earlier",
            )
        )
    put(demo, "frequency_cap", {"messages": 1, "days": 7})
    night(demo, "Asia/Tokyo")


EXPECTED = {
    "will_be_sent": 2,
    "duplicate": 1,
    "opted_out": 1,
    "no_identity": 1,
    "missing_parameter": 1,
    "capped": 1,
    "quiet_hours": 1,
    "human_took_over": 1,
}


def test_every_class_is_counted_and_comes_as_forecast(shop: Demo) -> None:
    every_class(shop)
    mine = campaign(shop, DISCOUNT)
    report = rehearse(shop, mine)
    assert said(report) == EXPECTED
    assert sum(report["outcomes"].values()) == report["audience"] == 9
    run(mine)
    assert counts(mine) == {"accepted": 2, "suppressed": 5, "queued": 2}
    with db.transaction() as session:
        assert recipients.differences(session, mine) == []
    assert found(mine).state is CampaignState.RUNNING  # two were put off, and are not forgotten


def test_what_changed_since_is_listed_with_its_cause(shop: Demo) -> None:
    every_class(shop)
    mine = campaign(shop, DISCOUNT)
    rehearse(shop, mine)
    (sent, *_) = [each for each in audience.recipients(mine) if each.forecast == "will_be_sent"]
    with db.transaction() as session:
        moment = session.scalars(sa.select(db.now())).one()
        suppression.suppress_contact(
            session,
            shop.workspace_id,
            sent.contact_id,
            medium="whatsapp",
            scope=SuppressionScope.ALL,
            reason="keyword",
            actor="customer",
            evidence={},
            at=moment,
        )
    run(mine)
    with db.transaction() as session:
        (row,) = recipients.differences(session, mine)
    assert (row.contact_id, row.forecast, row.result, row.code) == (
        sent.contact_id,
        "will_be_sent",
        "opted_out",
        "suppressed",
    )
    assert "keyword" in row.reason


def test_free_text_goes_to_those_inside_the_window(shop: Demo) -> None:
    inside, _ = people(shop, 2)
    with db.transaction() as session:
        where = conversation(session, session.get_one(Channel, shop.channel_id), inside)
        session.execute(sa.update(Conversation).where(Conversation.id == where).values(last_inbound_at=db.now()))
    mine = campaign(shop, TEXT)
    assert said(rehearse(shop, mine)) == {"will_be_sent": 1, "window_closed": 1}
    run(mine)
    assert counts(mine) == {"accepted": 1, "suppressed": 1}
    assert found(mine).state is CampaignState.FINISHED


def test_cost_is_by_country_and_category_and_the_budget_ends_it(shop: Demo) -> None:
    attribute(shop, "discount")
    people(shop, 4, attributes={"discount": "20 %"})
    for number in range(3):
        person(shop, number, prefix="+4915122233", attributes={"discount": "5 %"})
    prices = {"whatsapp_marketing": 0.02, "countries": {"DE": {"whatsapp_marketing": 0.11}}}
    put(shop, "prices", prices)
    mine = campaign(shop, DISCOUNT, budget=200_000)
    report = rehearse(shop, mine)
    # 4 × 0.02 and 1 × 0.11 of 0.20; a second of 0.11 would be too much.
    assert said(report) == {"will_be_sent": 5, "over_budget": 2}
    assert report["cost"]["total"] == pytest.approx(0.19)
    assert [(each["country"], each["category"], each["messages"]) for each in report["cost"]["by"]] == [
        ("DE", "marketing", 1),
        ("US", "marketing", 4),
    ]
    run(mine)
    assert counts(mine) == {"accepted": 5, "planned": 2}
    assert found(mine).state is CampaignState.HALTED
    assert found(mine).halted_by["rule"] == "budget"  # type: ignore[index]
    (total,) = execute("SELECT sum(cost) FROM messages")[0]
    assert total == 190_000


def test_the_workspaces_budget_is_counted_over_all_chunks(shop: Demo) -> None:
    attribute(shop, "discount")
    people(shop, 7, attributes={"discount": "20 %"})
    put(shop, "prices", {"whatsapp": 1})
    put(shop, "budget", {"amount": 5, "per": "month"})
    mine = campaign(shop, DISCOUNT)
    with db.transaction() as session:
        rehearsal.ask(session, shop.workspace_id, mine, actor="a test")
    while db.retrying(planning.plan_on, mine, chunk=3):
        continue
    while db.retrying(rehearsal.rehearse_on, mine, chunk=2):
        continue
    report = found(mine).rehearsal
    assert report is not None
    assert said(report) == {"will_be_sent": 5, "over_budget": 2}


def test_samples_show_five_as_they_would_read_and_keep_no_words(shop: Demo) -> None:
    attribute(shop, "discount")
    people(shop, 8, attributes={"discount": "20 %"})
    mine = campaign(shop, DISCOUNT)
    rehearse(shop, mine)
    with db.transaction() as session:
        shown = rehearsal.samples(session, found(mine))
    assert len(shown) == 5
    assert shown[0]["text"].startswith("Spring is here, Person 0!")
    assert "Person 0" not in str(found(mine).rehearsal)


def test_the_time_is_that_of_the_strictest_limit(shop: Demo) -> None:
    attribute(shop, "discount")
    people(shop, 30, attributes={"discount": "20 %"})
    mine = campaign(shop, DISCOUNT)
    assert rehearse(shop, mine)["time"]["limited_by"] == "channel"
    put(shop, "rate", {"rate": "60/m"})
    report = rehearse(shop, mine)
    assert report["time"]["limited_by"] == "workspace"
    assert report["time"]["seconds"] == pytest.approx(30, rel=0.2)
    channel_allows(shop, 10)
    report = rehearse(shop, mine)
    assert report["time"] == {"seconds": 2 * 86400, "limited_by": "people in 24 hours", "per_second": 0.95}


def test_whom_one_reached_today_is_taken_off_the_limit_of_today(shop: Demo) -> None:
    people(shop, 12, tags=["all"])
    people(shop, 8, prefix="+1415777", tags=["others"])
    person(shop, 0, prefix="+1415888", tags=["one"])
    channel_allows(shop, 20)
    mine, others = (campaign(shop, SALE, audience={"tags": [tag]}) for tag in ("all", "others"))
    run(campaign(shop, SALE, audience={"tags": ["others"]}))
    # The twelve take exactly what the eight have left.
    assert rehearse(shop, mine)["time"]["limited_by"] == "channel"
    run(campaign(shop, SALE, audience={"tags": ["one"]}))
    report = rehearse(shop, mine)["time"]
    assert (report["seconds"], report["limited_by"]) == (86400, "people in 24 hours")
    # Whom one has reached today already costs nothing more.
    channel_allows(shop, 5)
    assert rehearse(shop, others)["time"]["limited_by"] == "channel"


def channel_allows(demo: Demo, people: int) -> None:
    with db.transaction() as session:
        channel = session.get_one(Channel, demo.channel_id)
        channel.settings = {**channel.settings, "unique_per_day": people}


def test_a_rehearsal_begins_anew_and_the_run_follows_its_plan(shop: Demo) -> None:
    attribute(shop, "discount")
    people(shop, 3, attributes={"discount": "20 %"})
    mine = campaign(shop, DISCOUNT)
    rehearse(shop, mine)
    person(shop, 50, attributes={"discount": "20 %"})
    assert rehearse(shop, mine)["audience"] == 4
    person(shop, 51, attributes={"discount": "20 %"})
    with db.transaction() as session:
        session.execute(sa.update(Contact).values(attributes={"discount": "30 %"}))
    run(mine)
    assert counts(mine) == {"accepted": 4}
