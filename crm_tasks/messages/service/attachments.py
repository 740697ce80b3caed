"""Files of messages: named by an id of ours when a message is accepted, by the provider's when it is sent.

A file is named where a picture or the like is: in a message of that type, in the header of an interactive message, in
the parameters of a template. An id that is none of ours is the provider's own, and passes as it is.
"""

import copy
import re
import uuid
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import FieldError, Invalid, Outcome, Snooze
from crm_tasks.core.jobs.model import JobState
from crm_tasks.media.models import Media, MediaState
from crm_tasks.media.service import fetching, uploading
from crm_tasks.messages.models import Message
from crm_tasks.messages.service.stopping import STOPPED, stop_channel
from crm_tasks.providers.whatsapp import files as whatsapp
from crm_tasks.workspaces.models import Channel

KINDS = tuple(whatsapp.TAKEN)
# With hyphens, as we write them: the provider's ids are digits.
_OURS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
Named = tuple[str, str, dict[str, Any]]


class Uploads(list[uploading.Upload]):
    """Files that the provider must have before a message can be sent."""


# --- out ---------------------------------------------------------------------------------------------------------


def checked(session: Session, channel: Channel, kind: str, content: dict[str, Any]) -> uuid.UUID | None:
    """Return the first file that a message names, when all that it names can be sent so.

    Raises:
        Invalid: a file is not of this workspace, could not be fetched, or is not of the type that it is sent as.
    """
    ours = list(_ours(kind, content))
    for path, shown_as, media_id in ours:
        media = session.get(Media, media_id)
        if media is None or media.workspace_id != channel.workspace_id:
            raise _wrong(path, f"There is no file {media_id}. Upload it to /api/v1/media.", "media_not_found")
        if media.state in (MediaState.FAILED, MediaState.EXPIRED):
            raise _wrong(path, f"This file could not be fetched: {media.reason}.", "media_not_stored")
        if media.sniffed_type is not None and not whatsapp.fits(shown_as, media.sniffed_type):
            raise _wrong(path, f"A file of type {media.sniffed_type} cannot be sent as {shown_as}.", "media_type")
    return ours[0][2] if ours else None


def resolved(
    session: Session, channel: Channel, message_id: uuid.UUID, kind: str, content: dict[str, Any]
) -> dict[str, Any] | Uploads:
    """Return the content as the provider wants it, or the files that it must have before.

    Raises:
        Snooze: a file is on its way already. Permanent: a file is not here any more.
    """
    ids = {media_id for _, _, media_id in _ours(kind, content)}
    if not ids:
        return content
    known = uploading.known(session, channel.id, ids)
    if known.keys() < ids:
        return Uploads(uploading.begin(session, channel, ids - known.keys(), by=message_id))
    filled = copy.deepcopy(content)
    for _, _, named in _named(kind, filled):
        if _OURS.fullmatch(str(named.get("id", ""))):
            named["id"] = known[uuid.UUID(named["id"])]
    return filled


def bring(uploads: Uploads) -> None:
    """Bring files to their provider, with no transaction open. A no to the whole channel holds the channel.

    Raises:
        Outcome: it did not work, or not now.
    """
    for upload in uploads:
        try:
            provider_id = uploading.bring(upload)
        except whatsapp.Stopped as stopped:
            db.retrying(stop_channel, upload.channel_id, stopped.no, "whatsapp", sender=upload.sender)
            raise Snooze(STOPPED, str(stopped), code=stopped.code, detail=stopped.no.as_error()) from None
        db.retrying(uploading.brought, upload, provider_id)


def first(kind: str, content: dict[str, Any]) -> uuid.UUID | None:
    """Return the first file of ours that a message names."""
    return next((media_id for _, _, media_id in _ours(kind, content)), None)


def _ours(kind: str, content: dict[str, Any]) -> Iterator[tuple[str, str, uuid.UUID]]:
    for path, shown_as, named in _named(kind, content):
        if _OURS.fullmatch(str(named.get("id", ""))):
            yield f"{path}.id", shown_as, uuid.UUID(named["id"])


def _named(kind: str, content: dict[str, Any]) -> Iterator[Named]:
    """Yield where a file is named, as what it is shown, and the object that names it."""
    if kind in KINDS:
        yield kind, kind, content
    elif kind == "interactive":
        yield from _within("interactive.header", content.get("header"))
    elif kind == "template":
        for number, component in enumerate(content.get("components") or ()):
            for position, parameter in enumerate(component.get("parameters") or ()):
                yield from _within(f"template.components.{number}.parameters.{position}", parameter)


def _within(path: str, part: Any) -> Iterator[Named]:
    shown_as = part.get("type") if isinstance(part, dict) else None
    if shown_as in KINDS and isinstance(part.get(shown_as), dict):
        yield f"{path}.{shown_as}", shown_as, part[shown_as]


def _wrong(path: str, message: str, code: str) -> Invalid:
    return Invalid(message, code=code, fields=[FieldError(path, message, code)])


# --- in ----------------------------------------------------------------------------------------------------------


def of_customer(kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object of a message that names a file at the provider; None if there is none."""
    return content if kind in KINDS and isinstance(content.get("id"), str | int) and content["id"] else None


def kept(session: Session, media_id: uuid.UUID, fetched: fetching.Fetched) -> None:
    """Remember that a file is here; what went wrong before is not shown any more."""
    fetching.kept(session, media_id, fetched)
    _show(session, media_id, None)


def follow(session: Session, state: JobState, error: BaseException | None, media_id: str) -> None:
    """Keep a file, and the message that it belongs to, in step with the job that fetches it."""
    wanted = uuid.UUID(media_id)
    known = isinstance(error, Outcome)
    code = error.code if known else type(error).__name__ if error else None  # type: ignore[union-attr]
    text = str(error) if known else None
    if state is JobState.QUEUED:
        fetching.put_off(session, wanted, code=code, text=text)
        return
    code, text = code or str(state), text or "it could not be fetched"
    fetching.failed(session, wanted, code=code, text=text)
    _show(session, wanted, {"code": code, "title": f"The file of this message could not be fetched: {text}"})


def _show(session: Session, media_id: uuid.UUID, error: dict[str, Any] | None) -> None:
    """Show on a customer's message what became of its file. One of ours says itself how it fared."""
    session.execute(
        sa.update(Message)
        .where(Message.media_id == media_id, Message.direction == "in")
        .values(error=error if error is not None else sa.null())
        .execution_options(synchronize_session=False)
    )
