"""What webhooks say about an account rather than a conversation: kept as it came, and applied where it is understood.

Templates: what became of them. Preferences: who wants no marketing.
"""

from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import AccountUpdate, InboundEvent
from crm_tasks.messages.service import optout
from crm_tasks.providers.whatsapp import templates as lists
from crm_tasks.providers.whatsapp import webhook
from crm_tasks.providers.whatsapp.webhook import AccountChange, Person, Preference, Update
from crm_tasks.templates import service as templates
from crm_tasks.templates import sync as template_sync
from crm_tasks.workspaces.models import Channel


def apply(session: Session, channel: Channel, update: AccountChange | Preference, event: InboundEvent) -> None:
    """Keep what was said, and let it have its effect once."""
    if isinstance(update, Preference):
        if _kept(session, channel, update, "user_preferences", update.raw, event):
            optout.preferred(session, channel, update, names_of(update.person), event)
        return
    is_new = _kept(session, channel, update, update.field, update.value, event)
    change = lists.change(update.field, update.value)
    if change is None:
        return
    if is_new:
        # Never later than its arrival: a provider's clock that is ahead would beat a list fetched afterwards.
        at = min(update.at or event.received_at, event.received_at)
        template_sync.apply_change(session, channel, update.field, change, at=at)
    elif update.at is None:
        # Without a time, a repetition cannot be told from the same thing happening again.
        templates.ask_sync(session, channel)


def names_of(person: Person) -> contacts.Names:
    """Return a person of a webhook as contacts know one."""
    return contacts.Names(
        wa_id=person.wa_id,
        bsuid=person.bsuid,
        parent_bsuid=person.parent_bsuid,
        name=person.name,
        username=person.username,
    )


def _kept(session: Session, channel: Channel, update: Update, name: str, value: Any, event: InboundEvent) -> bool:
    """Keep an update as it came; False if it was kept before, from a repetition of its webhook."""
    statement = insert(AccountUpdate).values(
        id=new_id(),
        workspace_id=channel.workspace_id,
        channel_id=channel.id,
        event_id=event.id,
        field=name,
        digest=webhook.digest_of([value, update.at]),
        value=value,
        occurred_at=update.at or event.received_at,
    )
    return session.scalar(statement.on_conflict_do_nothing().returning(AccountUpdate.id)) is not None
