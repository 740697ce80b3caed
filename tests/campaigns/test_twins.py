"""Who is known to be the same person as another recipient gets a campaign once."""

import uuid

import pytest

from crm_tasks.campaigns.service import planning
from crm_tasks.core import db
from tests.campaigns.audience import campaign, people, recipients
from tests.core.ledger import execute
from tests.fixtures import Demo


def same(contact_id: uuid.UUID, other: uuid.UUID) -> None:
    execute("UPDATE contacts SET duplicate_of = :other WHERE id = :id", id=contact_id, other=other)


def left_out(demo: Demo, *audience: uuid.UUID) -> list[uuid.UUID]:
    """Plan a campaign and return who gets nothing."""
    mine = campaign(demo, audience={"contact_ids": [str(each) for each in audience]})
    while db.retrying(planning.plan_on, mine):
        pass
    found = recipients(mine)
    assert {each.contact_id for each in found} == set(audience)
    assert all((each.reason or {}).get("rule") == "duplicate" for each in found if each.state == "suppressed")
    return [each.contact_id for each in found if each.state == "suppressed"]


@pytest.mark.parametrize("at_once", [1, 5_000])
def test_of_those_who_are_one_person_one_is_sent_to(demo: Demo, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(planning, "_TWINS_AT_ONCE", at_once)
    first, second, third, fourth, alone, absent = people(demo, 6)
    same(second, first)  # the second is said to be the first
    same(third, fourth), same(fourth, third)  # two that name each other
    same(alone, absent)  # whom this campaign does not mean
    assert left_out(demo, first, second, third, fourth, alone) == [second, fourth]


def test_of_a_chain_the_first_is_sent_to(demo: Demo) -> None:
    first, second, third = people(demo, 3)
    same(third, second), same(second, first)
    assert left_out(demo, first, second, third) == [second, third]
    assert left_out(demo, first, third) == []  # who links them is not meant
