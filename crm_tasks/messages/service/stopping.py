"""A no to a whole channel: it is held, and people are told what to do."""

import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import holds
from crm_tasks.core.db import now
from crm_tasks.core.log import get_logger
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.providers.provider import Refusal, Sender
from crm_tasks.providers.whatsapp.errors import remedy
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish
from crm_tasks.workspaces import credentials
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

# When a message that met the no looks again whether its channel is held.
STOPPED = timedelta(seconds=30)


def stop_channel(
    session: Session, channel_id: uuid.UUID, no: Refusal, medium: str, *, sender: Sender | None = None
) -> bool:
    """Hold a channel; False if it has been given other credentials than those (`sender`) that met the no."""
    if sender is not None and _renewed(session, channel_id, sender):
        return False
    channel = session.get_one(Channel, channel_id)
    scope, reason = f"channel:{channel_id}", f"{medium} {no.code}: {no.message}"
    # Many meet the same no at once; a hold that another transaction is about to commit would not be seen.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"stop:{scope}"))))
    if not any(hold.scope == scope for hold in holds.listed(session)):
        until = session.scalar(sa.select(now() + no.passes_after)) if no.passes_after else None
        holds.place(session, scope, reason=reason, actor="system", workspace_id=channel.workspace_id, expires_at=until)
        log.error("channel.stopped", channel_id=str(channel_id), reason=reason)
        data = {"channel_id": channel_id, "reason": reason, "until": until}
        publish(session, channel.workspace_id, EventType.CHANNEL_STOPPED, data)
        _tell_of_stop(session, channel, no, medium, until)
    return True


def _renewed(session: Session, channel_id: uuid.UUID, sender: Sender) -> bool:
    """Read the channel from Postgres once more, and say whether it is another than the one that was refused."""
    credentials.forget(channel_id)
    return workspaces.sender(credentials.channel(session, channel_id)) != sender


# Of providers whose errors have no table of remedies.
_REMEDY = "See at the provider what is wrong with the account; new secrets go to `crm channel rotate-credentials`."


def _tell_of_stop(session: Session, channel: Channel, no: Refusal, medium: str, until: datetime | None) -> None:
    what_to_do = remedy(no.code) if medium == "whatsapp" else _REMEDY
    release = f"the hold: `crm hold release channel:{channel.id}`"
    end = (
        f"It ends by itself at {until:%Y-%m-%d %H:%M} UTC, or release {release}."
        if until
        else f"Then release {release}."
    )
    notifications.notify(
        session,
        channel.workspace_id,
        "channel.stopped",
        title=f"{channel.name} sends no more",
        text=f"{medium} {no.code}: {no.message}. {what_to_do} {end} Until then its messages wait; none is lost.",
        severity=Severity.ERROR,
        subject=f"channel:{channel.id}",
        link="/admin/",
    )
