"""Campaigns at work: real workers send them, and the sandbox says what arrived."""

import json
import uuid
from collections import Counter
from typing import Any

import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import CampaignState, Recipient
from crm_tasks.campaigns.service import lifecycle
from crm_tasks.cli import crm
from crm_tasks.contacts.models import Identity
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
from crm_tasks.workspaces.models import Channel
from tests.campaigns.audience import counts, found
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import one
from tests.messages.conftest import QUICK
from tests.outside import Sandbox

LONG = 90.0
# What workers of campaigns notice soon here; a pump needs a lease longer than a request and itself together.
FLEET = QUICK | {"LEASE": "8", "LEASE_RENEWAL": "1", "UNKNOWN_WAIT": "12", "QUEUE_CAMPAIGNS_BACKOFF": "0.2"}
QUEUES = ("campaigns", "messages", "email")
HELLO = {"type": "template", "template": {"name": "hello_world", "language": {"code": "en_US"}}}
_PAGE = 1_000


def start(campaign_id: uuid.UUID) -> None:
    """Start a campaign, as its door does."""
    with db.transaction() as session:
        lifecycle.start(session, None, campaign_id, actor="a test")


def take(step: Any, campaign_id: uuid.UUID) -> None:
    """Pause, resume, cancel, …"""
    with db.transaction() as session:
        step(session, None, campaign_id, actor="a test")


def until(campaign_id: uuid.UUID, *states: CampaignState, timeout: float = LONG) -> CampaignState:
    """Wait until a campaign is in one of these states, and return it."""
    return eventually(
        lambda: state if (state := found(campaign_id).state) in states else None,
        f"a campaign {' or '.join(states)}",
        timeout,
    )


def finished(campaign_id: uuid.UUID, timeout: float = LONG) -> dict[str, int]:
    """Wait for the end of a campaign, and return the figures that are not zero."""
    until(campaign_id, CampaignState.FINISHED, timeout=timeout)
    return counts(campaign_id)


def counted(campaign_id: uuid.UUID, timeout: float = LONG, **figures: int) -> None:
    """Wait for figures that are exactly so."""
    eventually(lambda: counts(campaign_id) == figures, f"{figures}", timeout)


def received(sandbox: Sandbox, kind: str = "message", since: int = 0) -> list[dict[str, Any]]:
    """Return every message that the sandbox took, in the order of their coming."""
    taken: list[dict[str, Any]] = []
    while True:
        page = sandbox.control("GET", f"log?kind={kind}&since={since}&limit={_PAGE}")
        taken += [entry for entry in page["data"] if entry["message_id"]]
        if not page["data"]:
            return taken
        since = page["next"]


def times(sandbox: Sandbox, kind: str = "message") -> Counter[str]:
    """Return how often each person got something, by number."""
    return Counter(entry["to"].lstrip("+") for entry in received(sandbox, kind))


def messages(campaign_id: uuid.UUID) -> list[Message]:
    """Return the messages of a campaign, in the order of its recipients."""
    query = (
        sa.select(Message)
        .join(Recipient, Recipient.message_id == Message.id)
        .where(Recipient.campaign_id == campaign_id)
        .order_by(Recipient.position)
    )
    with db.transaction() as session:
        return list(session.scalars(query))


def numbers(campaign_id: uuid.UUID, kind: str = "phone") -> list[str]:
    """Return the numbers of a campaign's recipients without their plus, in the order of the campaign."""
    query = (
        sa.select(Identity.value)
        .join(Recipient, Recipient.contact_id == Identity.contact_id)
        .where(Recipient.campaign_id == campaign_id, Identity.kind == kind)
        .order_by(Recipient.position)
    )
    with db.transaction() as session:
        return [value.lstrip("+") for value in session.scalars(query)]


def sending() -> int:
    """Return how many messages are being sent at this moment."""
    return execute("SELECT count(*) FROM messages WHERE state = 'sending'")[0][0]


def reasons(campaign_id: uuid.UUID) -> dict[uuid.UUID, str]:
    """Return why recipients have no message, by contact."""
    query = sa.select(Recipient.contact_id, Recipient.reason["rule"].astext).where(
        Recipient.campaign_id == campaign_id, Recipient.reason.is_not(None)
    )
    with db.transaction() as session:
        return {contact_id: rule for contact_id, rule in session.execute(query)}  # noqa: C416  rows are no pairs


def set_channel(demo: Demo, **settings: Any) -> None:
    """Change what a channel is set to."""

    def change(session: Session) -> None:
        channel = session.get_one(Channel, demo.channel_id)
        channel.settings = {**channel.settings, **settings}

    db.retrying(change)


def proved(sandbox: Sandbox | None = None) -> None:
    """Let `crm prove` look at everything, with nothing excused as under way."""
    words = ["prove", "--grace", "0", "--json", *(["--sandbox", sandbox.url] if sandbox else [])]

    def broken() -> dict[str, Any]:
        result = CliRunner().invoke(crm, words)
        return {each["name"]: each["violations"] for each in json.loads(result.stdout) if not each["holds"]}

    still: dict[str, Any] = {}

    def holds() -> bool:
        nonlocal still
        still = broken()
        return not still

    try:
        eventually(holds, "crm prove", 20)
    except AssertionError:
        raise AssertionError(still) from None


def hurried(task: str = "messages.send") -> None:
    """Let what waits for its time be due."""
    execute("UPDATE jobs SET run_at = crm_now(), rung_at = NULL WHERE state = 'queued' AND task = :task", task=task)


def of(campaign_id: uuid.UUID, contact_id: uuid.UUID) -> Message:
    """Return the message to a person."""
    (message,) = [each for each in messages(campaign_id) if each.contact_id == contact_id]
    return message


def job_of(message: Message) -> Job:
    """Return the job that sends a message."""
    assert message.job_id is not None
    return one(Job, Job.id == message.job_id)


def scope_of(campaign_id: uuid.UUID) -> str:
    """Return the scope by which all of a campaign is held."""
    return f"campaign:{campaign_id}"
