"""Telling people: kept once, counted while unread, and passed on to those who asked for it."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed, now
from crm_tasks.core.errors import NotFound, Permanent
from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many
from crm_tasks.core.jobs.model import LANE
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.notifications import targets
from crm_tasks.notifications.models import Notification, NotificationTarget, Severity, TargetKind

log = get_logger(__name__)

# What comes again while unread is passed on again after so much quiet: the first mail may long be forgotten.
QUIET = timedelta(hours=1)


def notify(
    session: Session,
    workspace_id: uuid.UUID | None,
    kind: str,
    *,
    title: str,
    text: str,
    severity: Severity,
    subject: str = "",
    link: str | None = None,
) -> uuid.UUID:
    """Tell people of something, in the caller's transaction; return the notification's id.

    Args:
        workspace_id: whom it concerns; None is the operators of the system.
        kind: such as `channel.stopped`, stable.
        text: what happened and what to do about it.
        subject: what it is about, such as `channel:<id>`: an unread one of the same kind and subject is counted up.
        link: a page of ours, such as `/admin/`.
    """
    new = insert(Notification).values(
        id=new_id(),
        workspace_id=workspace_id,
        kind=kind,
        subject=subject,
        severity=severity,
        title=title,
        text=text,
        link=link,
    )
    latest = {name: new.excluded[name] for name in ("severity", "title", "text", "link", "last_at")}
    told_long_ago = Notification.last_at < new.excluded.last_at - QUIET
    statement = new.on_conflict_do_update(
        index_elements=[sa.text(LANE), "kind", "subject"],
        index_where=sa.text("read_at IS NULL"),
        set_={
            **latest,
            "count": Notification.count + 1,
            "told_at": sa.case((told_long_ago, new.excluded.told_at), else_=Notification.told_at),
        },
    ).returning(Notification.id, Notification.told_at == Notification.last_at)
    notification_id, tell = session.execute(statement).one()
    if tell:
        _pass_on(session, notification_id, workspace_id, severity)
    return notification_id


def _pass_on(session: Session, notification_id: uuid.UUID, workspace_id: uuid.UUID | None, severity: Severity) -> None:
    """Enqueue a delivery for each target: one that fails is tried again without the others."""
    wanted = targets.listed(session, workspace_id)
    jobs = [
        NewJob(
            task="notifications.deliver",
            args={"notification_id": notification_id, "target_id": target.id},
            workspace_id=workspace_id,
            unique_key=f"notification:{notification_id}:{target.id}",
        )
        for target in wanted
        if target.enabled and target.minimum_severity.rank <= severity.rank
    ]
    if jobs:
        enqueue_many(session, jobs)
    log.info("notification.made", notification_id=str(notification_id), targets=len(jobs))


def listed(
    session: Session,
    *,
    workspace_id: uuid.UUID | None = None,
    unread: bool = False,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Notification]:
    """Return notifications, the newest first: of a workspace, or all of them."""
    query = sa.select(Notification).where(*_of(workspace_id)).order_by(Notification.id.desc()).limit(limit)
    if unread:
        query = query.where(Notification.read_at.is_(None))
    return list(session.scalars(query.where(Notification.id < before) if before else query))


def unread_count(session: Session, *, workspace_id: uuid.UUID | None = None) -> int:
    """Return how many notifications nobody has read."""
    query = sa.select(sa.func.count()).select_from(Notification).where(Notification.read_at.is_(None))
    return session.scalar(query.where(*_of(workspace_id))) or 0


def read(session: Session, notification_id: uuid.UUID, *, workspace_id: uuid.UUID | None = None) -> Notification:
    """Mark one as read. The same thing happening again makes a new one.

    Raises:
        NotFound: there is none of this id here.
    """
    query = sa.select(Notification).where(Notification.id == notification_id, *_of(workspace_id)).with_for_update()
    found = session.scalar(query)
    if found is None:
        raise NotFound(f"There is no notification {notification_id}.", code="notification_not_found")
    found.read_at = found.read_at or session.scalar(sa.select(now()))
    return found


def read_all(session: Session, *, workspace_id: uuid.UUID | None = None, up_to: uuid.UUID | None = None) -> int:
    """Mark every unread one as read, or those up to one that was seen; return how many."""
    statement = sa.update(Notification).where(Notification.read_at.is_(None), *_of(workspace_id))
    if up_to is not None:
        statement = statement.where(Notification.id <= up_to)
    return changed(session.execute(statement.values(read_at=now()).execution_options(synchronize_session=False)))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one target is to be told, without a transaction open."""

    id: str
    kind: TargetKind
    address: str
    secret: str | None
    body: dict[str, Any]

    def __repr__(self) -> str:
        return f"Delivery({self.id})"


def delivery(session: Session, notification_id: uuid.UUID, target_id: uuid.UUID) -> Delivery | None:
    """Return what to deliver; None if the target does not want it any more.

    Raises:
        Permanent: there is no such notification.
    """
    found = session.get(Notification, notification_id)
    if found is None:
        raise Permanent(f"There is no notification {notification_id}.", code="no_notification")
    target = session.get(NotificationTarget, target_id)
    if target is None or not target.enabled:
        return None
    return Delivery(
        # The same for every try, and another when it is told anew.
        id=f"ntf_{found.id.hex}_{target.id.hex[-8:]}_{int(found.told_at.timestamp())}",
        kind=target.kind,
        address=target.address,
        secret=target.secret,
        body=_body(found),
    )


def _body(found: Notification) -> dict[str, Any]:
    return {
        "type": f"notification.{found.kind}",
        "timestamp": found.last_at.isoformat(),
        "data": {
            "id": str(found.id),
            "workspace_id": str(found.workspace_id) if found.workspace_id else None,
            "kind": found.kind,
            "subject": found.subject,
            "severity": str(found.severity),
            "title": found.title,
            "text": found.text,
            "link": found.link,
            "count": found.count,
            "first_at": found.first_at.isoformat(),
            "last_at": found.last_at.isoformat(),
        },
    }


def _of(workspace_id: uuid.UUID | None) -> list[sa.ColumnElement[bool]]:
    return [] if workspace_id is None else [Notification.workspace_id == workspace_id]
