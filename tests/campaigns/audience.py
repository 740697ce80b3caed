"""People of a business, and campaigns to them, made without a door."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
from crm_tasks.campaigns.models import Campaign, Recipient
from crm_tasks.campaigns.service import drafting, lifecycle, progress
from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.models import Attribute, AttributeType, Contact
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.workspaces import policies
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.webhooks import hooks

# A time to come, whenever the tests run: at most a year off, as is taken.
NEXT_MONTH = (datetime.now(UTC) + timedelta(days=30)).replace(hour=9, minute=0, second=0, microsecond=0)
TEXT = {"type": "text", "text": {"body": "Hello {{name|there}}"}}


def sale(discount: str) -> dict[str, Any]:
    """Return a message of the template `spring_sale`."""
    header, body = ([{"type": "text", "text": text}] for text in ("{{name|friend}}", discount))
    components = [{"type": "header", "parameters": header}, {"type": "body", "parameters": body}]
    template = {"name": "spring_sale", "language": {"code": "en_US"}, "components": components}
    return {"type": "template", "template": template}


SALE, DISCOUNT = sale("20 %"), sale("{{discount}}")


def person(demo: Demo, number: int, *, prefix: str = "+1415555", **values: Any) -> uuid.UUID:
    """Make a contact with a phone number."""
    with db.transaction() as session:
        names = contacts.Names(phone=f"{prefix}{number:04d}", name=values.pop("name", f"Person {number}"))
        moment = session.scalars(sa.select(db.now())).one()
        contact_id = contacts.resolve(session, demo.workspace_id, names, at=moment)
        for name, value in values.items():
            setattr(session.get_one(Contact, contact_id), name, value)
        return contact_id


def people(demo: Demo, count: int, **values: Any) -> list[uuid.UUID]:
    """Make contacts with phone numbers."""
    return [person(demo, number, **values) for number in range(count)]


def many(demo: Demo, count: int) -> None:
    """Make contacts with phone numbers, all at once."""
    with db.transaction() as session:
        session.execute(
            sa.text(
                "WITH made AS (INSERT INTO contacts (id, workspace_id, name, attributes, tags) "
                "  SELECT gen_random_uuid(), :w, 'Person ' || n, '{}', '{}' FROM generate_series(1, :n) AS n "
                "  RETURNING id), numbered AS (SELECT id, row_number() OVER () AS n FROM made) "
                "INSERT INTO identities (id, workspace_id, contact_id, kind, value) "
                "SELECT gen_random_uuid(), :w, id, 'phone', '+4915' || lpad(n::text, 9, '0') FROM numbered"
            ),
            {"w": demo.workspace_id, "n": count},
        )


def attribute(demo: Demo, name: str, type: AttributeType = AttributeType.TEXT) -> None:
    """Let contacts have an attribute."""
    with db.transaction() as session:
        session.add(Attribute(workspace_id=demo.workspace_id, name=name, type=type))


def put(demo: Demo, name: str, value: dict[str, Any]) -> None:
    """Set a rule of the business."""
    with db.transaction() as session:
        policies.put(session, demo.workspace_id, name, value, actor="a test")


def night(demo: Demo, zone: str = "UTC") -> datetime:
    """Let it be night in a time zone, for an hour from now on and one before, and return when its morning is."""
    with db.transaction() as session:
        now = session.scalars(sa.select(db.now())).one()
    local, hour = now.astimezone(ZoneInfo(zone)), timedelta(hours=1)
    put(demo, "quiet_hours", {"from": f"{local - hour:%H:%M}", "to": f"{local + hour:%H:%M}"})
    return (now + hour).replace(second=0, microsecond=0)


def campaign(demo: Demo, message: dict[str, Any] = TEXT, **values: Any) -> uuid.UUID:
    """Write a campaign."""
    new = {"name": "Spring", "channel_id": demo.channel_id, "audience": {"all": True}, "message": message, **values}
    with db.transaction() as session:
        return drafting.create(session, demo.workspace_id, drafting.NewCampaign(**new), actor="a test").id


def found(campaign_id: uuid.UUID) -> Campaign:
    """Return a campaign as it is now."""
    with db.transaction() as session:
        return session.get_one(Campaign, campaign_id)


def counts(campaign_id: uuid.UUID) -> dict[str, int]:
    """Return the figures that are not zero."""
    with db.transaction() as session:
        stats = progress.count(session, session.get_one(Campaign, campaign_id))
        return {name: value for name, value in stats.states.items() if value}


def recipients(campaign_id: uuid.UUID) -> list[Recipient]:
    """Return the recipients, in order."""
    with db.transaction() as session:
        query = sa.select(Recipient).where(Recipient.campaign_id == campaign_id).order_by(Recipient.position)
        return list(session.scalars(query))


def work_off() -> None:
    """Run what is due and not held in this process, as a worker would, until nothing is."""
    while True:
        with db.transaction() as session:
            query = sa.select(Job.id, Job.queue).where(
                Job.state == JobState.QUEUED, Job.run_at <= db.now(), Job.held_by.is_(None)
            )
            waiting = list(session.execute(query.order_by(Job.priority, Job.id)))
        if not waiting:
            return
        for job_id, queue in waiting:
            hooks.run_one(job_id, queue)


def run(campaign_id: uuid.UUID, rounds: int = 4) -> None:
    """Start a campaign and let it go on until nothing moves."""
    with db.transaction() as session:
        lifecycle.start(session, None, campaign_id, actor="a test")
    go_on(rounds)


def go_on(rounds: int = 4, *, tasks: Sequence[str] = ("campaigns.supervise", "campaigns.pump")) -> None:
    """Work off what is due, and what of these tasks was put off for a second or two."""
    for _ in range(rounds):
        work_off()
        execute("UPDATE jobs SET run_at = crm_now() WHERE state = 'queued' AND task = ANY(:tasks)", tasks=list(tasks))
    work_off()
