"""Names that providers tell with their answers, many at once: kept as if each had been learned for itself."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from crm_tasks.contacts import learning, service
from crm_tasks.contacts.learning import Told
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core import db
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import rows


def people(demo: Demo, count: int) -> list[uuid.UUID]:
    with db.transaction() as session:
        made = [Contact(workspace_id=demo.workspace_id, name=f"Person {n}") for n in range(count)]
        session.add_all(made)
    return sorted(each.id for each in made)


def names() -> dict[str, uuid.UUID]:
    return {f"{each.kind}:{each.value}": each.contact_id for each in rows(Identity, Identity.retired_at.is_(None))}


@pytest.mark.parametrize("together", [True, False])
def test_a_name_that_nobody_has_is_kept_and_that_of_another_stays(demo: Demo, together: bool) -> None:
    ann, bo, cy, other = people(demo, 4)
    with db.transaction() as session:
        at = session.scalar(sa.select(db.now()))
        assert at is not None
        service.add_identity(session, demo.workspace_id, other, ("wa_id", "1003"))  # type: ignore[arg-type]
        service.add_identity(session, demo.workspace_id, other, ("wa_id", "1004"))  # type: ignore[arg-type]
        service.retire(session, demo.workspace_id, other, ("wa_id", "1004"), at + timedelta(hours=1))  # type: ignore[arg-type]
    told = [
        Told(demo.workspace_id, ann, "1001", "US.1"),
        Told(demo.workspace_id, bo, "1001", None),  # ann's by then
        Told(demo.workspace_id, bo, "1003", None),
        Told(demo.workspace_id, cy, "1004", None),  # given up only later
    ]
    with db.transaction() as session:
        if together:
            learning.learn_many(session, told[::-1], at=at)
        else:
            for each in told:
                service.learn(session, each.workspace_id, each.contact_id, wa_id=each.wa_id, bsuid=each.bsuid, at=at)
    assert names() == {"wa_id:1001": ann, "bsuid:US.1": ann, "wa_id:1003": other}


def test_hundreds_of_names_cost_a_few_statements(demo: Demo) -> None:
    made = people(demo, 200)
    told = [Told(demo.workspace_id, each, f"1555{n:07d}", None) for n, each in enumerate(made)]
    count = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query ~ 'identities|pg_advisory'"
    ((before,),) = execute(count)
    for _ in range(2):
        with db.transaction() as session:
            learning.learn_many(session, told, at=session.scalar(sa.select(db.now())))  # type: ignore[arg-type]
    ((after,),) = execute(count)
    assert int(after) - int(before) <= 6
    assert sorted(names().values()) == made
