"""Templates: looked up, refused, rendered, asked for. `sync` keeps them as the provider has them."""

import uuid
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Conflict, DomainError, FieldError, Invalid, NotFound, did_you_mean
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.log import rarely
from crm_tasks.templates import shape
from crm_tasks.templates.models import APPROVED, DELETED, Template
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

# Why a template is refused, by its status; any other status is `template_not_approved`.
_WHY = {
    "PENDING": "is still being reviewed",
    "IN_APPEAL": "was rejected and appealed against",
    "REJECTED": "was rejected",
    "PAUSED": "is paused, as too many people did not want it",
    "DISABLED": "is disabled for good",
    "ARCHIVED": "is archived",
    DELETED: "was deleted at the provider",
}
_REMEDY = "Send another template; `crm template list` shows which may be sent."


# --- before a message is accepted, and again before it leaves ----------------------------------------------------


def check(session: Session, channel: Channel, content: dict[str, Any]) -> Template | None:
    """Return the template that a message names, or None where the account's templates were never fetched.

    Then nothing can be said about them: the message is let through, and the list is asked for.

    Raises:
        Invalid: no such template, or its parameters do not fit. Conflict: it may not be sent now.
    """
    name, language = named(content)
    template = find(session, channel, name, language)
    if (problem := _against(session, channel, name, language, template)) is not None:
        raise problem
    if template is None:
        if rarely(f"templates.ask:{channel.id}"):
            ask_sync(session, channel)
        return None
    components = content.get("components") or []
    if wrong := shape.problems(template.parameters, components, named=_is_named(template)):
        raise Invalid(
            f"The parameters do not fit the template {name} ({language}).", code="template_parameters", fields=wrong
        )
    return template


def seen(session: Session, channel: Channel, name: str, language: str) -> tuple[Template | None, DomainError | None]:
    """Return a template, and why it may not be sent: nothing if nothing is known against it."""
    template = find(session, channel, name, language)
    return template, _against(session, channel, name, language, template)


def find(session: Session, channel: Channel, name: str, language: str) -> Template | None:
    """Return a template of the channel's account."""
    return session.scalar(sa.select(Template).where(of(channel), Template.name == name, Template.language == language))


def render(template: Template, components: Iterable[Any] | None) -> str:
    """Return what a person reads of a message of this template."""
    return shape.rendered(template.components, components or [], named=_is_named(template))


def laid(template: Template, components: Iterable[Any] | None) -> shape.Laid:
    """Return a message of this template as a phone lays it out."""
    return shape.laid(template.components, components or [], named=_is_named(template))


def _against(
    session: Session, channel: Channel, name: str, language: str, template: Template | None
) -> DomainError | None:
    if template is not None:
        return None if template.sendable else _refusal(template)
    languages = _languages(session, channel)
    if not languages:
        return None
    if language in languages.get(name, ()):  # the list came in between the two looks
        found = find(session, channel, name, language)
        return None if found is None or found.sendable else _refusal(found)
    if known := sorted(languages.get(name, ())):
        where, remedy = "template.language.code", f"There is {name} in {', '.join(known)}."
    else:
        where, remedy = "template.name", f"There is none of this name.{did_you_mean(name, languages)}"
    return Invalid(
        f"There is no template {name} in {language}.",
        code="template_unknown",
        hint="`crm template list` shows them; `crm template sync` fetches those made a moment ago.",
        fields=[FieldError(where, remedy, "template_unknown")],
    )


def named(content: dict[str, Any]) -> tuple[str, str]:
    """Return the name and language of the template that a message's content names."""
    language = content.get("language")
    return str(content.get("name") or ""), str(language.get("code") or "") if isinstance(language, dict) else ""


def _is_named(template: Template) -> bool:
    return template.parameter_format == "named"


def _refusal(template: Template) -> Conflict:
    known = template.status in _WHY
    why = _WHY.get(template.status, f"is not approved: its status is {template.status}")
    because = f" ({template.reason})" if template.reason else ""
    code = f"template_{template.status.lower()}" if known else "template_not_approved"
    text = f"The template {template.name} ({template.language}) {why}{because}."
    return Conflict(text, code=code, hint=_REMEDY, fields=[FieldError("template.name", text, code)])


def of(channel: Channel) -> sa.ColumnElement[bool]:
    """Return the condition that a template is of the channel's account."""
    return sa.and_(Template.workspace_id == channel.workspace_id, Template.waba_id == channel.waba_id)


def _languages(session: Session, channel: Channel) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, language in session.execute(sa.select(Template.name, Template.language).where(of(channel))):
        found.setdefault(name, []).append(language)
    return found


# --- for people --------------------------------------------------------------------------------------------------


def get(session: Session, workspace_id: uuid.UUID, template_id: uuid.UUID) -> Template:
    """Return one template of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    template = session.get(Template, template_id)
    if template is None or template.workspace_id != workspace_id:
        raise NotFound(f"There is no template {template_id}.", code="template_not_found")
    return template


def listed(
    session: Session,
    workspace_id: uuid.UUID,
    *,
    name: str | None = None,
    status: str | None = None,
    category: str | None = None,
    language: str | None = None,
    waba_id: str | None = None,
    after: tuple[str, str, uuid.UUID] | None = None,
    limit: int = 50,
) -> list[Template]:
    """Return templates by name and language; those deleted at the provider only if asked for by status."""
    order = (Template.name, Template.language, Template.id)
    query = sa.select(Template).where(Template.workspace_id == workspace_id).order_by(*order).limit(limit)
    query = query.where(Template.status == status.upper() if status else Template.status != DELETED)
    if name:
        query = query.where(Template.name == name)
    if category:
        query = query.where(Template.category == category.lower())
    if language:
        query = query.where(Template.language == language)
    if waba_id:
        query = query.where(Template.waba_id == waba_id)
    if after is not None:
        query = query.where(sa.tuple_(*order) > after)
    return list(session.scalars(query))


def sendable(session: Session, channel: Channel, *, limit: int = 500) -> list[Template]:
    """Return what a channel can send: the approved templates of its account."""
    if not channel.waba_id:
        return []
    return listed(session, channel.workspace_id, status=APPROVED, waba_id=channel.waba_id, limit=limit)


# --- the provider's list -----------------------------------------------------------------------------------------


def ask_sync(session: Session, channel: Channel) -> uuid.UUID | None:
    """Have the templates of a channel's account fetched, once however many ask; None if it has no account."""
    if channel.kind != "whatsapp" or not channel.waba_id:
        return None
    key = f"templates:{channel.workspace_id}:{channel.waba_id}"
    return enqueue(
        session,
        "messages.sync_templates",
        args={"channel_id": channel.id},
        workspace_id=channel.workspace_id,
        unique_key=key,
        serial_key=key,
    )


def ask_sync_of(
    session: Session, workspace_id: uuid.UUID | None = None, channel_id: uuid.UUID | None = None
) -> list[uuid.UUID]:
    """Have templates fetched: of one channel, of a workspace's, or of all; return the jobs.

    Raises:
        NotFound: no such channel in this workspace.
    """
    if workspace_id is not None and channel_id is not None:
        channels: Iterable[Channel] = [workspaces.channel(session, workspace_id, channel_id)]
    else:
        query = sa.select(Channel).order_by(Channel.id)
        channels = session.scalars(query.where(Channel.workspace_id == workspace_id) if workspace_id else query)
    return list(dict.fromkeys(job for channel in channels if (job := ask_sync(session, channel))))
