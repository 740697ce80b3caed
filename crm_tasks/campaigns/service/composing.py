"""What a campaign says, checked when it is written: what the provider would refuse of everybody is refused once."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.service import rendering
from crm_tasks.contacts.models import Attribute
from crm_tasks.core.errors import Conflict, FieldError, Invalid, did_you_mean
from crm_tasks.core.text import storable
from crm_tasks.email.service import accept as email
from crm_tasks.messages.models import Category
from crm_tasks.messages.service import admission, attachments
from crm_tasks.messages.service.look import Look
from crm_tasks.providers import registry
from crm_tasks.templates import service as templates
from crm_tasks.workspaces.models import Channel

_EMPTY_PLACE = re.compile(r"\{\{[^{}|]*\|\s*\}\}")


def checked(session: Session, channel: Channel, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as it is kept with a campaign.

    Raises:
        Invalid: not a type of this channel; the template is unknown or its parameters do not fit; a place names an
            attribute that no contact has. Conflict: the template may not be sent. NotFound: no such e-mail template.
    """
    kind, provider = message["type"], registry.provider(channel.kind)
    if kind not in provider.types:
        kinds = ", ".join(provider.types)
        raise Invalid(
            f"A channel of kind {channel.kind} sends no {kind}.",
            code="type_not_supported",
            fields=[FieldError("message.type", f"Use one of: {kinds}.")],
        )
    try:
        said = _content(session, channel, kind, message)
    except (Invalid, Conflict) as error:
        error.fields = tuple(replace(each, field=f"message.{each.field}") for each in error.fields)
        raise
    _check_places(session, channel, kind, said if isinstance(said, Mapping) else {kind: said})
    category = {"category": str(message["category"])} if message.get("category") else {}
    return storable({"type": kind, kind: said, **category})


def category(session: Session, channel: Channel, campaign: Campaign) -> Category:
    """Return what a campaign is for: as its template is, or as was said; what nobody knows is taken for marketing.

    What the business itself takes for marketing is.
    """
    given = campaign.message.get("category")
    if given == Category.MARKETING:
        return Category.MARKETING
    _, found = admission.described(session, channel, campaign.type, campaign.content)
    return found or Category(given or Category.MARKETING)


def channel_of(session: Session, campaign: Campaign) -> Channel:
    """Return the channel of a campaign."""
    return session.get_one(Channel, campaign.channel_id)


def worded(seen: Look, content: dict[str, Any]) -> str | None:
    """Return what a person reads of a content; the template is looked up once for all of a look."""
    template = seen.shared.template(seen.channel, content)[0] if seen.row.type == "template" else None
    return admission.worded(seen.row.type, content, template)


def file_of(campaign: Campaign) -> uuid.UUID | None:
    """Return the first file of ours that a campaign's message names."""
    return attachments.first(campaign.type, campaign.content)


def described(
    session: Session, channel: Channel, kind: str, content: dict[str, Any]
) -> tuple[str | None, Category | None]:
    """Return what a person reads of a content, and what it is for if its template says so."""
    return admission.described(session, channel, kind, content)


def _content(session: Session, channel: Channel, kind: str, message: Mapping[str, Any]) -> Any:
    said, metadata = message[kind], message.get("metadata")
    provider = registry.provider(channel.kind)
    if metadata and provider.medium == "whatsapp":
        fields = [FieldError("metadata", "Leave this out: it would not be passed on.")]
        raise Invalid("WhatsApp takes no metadata.", code="no_metadata", fields=fields)
    if kind == email.TYPE:
        said = email.for_many(session, channel, said)
    elif kind == "template":
        templates.check(session, channel, said)
    attachments.checked(session, channel, kind, said if isinstance(said, dict) else {kind: said})
    if provider.measure:
        provider.measure(said)
    return {**said, "metadata": metadata} if metadata else said


def _check_places(session: Session, channel: Channel, kind: str, content: Mapping[str, Any]) -> None:
    """Refuse places that no contact could ever fill."""
    where = f"message.{kind}"
    wanted = {name for place in rendering.places(content) if (name := rendering.attribute_of(place)) is not None}
    if wanted:
        known = set(session.scalars(sa.select(Attribute.name).where(Attribute.workspace_id == channel.workspace_id)))
        if unknown := sorted(wanted - known):
            problems = [FieldError(where, _unknown(name, known), "attribute_unknown") for name in unknown]
            raise Invalid("The message names what contacts do not have.", code="attribute_unknown", fields=problems)
    if kind == "template" and any(_EMPTY_PLACE.search(text) for text in rendering.texts(content)):
        remedy = "Write what is said instead, such as {{name|there}}: a template takes no empty value."
        raise Invalid("A place has an empty fallback.", fields=[FieldError(where, remedy)])


def _unknown(name: str, known: set[str]) -> str:
    hint = did_you_mean(name, {*known, *rendering.FIELDS})
    return (
        f"There is no attribute {name[:64]!r}.{hint} Contacts have {', '.join(rendering.FIELDS)} and their attributes."
    )
