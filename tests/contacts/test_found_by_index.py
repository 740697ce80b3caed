"""Among very many contacts a person is found by an index: it happens for each message in and each send."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.campaigns.service import guards
from crm_tasks.contacts import service
from crm_tasks.core import db
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.plans import asked, pages_read, plan

NAMES = service.Names(wa_id="15550001111", bsuid="US.1", email="ann@example.com")
# All of them are some hundreds of pages.
MANY, FEW_PAGES = 20_000, 40


@pytest.fixture
def many(demo: Demo) -> Demo:
    """A business of which very many numbers are known, and as many that were given up."""
    execute(
        "WITH made AS (INSERT INTO contacts (id, workspace_id) SELECT uuidv7(), :w FROM generate_series(1, :n) "
        "  RETURNING id), numbered AS (SELECT id, row_number() OVER () AS n FROM made) "
        "INSERT INTO identities (id, workspace_id, contact_id, kind, value, retired_at) "
        "SELECT uuidv7(), :w, id, 'phone', '+4915' || lpad(n::text, 9, '0') || times, "
        "       CASE WHEN times = 2 THEN now() + interval '1 day' END FROM numbered, generate_series(1, 2) AS times",
        w=demo.workspace_id,
        n=MANY,
    )
    execute("ANALYZE identities")
    return demo


def statements(work: Any) -> list[tuple[str, Any]]:
    """Return what some work asks of the table of identities."""

    def transacted() -> None:
        with db.transaction() as session:
            work(session)

    found = [each for each in asked(transacted) if "identities" in each[0]]
    assert found
    return found


def test_whose_a_name_is_or_was(many: Demo) -> None:
    keys, at = NAMES.keys(), datetime.now(UTC)
    for statement, values in statements(lambda session: service.whose(session, many.workspace_id, keys, at)):
        assert pages_read(statement, values) < FEW_PAGES


def test_who_refused_since_a_campaign_began(demo: Demo) -> None:
    values = {
        "campaign": demo.workspace_id,
        "workspace": demo.workspace_id,
        "since": datetime.now(UTC),
        "kinds": ["phone"],
    }
    for statement, bound in statements(lambda session: session.execute(sa.text(guards._REFUSED), values)):
        found = plan(statement, bound)
        assert re.search(r"uq_identities_value.*\n *Index Cond: .*value = consent_events\.address", found), found
