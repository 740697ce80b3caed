"""Taking an e-mail in: everything that could be wrong with it is said now, by field, and not by a mail server later."""

import uuid
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.core.types import new_id
from crm_tasks.email.models import EmailAttachment
from crm_tasks.email.service import templates
from crm_tasks.media.service import files
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import outbox
from crm_tasks.messages.service.outbox import NewMessage
from crm_tasks.providers import registry
from crm_tasks.providers.mail import compose, render
from crm_tasks.providers.mail.compose import MAX_ATTACHED, Attachment, Mail
from crm_tasks.providers.mail.render import TemplateProblem
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

TYPE = "email"


def send_to(session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID, to: str, new: NewMessage) -> Message:
    """Accept an e-mail to an address.

    Args:
        new: its content is `subject`, `html`, `text` (or `template`, an id, with `variables`), `reply_to`, `headers`,
            `attachments` (each with `name`, `media_type` and `data` in base64, or with `media_id`).

    Raises:
        NotFound: no such channel or template here. Invalid: names every field that is wrong.
    """
    channel = workspaces.channel(session, workspace_id, channel_id)
    if TYPE not in registry.provider(channel.kind).types:
        kinds = ", ".join(registry.provider(channel.kind).types)
        problem = FieldError("type", f"Use one of: {kinds}.")
        raise Invalid(f"A channel of kind {channel.kind} sends no e-mail.", code="type_not_supported", fields=[problem])
    attached = _files(session, workspace_id, new.content.get("attachments") or ())
    content = _worded(session, workspace_id, new.content)
    _check(session, channel, to, content, attached)
    content["attachments"] = [
        {"name": each.name, "media_type": each.media_type, "size": len(each.data)} for each in attached
    ]
    message = outbox.send_to(session, workspace_id, channel_id, to, replace(new, type=TYPE, content=content))
    session.add_all(
        EmailAttachment(message_id=message.id, position=position, workspace_id=workspace_id, data=each.data)
        for position, each in enumerate(attached)
    )
    session.flush()
    return message


def for_many(session: Session, channel: Channel, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an e-mail that goes to many, with the words of its template if it names one.

    Raises:
        NotFound: no such template here. Invalid: names every field that is wrong, and files, which only one can get.
    """
    if content.get("attachments"):
        remedy = FieldError("email.attachments", "Leave this out, and write a link to the file.")
        raise Invalid("An e-mail to many has no files.", fields=[remedy])
    worded = _worded(session, channel.workspace_id, content)
    _check(session, channel, str(channel.settings.get("from_address", "")), worded, ())
    return {**worded, "attachments": []}


def _check(
    session: Session, channel: Channel, to: str, content: Mapping[str, Any], attached: Sequence[Attachment]
) -> None:
    mail = Mail(
        message_id=new_id(),
        at=session.scalars(sa.select(now())).one(),
        sender=str(channel.settings.get("from_address", "")),
        sender_name=str(channel.settings.get("from_name", "")),
        to=to,
        subject=content["subject"],
        html=content["html"],
        text=content["text"],
        reply_to=content["reply_to"],
        headers=content["headers"],
        attachments=attached,
    )
    if found := compose.problems(mail):
        raise Invalid("The e-mail cannot be sent like this.", fields=[_placed(problem) for problem in found])


def _worded(session: Session, workspace_id: uuid.UUID, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its words: those given, or those of the template with the values in place."""
    words = {name: given.get(name) or "" for name in ("subject", "html", "text")}
    if template_id := given.get("template"):
        template = templates.get(session, workspace_id, uuid.UUID(str(template_id)))
        words = templates.filled(template, given.get("variables") or {}, place="email")
    else:
        try:
            words["html"] = render.inlined(words["html"])
        except TemplateProblem as problem:
            raise Invalid(str(problem), fields=[FieldError("email.html", str(problem))]) from None
    return {**words, "reply_to": given.get("reply_to") or "", "headers": given.get("headers") or {}}


def _files(session: Session, workspace_id: uuid.UUID, given: Sequence[Mapping[str, Any]]) -> list[Attachment]:
    found: list[Attachment] = []
    problems: list[FieldError] = []
    for position, each in enumerate(given):
        place = f"email.attachments.{position}"
        try:
            file = _uploaded(session, workspace_id, each) if each.get("media_id") else _sent_along(each)
        except (NotFound, Conflict) as error:
            problems.append(FieldError(f"{place}.media_id", error.message, error.code))
        except ValueError:
            problems.append(FieldError(f"{place}.data", "Write the file's bytes in base64."))
        else:
            found.append(file)
        if sum(len(file.data) for file in found) > MAX_ATTACHED:
            problems.append(FieldError("email.attachments", f"At most {MAX_ATTACHED // 1024**2} MB together."))
            break
    if problems:
        raise Invalid("The files cannot be sent.", fields=problems)
    return found


def _sent_along(given: Mapping[str, Any]) -> Attachment:
    return Attachment(given["name"], given["media_type"].lower(), b64decode(given["data"], validate=True))


def _uploaded(session: Session, workspace_id: uuid.UUID, given: Mapping[str, Any]) -> Attachment:
    """Return a file that was uploaded before; the e-mail has its own copy from now on."""
    media = files.get(session, workspace_id, uuid.UUID(str(given["media_id"])))
    with files.opened(media) as file:
        data = file.read(MAX_ATTACHED + 1)
    kind = given.get("media_type") or media.sniffed_type or media.mime_type or "application/octet-stream"
    name = given.get("name") or media.filename or f"{media.id}"
    return Attachment(name, kind.partition(";")[0].strip().lower(), data)


def _placed(problem: FieldError) -> FieldError:
    """Return a problem with the name that its field has in a request; what is the channel's is said to be that."""
    if problem.field == "to":
        return problem
    if problem.field in ("sender", "sender_name"):
        return FieldError("channel_id", f"This channel's sender is not usable: {problem.message}", "bad_sender")
    return replace(problem, field=f"email.{problem.field}")
