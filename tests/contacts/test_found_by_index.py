"""With a million contacts a person is found by an index: it happens for each message in and each send."""

from datetime import UTC, datetime

import sqlalchemy as sa

from crm_tasks.campaigns.service import guards
from crm_tasks.contacts import service
from crm_tasks.core import db
from tests.fixtures import Demo
from tests.plans import asked, plan

NAMES = service.Names(wa_id="15550001111", bsuid="US.1", email="ann@example.com")


def test_whose_a_name_is_or_was_is_found_by_an_index_for_each(demo: Demo) -> None:
    def look() -> None:
        with db.transaction() as session:
            service.whose(session, demo.workspace_id, NAMES.keys(), datetime.now(UTC))

    queries = [each for each in asked(look) if "FROM identities" in each[0]]
    assert queries
    for statement, values in queries:
        found = plan(statement, values)
        assert "Seq Scan" not in found
        assert "uq_identities_value" in found
        assert "ix_identities_retired" in found


def test_who_refused_since_a_campaign_began_is_found_by_an_index(demo: Demo) -> None:
    values = {
        "campaign": demo.workspace_id,
        "workspace": demo.workspace_id,
        "since": datetime.now(UTC),
        "kinds": ["phone", "email"],
    }

    def look() -> None:
        with db.transaction() as session:
            session.execute(sa.text(guards._REFUSED), values)

    ((statement, bound),) = asked(look)
    assert "uq_identities_value" in plan(statement, bound, "hashjoin", "mergejoin")
