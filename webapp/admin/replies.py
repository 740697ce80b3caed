"""What an agent answers in a conversation: a text or a file inside the window, a template at any time."""

import uuid
from collections.abc import Mapping

import marshmallow as ma
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, Invalid, NotFound
from crm_tasks.core.types import new_id
from crm_tasks.media.service import checking, files
from crm_tasks.messages.contents import ContentsSchema
from crm_tasks.messages.service import replying
from crm_tasks.providers.storage import storage
from crm_tasks.workspaces import audit
from webapp.admin import blueprint, reply_template
from webapp.admin.access import here
from webapp.admin.conversations import page
from webapp.admin.forms import problems, typed
from webapp.admin.templates import chosen

# Which type of message a file becomes, by what it is; anything else is a document.
_TYPES = {"image/webp": "sticker", "image": "image", "video": "video", "audio": "audio"}
_WITH_CAPTION = ("image", "video", "document")


@blueprint.post("/conversations/<uuid:conversation_id>/reply")
def reply(conversation_id: uuid.UUID) -> ResponseReturnValue:
    """Say something: what was typed, with a file if there is one."""
    given, file = typed(), request.files.get("file")
    try:
        if file is not None and file.filename:
            _send_file(conversation_id, given, file)
        else:
            _send_text(conversation_id, given)
    except (DomainError, ma.ValidationError) as error:
        return _refused(conversation_id, error, given, "reply")
    return _done(conversation_id)


@blueprint.post("/conversations/<uuid:conversation_id>/fields")
def template_fields(conversation_id: uuid.UUID) -> str:
    """Show what the chosen template wants to be filled in, and how it then reads; the page asks while one types."""
    given = typed()
    with db.transaction() as session:
        where = replying.place(session, here().workspace_id, conversation_id)
        shown = reply_template.shown(session, where.channel, given)
        return render_template("admin/_reply_template.html", conversation=where.conversation, **shown)


@blueprint.post("/conversations/<uuid:conversation_id>/template")
def send_template(conversation_id: uuid.UUID) -> ResponseReturnValue:
    """Send a template with its places filled in."""
    given = typed()
    try:
        with db.transaction() as session:
            where = replying.place(session, here().workspace_id, conversation_id)
            found = chosen(session, where.channel, given)
            if found is None:
                raise Invalid("Choose a template.", fields=[FieldError("template", "Choose a template.")])
            content = ContentsSchema().load({"template": reply_template.content(given, found)})["template"]
            if replying.first(session, where, given.get("key", ""), {"template": content}):
                _note(session, replying.say(session, where, "template", content).id)
    except (DomainError, ma.ValidationError) as error:
        return _refused(conversation_id, error, given, "template")
    return _done(conversation_id)


def _send_text(conversation_id: uuid.UUID, given: Mapping[str, str]) -> None:
    body = given.get("body", "")
    with db.transaction() as session:
        where = replying.place(session, here().workspace_id, conversation_id)
        content = ContentsSchema().load({"text": {"body": body}})["text"]
        if replying.first(session, where, given.get("key", ""), content):
            _note(session, replying.say(session, where, "text", content).id)


def _send_file(conversation_id: uuid.UUID, given: Mapping[str, str], file: FileStorage) -> None:
    """Keep a file and send it; what is refused is not kept."""
    with db.transaction() as session:  # whose conversation it is, before anything is kept
        replying.place(session, here().workspace_id, conversation_id)
    media_id, name = new_id(), (file.filename or "file")[:240]
    found = checking.check(file.stream, None, file.stream.seek(0, 2))  # type: ignore[arg-type]
    stored = files.keep(file.stream, media_id)  # type: ignore[arg-type]
    kind = _TYPES.get(found) or _TYPES.get(found.partition("/")[0], "document")
    try:
        with db.transaction() as session:
            where = replying.place(session, here().workspace_id, conversation_id)
            said = {"file": stored.sha256, "caption": given.get("body", "")}
            is_first = replying.first(session, where, given.get("key", ""), said)
            if is_first:
                files.add(
                    session,
                    here().workspace_id,
                    where.channel.id,
                    stored,
                    media_id=media_id,
                    mime_type=found,
                    filename=name,
                )
                content = ContentsSchema().load({kind: _attached(kind, media_id, name, given.get("body", ""))})[kind]
                _note(session, replying.say(session, where, kind, content).id)
    except BaseException:
        storage().delete(stored.key)
        raise
    if not is_first:
        storage().delete(stored.key)


def _attached(kind: str, media_id: uuid.UUID, name: str, caption: str) -> dict[str, str]:
    content = {"id": str(media_id)}
    if caption and kind not in _WITH_CAPTION:
        text = f"A file of this kind ({kind}) is sent without words."
        raise Invalid(text, fields=[FieldError("body", f"{text} Send them apart.")])
    if caption:
        content["caption"] = caption
    return {**content, "filename": name} if kind == "document" else content


def _note(session: Session, message_id: uuid.UUID) -> None:
    audit.note(session, message_id=str(message_id))


def _refused(
    conversation_id: uuid.UUID, error: DomainError | ma.ValidationError, given: Mapping[str, str], form: str
) -> ResponseReturnValue:
    """Show the page with what was typed and what is wrong with it."""
    if isinstance(error, NotFound):
        raise error
    told = [each.message for each in problems(error)]
    if isinstance(error, DomainError) and error.code in ("window_closed", "type_not_supported"):
        told = [error.message]
    more = {f"{form}_problems": told, "given": given}
    return page(conversation_id, **more), 422


def _done(conversation_id: uuid.UUID) -> ResponseReturnValue:
    return redirect(url_for("admin.conversation", conversation_id=conversation_id))
