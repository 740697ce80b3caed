"""What a set of webhooks comes to, told without generated ids: equal states mean that nobody could tell the difference.

Contacts that are flagged as the same person count as one: whether a person was first met by its number or by its user
id depends on what came first, and contacts are never merged by a machine.
"""

import uuid
from collections import defaultdict
from collections.abc import Hashable
from typing import Any

import sqlalchemy as sa

from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core import db
from crm_tasks.messages.models import AccountUpdate, Conversation, Message, StatusEvent
from crm_tasks.messages.service import history

_SAID = ("direction", "state", "type", "text", "content", "occurred_at", "target_provider_id", "context_provider_id")
_REACHED = ("error", "sent_at", "delivered_at", "read_at", "played_at", "failed_at")


def final_state(workspace_id: uuid.UUID) -> dict[str, Any]:
    """Return the state of a workspace."""
    with db.transaction() as session:
        own = {
            model: list(session.scalars(sa.select(model).where(model.workspace_id == workspace_id)))
            for model in (Contact, Identity, Conversation, Message, StatusEvent, AccountUpdate)
        }
        shown = history.overlaid(session, own[Message])
    who = _persons(own[Contact])
    messages = {message.id: message for message in own[Message]}
    by_person: dict[Any, set[Any]] = defaultdict(set)
    for message in own[Message]:
        if message.contact_id is not None:
            by_person[who[message.contact_id]].add(message.provider_id)
    # A person is what it said and how it is called.
    names: dict[Any, set[Any]] = defaultdict(set)
    for identity in own[Identity]:
        names[who[identity.contact_id]].add((identity.kind, identity.value, identity.retired_at))
    called = {person: (frozenset(names[person]), frozenset(by_person[person])) for person in set(who.values())}
    return {
        "messages": {m.provider_id: tuple(getattr(m, name) for name in (*_SAID, *_REACHED)) for m in own[Message]},
        "persons": set(called.values()),
        "profiles": {called[person]: profile for person, profile in _profiles(own[Contact], who).items()},
        "windows": _windows(own[Conversation], who, called),
        "reports": sorted(
            (
                e.provider_id,
                e.status,
                e.recipient,
                e.occurred_at,
                messages[e.message_id].provider_id if e.message_id else "",
            )
            for e in own[StatusEvent]
        ),
        "shown": {
            item.message.provider_id: (item.edited, item.edited_at, item.deleted_at, _reactions(item, who, called))
            for item in shown
        },
        "account": sorted((update.field, update.value["event"]) for update in own[AccountUpdate]),
    }


def _persons(contacts: list[Contact]) -> dict[uuid.UUID, Hashable]:
    """Return which person each contact is, following the flags."""
    person = {contact.id: contact.id for contact in contacts}

    def root(contact_id: uuid.UUID) -> uuid.UUID:
        while person[contact_id] != contact_id:
            contact_id = person[contact_id]
        return contact_id

    for contact in contacts:
        if contact.duplicate_of is not None:
            person[root(contact.id)] = root(contact.duplicate_of)
    return {contact.id: root(contact.id) for contact in contacts}


def _profiles(contacts: list[Contact], who: dict[uuid.UUID, Hashable]) -> dict[Any, Any]:
    newest: dict[Any, Any] = {}
    for contact in contacts:
        if contact.profile_at is not None:
            profile = (contact.profile_at, contact.name or "", contact.username or "")
            newest[who[contact.id]] = max(newest.get(who[contact.id], profile), profile)
    return {person: profile[1:] for person, profile in newest.items()}


def _windows(conversations: list[Conversation], who: dict[uuid.UUID, Hashable], called: dict[Any, Any]) -> dict:
    windows: dict[Any, Any] = {}
    for each in conversations:
        place = called[who[each.contact_id]] if each.contact_id else each.group_id
        moments = [(at.timestamp() if at else 0) for at in (each.last_inbound_at, each.last_message_at)]
        windows[place] = tuple(map(max, windows.get(place, (0, 0)), moments))
    return windows


def _reactions(item: history.Shown, who: dict[uuid.UUID, Hashable], called: dict[Any, Any]) -> dict:
    """Return the latest reaction of each person."""
    found: dict[Any, Any] = {}
    for each in item.reactions:
        person = "us" if each["from"] == "us" else called[who[uuid.UUID(each["from"])]]
        found[person] = max(found.get(person, (each["at"], "")), (each["at"], each["emoji"]))
    return found
