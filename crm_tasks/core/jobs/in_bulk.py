"""Very many dead letters of one cause, dealt with by a job: nobody waits for that, and it shows how far it is."""

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.jobs import dead_letters
from crm_tasks.core.jobs.dead_letters import Spread, Which
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import Job, JobState

# So many are dealt with while somebody waits.
AT_ONCE = 500
_FIRST = str(uuid.UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What is to be done, and how far it is: up to which job, how many of all.

    Args:
        per_minute: how many go back in a minute; 0 is all at once.
        reason: why they are discarded; without it they are retried.
    """

    fingerprint: str
    workspace_id: str | None
    actor: str
    total: int
    per_minute: int = 0
    reason: str = ""
    after: str = ""
    done: int = 0


def ask(
    session: Session, which: Which, fingerprint: str, *, actor: str, per_minute: int = 0, reason: str = ""
) -> uuid.UUID | None:
    """Have all of one cause retried, or discarded for a reason, by a job; None if they are few enough to wait for."""
    dead = Job.state == sa.literal_column(f"'{JobState.DEAD}'")
    query = sa.select(sa.func.count()).select_from(Job).where(dead, *which.conditions())
    total = session.scalar(query) or 0
    if total <= AT_ONCE:
        return None
    workspace_id = str(which.workspace_id) if which.workspace_id else None
    bulk = Bulk(
        fingerprint=fingerprint,
        workspace_id=workspace_id,
        actor=actor,
        total=total,
        per_minute=per_minute,
        reason=reason,
    )
    return go_on(session, bulk)


def step(session: Session, bulk: Bulk) -> Bulk | None:
    """Deal with the next batch, and return how far it is then; None once there are no more."""
    workspace_id = uuid.UUID(bulk.workspace_id) if bulk.workspace_id else None
    which, after = Which(workspace_id=workspace_id, fingerprint=bulk.fingerprint), uuid.UUID(bulk.after or _FIRST)
    act: Callable[..., list[uuid.UUID]] = dead_letters.retry_batch
    options: dict[str, object] = {"spread": Spread(bulk.per_minute, bulk.done) if bulk.per_minute else None}
    if bulk.reason:
        act, options = dead_letters.discard_batch, {"reason": bulk.reason}
    done = act(session, which, actor=bulk.actor, after=after, **options)
    return replace(bulk, after=str(done[-1]), done=bulk.done + len(done)) if done else None


def go_on(session: Session, bulk: Bulk) -> uuid.UUID:
    """Leave what there is still to do to a job."""
    key = f"dead:{bulk.workspace_id}:{bulk.fingerprint}"
    return enqueue(
        session,
        "analytics.settle_dead",
        args=asdict(bulk),
        workspace_id=uuid.UUID(bulk.workspace_id) if bulk.workspace_id else None,
        unique_key=key,
        serial_key=key,
    )
