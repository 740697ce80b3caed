"""Rules of a workspace about its messages: quiet hours, caps, prices, stop words; and who set them."""

import uuid
from collections.abc import Collection, Mapping
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma
import sqlalchemy as sa
from phonenumbers import SUPPORTED_REGIONS
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed, now
from crm_tasks.core.errors import FieldError, Invalid, NotFound, did_you_mean
from crm_tasks.core.log import get_logger
from crm_tasks.core.queues import parse_rate
from crm_tasks.workspaces.models import Policy

log = get_logger(__name__)

_CATEGORIES = ("marketing", "utility", "authentication", "service")
_MEDIA = ("whatsapp", "sms", "email")
_PRICED = (*_MEDIA, *(f"{medium}_{category}" for medium in _MEDIA for category in _CATEGORIES))


def _is_time(text: str) -> None:
    try:
        if time.fromisoformat(text).tzinfo is not None:
            raise ValueError
    except ValueError:
        raise ma.ValidationError("Write a time of day such as 21:00.") from None


def _is_zone(text: str) -> None:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ma.ValidationError(f"There is no time zone {text[:64]!r}: use a name such as Europe/Berlin.") from None


def _is_rate(text: str) -> None:
    if parse_rate(text) is None:
        raise ma.ValidationError("Write a rate as 20/m: a number, a slash and one of s, m, h, d.")


def _word() -> ma.fields.String:
    return ma.fields.String(validate=ma.validate.Length(1, 60, error="Write a word of 1 to 60 characters."))


class QuietHours(ma.Schema):
    """No messages of these categories at night, in the recipient's own time zone."""

    from_ = ma.fields.String(required=True, data_key="from", attribute="from", validate=_is_time)
    to = ma.fields.String(required=True, validate=_is_time)
    categories = ma.fields.List(
        ma.fields.String(validate=ma.validate.OneOf(_CATEGORIES)),
        load_default=lambda: ["marketing"],
        validate=ma.validate.Length(1),
    )

    @ma.validates_schema
    def _not_always(self, data: dict[str, Any], **_: Any) -> None:
        if time.fromisoformat(data["from"]) == time.fromisoformat(data["to"]):
            raise ma.ValidationError("These hours are empty: the two times are the same.", "to")


class FrequencyCap(ma.Schema):
    """At most so many marketing messages to one person in so many days, on all channels together."""

    messages = ma.fields.Integer(required=True, strict=True, validate=ma.validate.Range(1, 1000))
    days = ma.fields.Integer(required=True, strict=True, validate=ma.validate.Range(1, 365))


class Budget(ma.Schema):
    """At most so much a day or a calendar month, by the prices; in their currency."""

    amount = ma.fields.Float(required=True, validate=ma.validate.Range(0, 1e9))
    per = ma.fields.String(required=True, validate=ma.validate.OneOf(("day", "month")))
    time_zone = ma.fields.String(load_default="UTC", validate=_is_zone)


class Rate(ma.Schema):
    """At most so many messages of the whole workspace in a second, minute, hour or day."""

    rate = ma.fields.String(required=True, validate=_is_rate)


class Keywords(ma.Schema):
    """Words by which customers opt out of marketing and in again, and what is answered to the first of them.

    What is left out is as usual: words in many languages, and no answer.
    """

    stop = ma.fields.List(_word(), validate=ma.validate.Length(1, 100))
    start = ma.fields.List(_word(), validate=ma.validate.Length(1, 100))
    confirmation = ma.fields.String(validate=ma.validate.Length(1, 1024))


# `sms` is a price of every part, `whatsapp_marketing` one of every message of that category.
_EACH = {name: ma.fields.Float(validate=ma.validate.Range(0, 1e6)) for name in _PRICED}
_OF_COUNTRY = ma.Schema.from_dict(dict(_EACH), name="PricesOfCountry")


def _is_country(code: str) -> None:
    if code not in SUPPORTED_REGIONS:
        raise ma.ValidationError(f"There is no country {code[:8]!r}: use two capital letters, such as DE.")


# Providers charge by the country of the recipient; what a country has no price for costs what it does elsewhere.
_PRICES = ma.Schema.from_dict(
    {
        **_EACH,
        "countries": ma.fields.Dict(keys=ma.fields.String(validate=_is_country), values=ma.fields.Nested(_OF_COUNTRY)),
    },
    name="Prices",
)

SCHEMAS: dict[str, type[ma.Schema]] = {
    "quiet_hours": QuietHours,
    "frequency_cap": FrequencyCap,
    "prices": _PRICES,
    "budget": Budget,
    "rate": Rate,
    "keywords": Keywords,
}


def price(prices: Mapping[str, Any], country: str | None, medium: str, category: str) -> float | None:
    """Return what one message (of SMS: one part) costs in a country, by the rule `prices`; None without a price."""
    tables = (prices.get("countries", {}).get(country, {}), prices)
    names = (f"{medium}_{category}", medium)
    return next((table[name] for table in tables for name in names if name in table), None)


def listed(session: Session, workspace_id: uuid.UUID) -> list[Policy]:
    """Return the rules of a workspace."""
    return list(session.scalars(sa.select(Policy).where(Policy.workspace_id == workspace_id).order_by(Policy.name)))


def of_workspaces(session: Session, workspace_ids: Collection[uuid.UUID]) -> list[Policy]:
    """Return the rules of several workspaces."""
    return list(session.scalars(sa.select(Policy).where(Policy.workspace_id.in_(workspace_ids))))


def put(session: Session, workspace_id: uuid.UUID, name: str, value: Mapping[str, Any], *, actor: str) -> Policy:
    """Set a rule, in place of the one of this name.

    Raises:
        NotFound: there is no rule of this name. Invalid: not a value for it.
    """
    try:
        read = _schema(name).load(value)
    except ma.ValidationError as error:
        raise Invalid(f"This is not a value of {name}.", fields=field_errors(error.messages_dict)) from None
    statement = insert(Policy).values(workspace_id=workspace_id, name=name, value=read, set_by=actor, set_at=now())
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["workspace_id", "name"],
            set_={column: statement.excluded[column] for column in ("value", "set_by", "set_at")},
        )
    )
    log.info("policy.set", workspace_id=str(workspace_id), policy=name, actor=actor)
    return session.get_one(Policy, (workspace_id, name), populate_existing=True)


def remove(session: Session, workspace_id: uuid.UUID, name: str, *, actor: str) -> None:
    """End a rule.

    Raises:
        NotFound: it is not set.
    """
    _schema(name)
    found = session.execute(sa.delete(Policy).where(Policy.workspace_id == workspace_id, Policy.name == name))
    if not changed(found):
        raise NotFound(f"The policy {name} is not set.", code="policy_not_set")
    log.info("policy.removed", workspace_id=str(workspace_id), policy=name, actor=actor)


def _schema(name: str) -> ma.Schema:
    try:
        return SCHEMAS[name]()
    except KeyError:
        hint = f"There are: {', '.join(SCHEMAS)}."
        raise NotFound(f"There is no policy {name[:64]!r}.{did_you_mean(name, SCHEMAS)}", hint=hint) from None


def field_errors(messages: Mapping[str, Any], prefix: str = "") -> list[FieldError]:
    """Return what a schema found wrong, nested fields with dots."""
    found = []
    for name, problem in messages.items():
        if isinstance(problem, Mapping):
            found += field_errors({str(key): value for key, value in problem.items()}, f"{prefix}{name}.")
        else:
            found.append(FieldError(f"{prefix}{name}".removeprefix("_schema"), " ".join(map(str, problem))))
    return found
