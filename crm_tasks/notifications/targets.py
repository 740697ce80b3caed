"""Who is told by e-mail or webhook. A webhook's secret is made here and shown once."""

import secrets
import uuid
from base64 import b64encode
from typing import Any

import sqlalchemy as sa
from email_validator import EmailNotValidError, validate_email
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.notifications.models import NotificationTarget, Severity, TargetKind
from crm_tasks.providers import outbound

MOST = 20


def listed(session: Session, workspace_id: uuid.UUID | None) -> list[NotificationTarget]:
    """Return the targets of a workspace, or those of the operators, the oldest first."""
    return list(session.scalars(sa.select(NotificationTarget).where(_of(workspace_id)).order_by(NotificationTarget.id)))


def add(
    session: Session,
    workspace_id: uuid.UUID | None,
    *,
    kind: TargetKind,
    address: str,
    minimum_severity: Severity = Severity.WARNING,
    enabled: bool = True,
) -> NotificationTarget:
    """Add a target.

    Raises:
        Invalid: not an address of this kind, no mail server is set, or there are too many.
        Conflict: it is there already.
    """
    present = listed(session, workspace_id)
    address = _checked(kind, address)
    if len(present) >= MOST:
        raise Invalid(f"There are {MOST} targets already; remove one first.", code="too_many_targets")
    if any((each.kind, each.address) == (kind, address) for each in present):
        raise Conflict(f"{address} is told already.", code="target_exists")
    target = NotificationTarget(
        workspace_id=workspace_id,
        kind=kind,
        address=address,
        minimum_severity=minimum_severity,
        enabled=enabled,
        secret=_new_secret() if kind is TargetKind.WEBHOOK else None,
    )
    session.add(target)
    session.flush()
    session.refresh(target)
    return target


def get(
    session: Session, target_id: uuid.UUID, *, workspace_id: uuid.UUID, operator: bool = False
) -> NotificationTarget:
    """Return a target of a workspace; an operator may also have those of the operators.

    Raises:
        NotFound: there is none of this id here.
    """
    found = session.get(NotificationTarget, target_id, with_for_update=True)
    allowed = {workspace_id, None} if operator else {workspace_id}
    if found is None or found.workspace_id not in allowed:
        raise NotFound(f"There is no notification target {target_id}.", code="target_not_found")
    return found


def change(target: NotificationTarget, **values: Any) -> NotificationTarget:
    """Change what is given of `minimum_severity` and `enabled`; another address is another target."""
    for name in ("minimum_severity", "enabled"):
        if values.get(name) is not None:
            setattr(target, name, values[name])
    return target


def _of(workspace_id: uuid.UUID | None) -> sa.ColumnElement[bool]:
    return NotificationTarget.workspace_id.is_not_distinct_from(workspace_id)


def _checked(kind: TargetKind, address: str) -> str:
    if kind is TargetKind.WEBHOOK:
        return _url(address.strip())
    if not settings().alert_smtp_url:
        raise Invalid(
            "No mail server for notifications is set.",
            code="no_mail_server",
            hint="Set ALERT_SMTP_URL and ALERT_FROM, and restart.",
        )
    try:
        return validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise Invalid("This is not an e-mail address.", fields=[FieldError("address", str(error))]) from None


def _url(url: str) -> str:
    if problem := outbound.problem(url):
        raise Invalid("This is not an address of a webhook.", fields=[FieldError("address", problem)])
    return url


def _new_secret() -> str:
    """Return a secret as Standard Webhooks 1.0.0 writes it: 24 to 64 random bytes in base64."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()
