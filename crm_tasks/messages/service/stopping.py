"""A no to a whole channel: it is held, and people are told what to do."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import holds
from crm_tasks.core.db import now
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.providers.provider import Refusal
from crm_tasks.providers.whatsapp.errors import remedy
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)


def stop_channel(session: Session, message: Message, no: Refusal, medium: str) -> None:
    scope, reason = f"channel:{message.channel_id}", f"{medium} {no.code}: {no.message}"
    # Many meet the same no at once; a hold that another transaction is about to commit would not be seen.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"stop:{scope}"))))
    if not any(hold.scope == scope for hold in holds.listed(session)):
        until = session.scalar(sa.select(now() + no.passes_after)) if no.passes_after else None
        holds.place(session, scope, reason=reason, actor="system", workspace_id=message.workspace_id, expires_at=until)
        log.error("channel.stopped", channel_id=str(message.channel_id), reason=reason)
        data = {"channel_id": message.channel_id, "reason": reason, "until": until}
        publish(session, message.workspace_id, EventType.CHANNEL_STOPPED, data)
        _tell_of_stop(session, message, no, medium, until)


# Of providers whose errors have no table of remedies.
_REMEDY = "See at the provider what is wrong with the account; new secrets go to `crm channel rotate-credentials`."


def _tell_of_stop(session: Session, message: Message, no: Refusal, medium: str, until: datetime | None) -> None:
    channel = session.get_one(Channel, message.channel_id)
    what_to_do = remedy(no.code) if medium == "whatsapp" else _REMEDY
    release = f"the hold: `crm hold release channel:{channel.id}`"
    end = (
        f"It ends by itself at {until:%Y-%m-%d %H:%M} UTC, or release {release}."
        if until
        else f"Then release {release}."
    )
    notifications.notify(
        session,
        message.workspace_id,
        "channel.stopped",
        title=f"{channel.name} sends no more",
        text=f"{medium} {no.code}: {no.message}. {what_to_do} {end} Until then its messages wait; none is lost.",
        severity=Severity.ERROR,
        subject=f"channel:{channel.id}",
        link="/admin/",
    )
