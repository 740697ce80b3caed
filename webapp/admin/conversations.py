"""Conversations: listed, read from their end on, and kept up to date while one reads. `replies` answers."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.contacts import directory, search
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.types import new_id
from crm_tasks.media.models import Media
from crm_tasks.media.service import files
from crm_tasks.messages.models import Conversation, Direction
from crm_tasks.messages.service import handover, history, reading, replying
from crm_tasks.messages.service.conversations import closes_at
from crm_tasks.messages.service.history import Shown
from crm_tasks.providers import registry
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel
from webapp import media as outward
from webapp.admin import blueprint, reply_template
from webapp.admin.access import here
from webapp.admin.contacts import people
from webapp.admin.forms import asked, typed
from webapp.api.paging import decode, encode

LISTED, SHOWN, MOST_SHOWN, FOUND = 40, 30, 300, 100
_SHOW = {"": {}, "waiting": {"waiting": True}, "taken": {"taken_over": True}}
Row = tuple[Conversation, Contact | None]


# --- the list ----------------------------------------------------------------------------------------------------


@blueprint.get("/conversations")
def conversations() -> str:
    """List them, the one that spoke last first."""
    values = _listed()
    inner = render_template("admin/_conversations.html", **values)
    return render_template("admin/conversations.html", inner=inner, seen=_digest(inner), **values)


@blueprint.get("/conversations/part")
def conversations_part() -> ResponseReturnValue:
    """Show the list again if it has changed; the page asks every five seconds."""
    return _if_changed("admin/_conversations.html", _listed())


def _listed() -> dict[str, Any]:
    me, wanted = here(), asked("q", "show", "before")
    how: dict[str, Any] = dict(_SHOW.get(wanted["show"], {}))
    with db.transaction() as session:
        if wanted["q"]:
            found = search.listed(session, me.workspace_id, q=wanted["q"][: search.LONGEST], limit=FOUND)
            how["contact_ids"] = [each.id for each in found]
        rows = history.conversations(
            session,
            me.workspace_id,
            before=decode(wanted["before"], datetime, uuid.UUID),
            limit=LISTED + 1,
            **how,
        )
        shown = rows[:LISTED]
        return {
            "rows": shown,
            "words": history.last_words(session, [row[0].id for row in shown]),
            "named": directory.identities(session, [row[0].contact_id for row in shown if row[0].contact_id]),
            "channels": _channels(session),
            "people": people(session, me.workspace_id),
            "asked": wanted,
            "more": _cursor(shown[-1][0].last_message_at, shown[-1][0].id) if len(rows) > LISTED else None,
            "poll": "admin.conversations_part",
        }


# --- one ---------------------------------------------------------------------------------------------------------


@blueprint.get("/conversations/<uuid:conversation_id>")
def conversation(conversation_id: uuid.UUID) -> str:
    """Show one from its end on."""
    return page(conversation_id)


@blueprint.get("/conversations/<uuid:conversation_id>/part")
def conversation_part(conversation_id: uuid.UUID) -> ResponseReturnValue:
    """Show again what is there since the page was opened, if it has changed; the page asks every three seconds."""
    with db.transaction() as session:
        return _if_changed("admin/_thread.html", _thread(session, conversation_id, since=_asked_since()))


@blueprint.get("/conversations/<uuid:conversation_id>/earlier")
def earlier_messages(conversation_id: uuid.UUID) -> str:
    """Show what was said before."""
    before = decode(request.args.get("before"), datetime, uuid.UUID)
    with db.transaction() as session:
        row = history.conversation(session, here().workspace_id, conversation_id)
        found = history.messages(session, conversation_id, before=before, limit=SHOWN + 1)
        return render_template("admin/_messages.html", row=row, **_messages(session, row, found, SHOWN))


@blueprint.post("/conversations/<uuid:conversation_id>/assign")
def assign_conversation(conversation_id: uuid.UUID) -> ResponseReturnValue:
    """Have somebody look after the person; or nobody."""
    wanted, me = typed().get("assigned_to", ""), here()
    with db.transaction() as session:
        _, contact = history.conversation(session, me.workspace_id, conversation_id)
        known = {str(id): id for id in people(session, me.workspace_id)}
        if contact is None or (wanted and wanted not in known):
            raise NotFound("There is no such person in this workspace.", hint="Choose somebody of the list.")
        directory.change(session, me.workspace_id, contact.id, {"assigned_to": known.get(wanted)})
    return _back(conversation_id)


@blueprint.post("/conversations/<uuid:conversation_id>/<action>")
def conversation_action(conversation_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Take it over, hand it back, tell the customer that it was read."""
    me = here()
    try:
        with db.transaction() as session:
            if action == "take-over":
                handover.take_over(session, me.workspace_id, conversation_id, actor=me.actor)
            elif action == "hand-back":
                handover.hand_back(session, me.workspace_id, conversation_id)
            elif action == "read":
                _read(session, conversation_id)
            else:
                raise NotFound("There is no such button.")
    except Conflict as error:
        return page(conversation_id, problem=error.message), 409
    return _back(conversation_id)


# --- files -------------------------------------------------------------------------------------------------------


@blueprint.get("/media/<uuid:media_id>")
def media(media_id: uuid.UUID) -> Response:
    """Give out a file of a message."""
    with db.transaction() as session:
        found = files.get(session, here().workspace_id, media_id)
    return outward.content(found)


@blueprint.post("/media/<uuid:media_id>/fetch")
def fetch_media(media_id: uuid.UUID) -> ResponseReturnValue:
    """Try once more to get a file from the provider."""
    with db.transaction() as session:
        files.fetch_again(session, here().workspace_id, media_id)
    back = typed().get("conversation_id", "")
    return _back(uuid.UUID(back)) if _is_id(back) else redirect(url_for("admin.conversations"))


# --- what a page shows -------------------------------------------------------------------------------------------


def page(conversation_id: uuid.UUID, **more: Any) -> str:
    """Return the page of a conversation; `more` is what its forms have to say."""
    with db.transaction() as session:
        thread = _thread(session, conversation_id, since=None)
        inner = render_template("admin/_thread.html", **thread)
        return render_template(
            "admin/conversation.html",
            **thread,
            inner=inner,
            seen=_digest(inner),
            people=people(session, here().workspace_id),
            named=_names(session, thread["contact"]),
            key=new_id(),
            **{**_picker(session, thread, more.get("given", {})), **more},
        )


def _names(session: Session, contact: Contact | None) -> list[Identity]:
    return directory.identities(session, [contact.id])[contact.id] if contact else []


def _picker(session: Session, thread: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    channel: Channel | None = thread["channel"]
    if channel is None or "template" not in thread["types"]:
        return {"templates": None}
    return reply_template.shown(session, channel, given)


def _thread(
    session: Session, conversation_id: uuid.UUID, *, since: tuple[datetime, uuid.UUID] | None
) -> dict[str, Any]:
    """Return the messages since one, or the last ones, and until when free text may be sent."""
    row = history.conversation(session, here().workspace_id, conversation_id)
    limit = SHOWN if since is None else MOST_SHOWN
    found = history.messages(session, conversation_id, since=since, limit=limit + 1)
    channel = _channels(session).get(row[0].channel_id)
    now: datetime = session.scalar(sa.select(db.now()))  # type: ignore[assignment]
    shown = found[:limit]
    anchor = _cursor(shown[-1].message.occurred_at, shown[-1].message.id) if shown else _cursor(now, uuid.UUID(int=0))
    return {
        "row": row,
        "conversation": row[0],
        "contact": row[1],
        "channel": channel,
        "types": registry.provider(channel.kind).types if channel else (),
        "window": _window(row[0], channel, now),
        "since": request.args.get("since") or anchor,
        "poll": "admin.conversation_part",
        **_messages(session, row, found, limit),
    }


def _window(conversation: Conversation, channel: Channel | None, now: datetime) -> dict[str, Any]:
    """Return whether free text may be sent, until when, and for how long."""
    if channel is None or not registry.provider(channel.kind).window or conversation.group_id:
        return {"open": True, "until": None, "left": None}
    until = closes_at(conversation.last_inbound_at)
    left = until - now if until else timedelta(0)
    # To the minute, so that the page does not change with each second.
    return {"open": left > timedelta(0), "until": until, "left": int(left.total_seconds() // 60) * 60}


def _messages(session: Session, row: Row, found: list[Shown], limit: int) -> dict[str, Any]:
    """Return messages in the order in which they are read, with what belongs to them."""
    shown = found[:limit]
    ids = {each.message.media_id for each in shown if each.message.media_id}
    query = sa.select(Media).where(Media.id.in_(ids), Media.workspace_id == row[0].workspace_id)
    oldest = shown[-1].message if shown else None
    return {
        "messages": list(reversed(shown)),
        "files": {each.id: each for each in session.scalars(query)} if ids else {},
        "quoted": history.quoted(session, [each.message for each in shown]),
        "advice": replying.advice,
        "earlier": _cursor(oldest.occurred_at, oldest.id) if oldest and len(found) > limit else None,
    }


def _read(session: Session, conversation_id: uuid.UUID) -> None:
    history.conversation(session, here().workspace_id, conversation_id)
    theirs = (each.message for each in history.messages(session, conversation_id, limit=MOST_SHOWN))
    newest = next((each for each in theirs if each.direction is Direction.IN), None)
    if newest is None:
        raise Conflict("The customer has not written anything lately.")
    reading.mark(session, here().workspace_id, newest.id, typing=False)


def _channels(session: Session) -> dict[uuid.UUID, Channel]:
    return {each.id: each for each in workspaces.channels(session, here().workspace_id)}


def _if_changed(template: str, values: Mapping[str, Any]) -> ResponseReturnValue:
    """Return a part of a page; nothing if it looks as who asks has it, so that what plays there goes on."""
    inner = render_template(template, **values)
    seen = _digest(inner)
    if request.args.get("seen") == seen:
        return "", 204
    return render_template("admin/_live.html", inner=inner, seen=seen, **values)


# Made anew each time, for a form in the part.
_TOKEN = re.compile(r'name="csrf_token"[^>]*')


def _digest(inner: str) -> str:
    return hashlib.sha256(_TOKEN.sub("", inner).encode()).hexdigest()[:16]


def _cursor(at: datetime | None, id: uuid.UUID) -> str:
    return encode([at, id])


def _asked_since() -> tuple[datetime, uuid.UUID] | None:
    return decode(request.args.get("since"), datetime, uuid.UUID)


def _back(conversation_id: uuid.UUID) -> ResponseReturnValue:
    return redirect(url_for("admin.conversation", conversation_id=conversation_id))


def _is_id(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False
