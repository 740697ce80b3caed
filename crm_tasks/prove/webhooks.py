"""What must be true of outgoing webhooks: each event is on its way to all who wanted it, each secret can be read."""

from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import ConfigError
from crm_tasks.prove.invariant import Invariant, rows
from crm_tasks.webhooks.models import EVERYTHING, Endpoint, EventType


def _deliveries_are_looked_after(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT d.id || ' is pending and no job delivers it' FROM webhook_deliveries d "
        "WHERE d.state = 'pending' AND d.created_at < crm_now() - cast(:grace AS interval) "
        "  AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = d.job_id AND j.state IN ('queued', 'running'))",
        grace=grace,
    )


def _all_who_wanted_it_are_told(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT e.id || ' (' || e.type || ') has no delivery to ' || p.id FROM webhook_events e "
        "JOIN webhook_endpoints p ON p.workspace_id = e.workspace_id AND p.state = 'enabled' "
        "  AND (e.type = ANY(p.events) OR :everything = ANY(p.events)) "
        # What was published while the endpoint was being changed may have seen it as it was before.
        "  AND p.wants_since < e.created_at - interval '1 minute' "
        "WHERE e.type <> :test AND e.created_at < crm_now() - cast(:grace AS interval) AND NOT EXISTS ("
        "  SELECT FROM webhook_deliveries d WHERE d.event_id = e.id AND d.endpoint_id = p.id)",
        grace=grace,
        everything=EVERYTHING,
        test=EventType.WEBHOOK_TEST,
    )


def _secrets_open(session: Session, _grace: timedelta) -> Iterable[str]:
    for (endpoint_id,) in session.execute(sa.select(Endpoint.id)).all():
        try:
            query = sa.select(Endpoint.secret, Endpoint.previous_secret).where(Endpoint.id == endpoint_id)
            session.execute(query).one()
        except ConfigError:
            yield f"webhook endpoint {endpoint_id}: none of ENCRYPTION_KEYS opens its secrets"


INVARIANTS = (
    Invariant("webhook deliveries", "Every delivery on its way has a job.", _deliveries_are_looked_after),
    Invariant("webhook events", "Every event has a delivery to all who wanted it.", _all_who_wanted_it_are_told),
    Invariant("webhook secrets", "The secrets of every webhook endpoint can be read.", _secrets_open),
)
