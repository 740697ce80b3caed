"""Doors of the queue `campaigns`: open a transaction, call the room, close. Long work goes chunk by chunk."""

import time
import uuid
from collections.abc import Callable

from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.pump import Pump
from crm_tasks.campaigns.service import (
    ending,
    lifecycle,
    outcomes,
    planning,
    rehearsal,
    retrying,
    supervising,
    watching,
)
from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.task import advanced, check, finishing, job
from crm_tasks.messages.service import unknown

# After so many seconds a job hands over to a successor: well before its time limit.
LONG = 60.0


@app.task(name="campaigns.plan")
def plan(campaign_id: str) -> None:
    """Write down who is meant."""
    _in_chunks(uuid.UUID(campaign_id), planning.plan_on)


@app.task(name="campaigns.rehearse")
def rehearse(campaign_id: str) -> None:
    """Write down who is meant, then what would become of each."""
    wanted = uuid.UUID(campaign_id)
    if _in_chunks(wanted, planning.plan_on):
        _in_chunks(wanted, rehearsal.rehearse_on)


@app.task(name="campaigns.start")
def start(campaign_id: str) -> None:
    """Start a campaign whose time has come."""
    with finishing() as session:
        lifecycle.start_due(session, uuid.UUID(campaign_id))


@app.task(name="campaigns.pump")
def pump(campaign_id: str, lane: int, after: int = 0) -> None:
    """Send to the next recipients for two seconds; a successor goes on."""
    wanted = uuid.UUID(campaign_id)
    claim = job()
    running = Pump(wanted, lane, after, claim)
    reached, wait, over = running.run()
    with finishing() as session:
        outcomes.not_ordered(session, wanted, claim, running.unkept)
        # Who found nobody on the way from the middle has not seen those before.
        supervising.hand_on(session, wanted, lane, after=reached, wait=wait, over=over)


@app.task(name="campaigns.supervise")
def supervise(campaign_id: str) -> None:
    """Look after a running campaign."""
    with finishing() as session:
        watching.supervise(session, uuid.UUID(campaign_id))


@app.task(name="campaigns.supervise_all")
def supervise_all() -> None:
    """See that every running campaign is looked after, a job each, and that nobody is left as being sent to."""
    with finishing() as session:
        unknown.forsaken(session)
        supervising.ask_all(session)


@app.task(name="campaigns.withdraw")
def withdraw(campaign_id: str) -> None:
    """Cancel what waits of a cancelled campaign."""
    wanted = uuid.UUID(campaign_id)
    while db.retrying(ending.withdraw, wanted):
        check()
        advanced()


@app.task(name="campaigns.retry_failed", editable=("codes",))
def retry_failed(campaign_id: str, codes: list[str], until: str) -> None:
    """Send again what failed."""
    wanted, last = uuid.UUID(campaign_id), uuid.UUID(until)
    while db.retrying(retrying.retry_on, wanted, codes, last):
        check()
        advanced()


def _in_chunks(campaign_id: uuid.UUID, step: Callable[[Session, uuid.UUID], bool]) -> bool:
    """Do all steps of a piece of work, each in a transaction; False if the rest was handed over."""
    begun = time.monotonic()
    while db.retrying(step, campaign_id):
        check()
        advanced()
        if time.monotonic() - begun > LONG:
            db.retrying(_hand_over, campaign_id)
            return False
    return True


def _hand_over(session: Session, campaign_id: uuid.UUID) -> None:
    if (campaign := session.get(Campaign, campaign_id)) is not None:
        planning.ask(session, campaign)
