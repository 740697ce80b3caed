"""Endpoints of a workspace: who wants what, the secrets, on and off."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import crypto
from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, DomainError, FieldError, Invalid, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.log import get_logger
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.providers import outbound
from crm_tasks.webhooks.models import EVERYTHING, Delivery, DeliveryState, Endpoint, EndpointState, EventType
from crm_tasks.webhooks.service import publishing, signing

log = get_logger(__name__)

# Who disables what fails: people are told of that, and of their own switching off they know.
SYSTEM = "system"
BOTH_VALID = timedelta(hours=24)
MOST_ENDPOINTS, MAX_RATE, MAX_CONCURRENCY, MAX_DESCRIPTION = 50, 100, 50, 200
_CHANGEABLE = ("url", "description", "events", "hub_signature", "rate", "concurrency")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """What is needed to add an endpoint."""

    url: str
    events: list[str]
    description: str = ""
    hub_signature: bool = False
    rate: int = 10
    concurrency: int = 5


def add(session: Session, workspace_id: uuid.UUID, new: NewEndpoint, *, actor: str) -> Endpoint:
    """Add an endpoint with a new secret, to be shown this once.

    Raises:
        Invalid: a field is wrong. Conflict: there are too many.
    """
    values = _checked({name: getattr(new, name) for name in _CHANGEABLE})
    query = sa.select(sa.func.count()).where(Endpoint.workspace_id == workspace_id)
    if (session.scalar(query) or 0) >= MOST_ENDPOINTS:
        raise Conflict(f"A workspace has at most {MOST_ENDPOINTS} webhook endpoints.", code="too_many_endpoints")
    endpoint = Endpoint(workspace_id=workspace_id, secret=signing.new_secret(), **values)
    session.add(endpoint)
    session.flush()
    session.refresh(endpoint)
    _changed(session, endpoint, "added", actor)
    return endpoint


def listed(session: Session, workspace_id: uuid.UUID) -> list[Endpoint]:
    """Return the endpoints of a workspace, the oldest first."""
    query = sa.select(Endpoint).where(Endpoint.workspace_id == workspace_id).order_by(Endpoint.id)
    return list(session.scalars(query))


def get(session: Session, workspace_id: uuid.UUID, endpoint_id: uuid.UUID, *, lock: bool = False) -> Endpoint:
    """Return an endpoint of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    query = sa.select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.workspace_id == workspace_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    found = session.scalar(query)
    if found is None:
        raise NotFound(f"There is no webhook endpoint {endpoint_id}.", code="endpoint_not_found")
    return found


def change(
    session: Session, workspace_id: uuid.UUID, endpoint_id: uuid.UUID, values: Mapping[str, Any], *, actor: str
) -> Endpoint:
    """Change some of its fields; `state` enables it, which forgets how it fared, or disables it.

    Raises:
        NotFound: no such endpoint here. Invalid: a field is wrong.
    """
    endpoint = get(session, workspace_id, endpoint_id, lock=True)
    fields = _checked({name: values[name] for name in _CHANGEABLE if name in values})
    if "events" in fields and fields["events"] != endpoint.events:
        endpoint.wants_since = _moment(session)
    for name, value in fields.items():
        setattr(endpoint, name, value)
    state = EndpointState(values.get("state") or endpoint.state)
    if state is EndpointState.DISABLED and endpoint.state is EndpointState.ENABLED:
        disable(session, endpoint, "switched off", actor=actor)
    elif state is EndpointState.ENABLED and endpoint.state is EndpointState.DISABLED:
        _enable(session, endpoint)
    _changed(session, endpoint, "changed", actor)
    return endpoint


def rotate_secret(session: Session, workspace_id: uuid.UUID, endpoint_id: uuid.UUID, *, actor: str) -> Endpoint:
    """Give it a new secret, to be shown this once; the present one stays valid beside it for 24 hours.

    Raises:
        NotFound: no such endpoint here.
    """
    endpoint = get(session, workspace_id, endpoint_id, lock=True)
    endpoint.previous_secret, endpoint.previous_secret_until = endpoint.secret, _moment(session) + BOTH_VALID
    endpoint.secret = signing.new_secret()
    _changed(session, endpoint, "secret_rotated", actor)
    return endpoint


def remove(session: Session, workspace_id: uuid.UUID, endpoint_id: uuid.UUID, *, actor: str) -> None:
    """Remove an endpoint. What waits for it is cancelled; what it was told stays to be looked at.

    Raises:
        NotFound: no such endpoint here.
    """
    endpoint = get(session, workspace_id, endpoint_id, lock=True)
    _cancel_waiting(session, endpoint, "its endpoint was removed", actor)
    session.delete(endpoint)
    _changed(session, endpoint, "removed", actor)


def test(session: Session, workspace_id: uuid.UUID, endpoint_id: uuid.UUID) -> uuid.UUID:
    """Send `webhook.test` now and return the delivery.

    Raises:
        NotFound: no such endpoint here. Conflict: it is disabled.
    """
    endpoint = require_enabled(get(session, workspace_id, endpoint_id))
    return publishing.publish_to(session, endpoint, EventType.WEBHOOK_TEST, {"endpoint_id": endpoint.id})


def require_enabled(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that is told things.

    Raises:
        Conflict: it is disabled; says why.
    """
    if endpoint.state is EndpointState.DISABLED:
        raise Conflict(
            f"This webhook endpoint is disabled: {endpoint.disabled_reason}.",
            code="endpoint_disabled",
            hint="Enable it first.",
        )
    return endpoint


def disable(session: Session, endpoint: Endpoint, reason: str, *, actor: str) -> None:
    """Tell a locked endpoint nothing more; what waits for it is cancelled and can be replayed later."""
    endpoint.state, endpoint.disabled_reason = EndpointState.DISABLED, reason
    endpoint.state_since = _moment(session)
    endpoint.rests_until = None
    cancelled = _cancel_waiting(session, endpoint, f"its endpoint was disabled: {reason}", actor)
    if actor == SYSTEM:
        notifications.notify(
            session,
            endpoint.workspace_id,
            "webhook.disabled",
            title=f"The webhook endpoint {urlsplit(endpoint.url).hostname} is told no more",
            text=f"{reason}. Mend it, enable it again, and replay what it has missed: `crm webhook replay`.",
            severity=Severity.ERROR,
            subject=f"endpoint:{endpoint.id}",
        )
    log.warning("webhook.disabled", endpoint_id=str(endpoint.id), reason=reason, cancelled=cancelled, actor=actor)


def reencrypt(session: Session) -> int:
    """Encrypt every secret with the first of ENCRYPTION_KEYS, so that an older one can be taken out."""
    names = ("secret", "previous_secret")
    table = sa.table("webhook_endpoints", sa.column("id"), *(sa.column(name, sa.LargeBinary) for name in names))
    rows = session.execute(sa.select(table).with_for_update()).mappings().all()
    for row in rows:
        fresh = {name: crypto.rotated(row[name]) for name in names if row[name] is not None}
        session.execute(sa.update(table).where(table.c.id == row["id"]).values(fresh))
    return len(rows)


def _enable(session: Session, endpoint: Endpoint) -> None:
    moment = _moment(session)
    endpoint.state, endpoint.disabled_reason, endpoint.state_since = EndpointState.ENABLED, None, moment
    endpoint.failures, endpoint.failing_since, endpoint.rests_until = 0, None, None
    endpoint.wants_since = moment


def _moment(session: Session) -> datetime:
    return session.scalar(sa.select(now()))  # type: ignore[return-value]


def _cancel_waiting(session: Session, endpoint: Endpoint, reason: str, actor: str) -> int:
    session.flush()
    waiting = (
        sa.select(Delivery.id)
        .where(Delivery.endpoint_id == endpoint.id, Delivery.state == DeliveryState.PENDING)
        .order_by(Delivery.id)
        .with_for_update()
    )
    statement = (
        sa.update(Delivery)
        .where(Delivery.id.in_(waiting))
        .values(state=DeliveryState.CANCELLED, finished_at=now())
        .returning(Delivery.job_id)
        .execution_options(synchronize_session=False)
    )
    job_ids = [job_id for job_id in session.scalars(statement) if job_id is not None]
    repair.cancel_waiting(session, job_ids, actor=actor, reason=reason)
    return len(job_ids)


def _changed(session: Session, endpoint: Endpoint, how: str, actor: str) -> None:
    session.flush()
    publishing.forget_wishes(session)
    log.info(f"webhook.{how}", endpoint_id=str(endpoint.id), actor=actor)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they are kept; every wrong field is named."""
    problems = []
    if "url" in values:
        values["url"] = values["url"].strip()
        if wrong := outbound.problem(values["url"]):
            problems.append(FieldError("url", wrong, "bad_url"))
    if "events" in values:
        problems += _wrong_events(values["events"])
        values["events"] = list(dict.fromkeys(values["events"]))
    for name, most in (("rate", MAX_RATE), ("concurrency", MAX_CONCURRENCY)):
        if name in values and not 1 <= values[name] <= most:
            problems.append(FieldError(name, f"Use 1 to {most}."))
    if len(values.get("description", "")) > MAX_DESCRIPTION:
        problems.append(FieldError("description", f"Write at most {MAX_DESCRIPTION} characters."))
    if problems:
        raise Invalid("The webhook endpoint cannot be like this.", fields=problems)
    return values


def _wrong_events(names: list[str]) -> list[FieldError]:
    if not names:
        return [FieldError("events", f"Name at least one event type, or {EVERYTHING} for all.")]
    wrong = []
    for name in names:
        try:
            if name != EVERYTHING:
                publishing.event_type(name)
        except DomainError as error:
            wrong.append(FieldError("events", f"{error.message} {error.hint}", error.code))
    return wrong
