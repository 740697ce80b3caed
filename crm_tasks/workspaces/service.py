"""Tenants, their channels and their keys. Credentials come in and go out here and nowhere else."""

import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
import phonenumbers
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import crypto
from crm_tasks.core.db import now
from crm_tasks.core.errors import ConfigError, Conflict, FieldError, Forbidden, Invalid, NotFound
from crm_tasks.core.log import get_logger
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Need, Provider, Sender
from crm_tasks.workspaces.models import ApiKey, Channel, UnknownPolicy, Workspace
from crm_tasks.workspaces.policies import field_errors
from crm_tasks.workspaces.schemas import ChannelChange

log = get_logger(__name__)

KEY_PREFIX = "crm_"
# Characters of one value of a channel; what is no secret may be in an index.
MOST_VALUE, MOST_SECRET = 500, 10_000
MOST_WEIGHT = 100


# --- workspaces --------------------------------------------------------------------------------------------------


def create(session: Session, name: str, *, region: str = "US") -> Workspace:
    """Make a workspace. `region` is the country (ISO alpha-2) in which its people write phone numbers.

    Raises:
        Invalid: no name, or not a region.
    """
    if not name.strip():
        raise Invalid("A workspace needs a name.", fields=[FieldError("name", "Write a name.")])
    if region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise Invalid(
            f"{region!r} is not a region.", fields=[FieldError("region", "Use an ISO code such as US or DE.")]
        )
    workspace = Workspace(name=name.strip(), region=region.upper())
    session.add(workspace)
    session.flush()
    return workspace


def set_weight(session: Session, workspace_id: uuid.UUID, weight: int, *, actor: str) -> Workspace:
    """Give a workspace its share of the workers while others have work too.

    Raises:
        NotFound: there is none of this id. Invalid: not 1 to 100.
    """
    if not 1 <= weight <= MOST_WEIGHT:
        error = FieldError("weight", f"Use a whole number from 1 to {MOST_WEIGHT}; 2 is twice the share of 1.")
        raise Invalid("This is no weight.", fields=[error])
    workspace = get(session, workspace_id)
    workspace.weight = weight
    log.info("workspace.weight", workspace_id=str(workspace.id), weight=weight, actor=actor)
    return workspace


def get(session: Session, workspace_id: uuid.UUID) -> Workspace:
    """Return a workspace.

    Raises:
        NotFound: there is none of this id.
    """
    workspace = session.get(Workspace, workspace_id)
    if workspace is None:
        raise NotFound(f"There is no workspace {workspace_id}.")
    return workspace


def set_auto_reply(session: Session, workspace: Workspace, *, on: bool) -> None:
    """Have customers answered by the language model from now on, or no more."""
    if not on:
        workspace.auto_reply_since = None
    elif workspace.auto_reply_since is None:
        workspace.auto_reply_since = session.scalar(sa.select(now()))


def only(session: Session, workspace_id: uuid.UUID | None) -> Workspace:
    """Return the workspace that is meant: the one named, or the only one there is.

    Raises:
        NotFound: no such workspace. Invalid: there are several and none was named.
    """
    if workspace_id is not None:
        return get(session, workspace_id)
    found = session.scalars(sa.select(Workspace).order_by(Workspace.id).limit(2)).all()
    if not found:
        raise NotFound("There is no workspace yet.", hint="`crm workspace add NAME` makes one.")
    if len(found) > 1:
        raise Invalid("There are several workspaces.", hint="Name one; `crm workspace list` shows their ids.")
    return found[0]


# --- channels ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChannel:
    """What is needed to add a channel. `values` are those that its provider needs, by name."""

    kind: str
    name: str
    values: Mapping[str, Any]
    display_phone_number: str | None = None
    base_url: str | None = None
    api_version: str | None = None
    unknown_policy: UnknownPolicy = UnknownPolicy.HOLD


def add_channel(session: Session, workspace_id: uuid.UUID, new: NewChannel) -> Channel:
    """Add a channel to a workspace; its credentials are encrypted.

    Raises:
        NotFound: no such workspace. Invalid: something is missing. Conflict: the number belongs to a channel already.
    """
    workspace = get(session, workspace_id)
    kind = registry.provider(new.kind)
    values = _checked_values(new, kind)
    number = values.pop("phone_number_id", None)
    secret = {need.name for need in kind.needs if need.secret}
    credentials: dict[str, Any] = {name: value for name, value in values.items() if name in secret}
    if app_secret := credentials.pop("app_secret", None):
        credentials["app_secrets"] = [app_secret]
    channel = Channel(
        workspace_id=workspace.id,
        kind=new.kind,
        name=new.name.strip(),
        base_url=(new.base_url or "").rstrip("/"),
        phone_number_id=number,
        waba_id=values.pop("waba_id", None),
        display_phone_number=new.display_phone_number,
        settings={name: value for name, value in values.items() if name not in secret},
        credentials=credentials,
        signed_by=[crypto.secret_fingerprint(each) for each in credentials.get("app_secrets", ())],
        unknown_policy=new.unknown_policy,
    )
    if new.kind == "whatsapp":
        channel.base_url = channel.base_url or settings().whatsapp_base_url.rstrip("/")
        channel.api_version = new.api_version or settings().whatsapp_api_version
    try:
        with session.begin_nested():
            session.add(channel)
    except IntegrityError:
        raise Conflict(f"The number {number} belongs to a channel already.", code="channel_exists") from None
    return channel


def _checked_values(new: NewChannel, kind: Provider) -> dict[str, Any]:
    """Return the values that a channel of this kind has, defaults included."""
    problems = [] if new.name.strip() else [FieldError("name", "This is needed.")]
    values: dict[str, Any] = {}
    for need in kind.needs:
        given = new.values.get(need.name)
        given = given.strip() if isinstance(given, str) else given
        if given in (None, ""):
            given = need.default
        if given is None and need.required:
            problems.append(FieldError(need.name, f"This is needed. {need.what}"))
        elif given is not None:
            values[need.name] = given
            problems += _too_long(need, given)
    known = {need.name for need in kind.needs}
    for name, value in new.values.items():
        if name not in known and value not in (None, ""):
            problems.append(FieldError(name, f"A channel of kind {kind.kind} has no such value."))
    if new.base_url and not new.base_url.startswith(("https://", "http://")):
        problems.append(FieldError("base_url", "Must begin with https:// or http://."))
    elif new.base_url and "@" in new.base_url:
        problems.append(FieldError("base_url", "Leave out user and password: an address is shown, secrets are not."))
    if problems:
        raise Invalid("The channel cannot be added like this.", fields=problems)
    return values


def _too_long(need: Need, given: Any) -> list[FieldError]:
    most = MOST_SECRET if need.secret else MOST_VALUE
    return [FieldError(need.name, f"Write at most {most} characters.")] if len(str(given)) > most else []


def change_channel(
    session: Session,
    workspace_id: uuid.UUID,
    channel_id: uuid.UUID,
    values: Mapping[str, Any],
    *,
    actor: str,
    operator: bool = False,
) -> Channel:
    """Change the name, the policy and the limits of a channel (`ChannelChange`), from the next message on.

    Args:
        operator: may have it share the portfolio of another workspace's channels, and so their limit.

    Raises:
        NotFound: no such channel. Invalid: a field is wrong.
    """
    found = channel(session, workspace_id, channel_id)
    session.refresh(found, with_for_update=True)
    try:
        read = ChannelChange().load(values)
    except ma.ValidationError as error:
        text = "The channel cannot be changed like this."
        raise Invalid(text, fields=field_errors(error.messages_dict)) from None
    limits = read.get("settings", {})
    if not operator and (portfolio := limits.get("portfolio_id")):
        _refuse_foreign(session, workspace_id, portfolio)
    changed = {**found.settings, **limits}
    found.settings = {name: value for name, value in changed.items() if name not in limits or value is not None}
    found.name = read.get("name", found.name).strip()
    found.unknown_policy = UnknownPolicy(read.get("unknown_policy", found.unknown_policy))
    session.flush()
    log.info("channel.changed", channel_id=str(channel_id), fields=sorted({*read, *limits}), actor=actor)
    return found


def _refuse_foreign(session: Session, workspace_id: uuid.UUID, portfolio: str) -> None:
    own = sa.or_(Channel.settings["portfolio_id"].astext == portfolio, Channel.waba_id == portfolio)
    if session.scalar(sa.select(Channel.id).where(own, Channel.workspace_id != workspace_id).limit(1)) is not None:
        text = "Another workspace uses it: only an operator may have them share a limit."
        raise Invalid("The portfolio is not yours alone.", fields=[FieldError("settings.portfolio_id", text)])


def sender(channel: Channel) -> Sender:
    """Return a channel as its provider sees it."""
    own = {"api_version": channel.api_version, "phone_number_id": channel.phone_number_id, "waba_id": channel.waba_id}
    return Sender(
        channel_id=str(channel.id),
        base_url=channel.base_url,
        settings={**channel.settings, **{name: value for name, value in own.items() if value}},
        credentials=channel.credentials,
    )


def channels(session: Session, workspace_id: uuid.UUID) -> list[Channel]:
    """Return the channels of a workspace, the oldest first."""
    return list(session.scalars(sa.select(Channel).where(Channel.workspace_id == workspace_id).order_by(Channel.id)))


def channel(session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID) -> Channel:
    """Return a channel of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    found = session.get(Channel, channel_id)
    if found is None or found.workspace_id != workspace_id:
        raise NotFound(f"There is no channel {channel_id}.", code="channel_not_found")
    return found


def channel_for(session: Session, phone_number_id: str | None, waba_id: str | None) -> Channel | None:
    """Return the channel that a webhook is about: by its number, else by its WhatsApp account."""
    query = sa.select(Channel).where(Channel.kind == "whatsapp").order_by(Channel.id).limit(1)
    if phone_number_id:
        return session.scalar(query.where(Channel.phone_number_id == phone_number_id))
    return session.scalar(query.where(Channel.waba_id == waba_id)) if waba_id else None


def rotate_app_secret(session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID, secret: str) -> Channel:
    """Make a new app secret valid beside the present one; the one before that ends.

    Raises:
        NotFound: no such channel. Invalid: no secret.
    """
    if not secret.strip():
        raise Invalid("The new app secret is empty.", fields=[FieldError("app_secret", "This is needed.")])
    found = channel(session, workspace_id, channel_id)
    if "app_secrets" not in found.credentials:
        raise Invalid(f"A channel of kind {found.kind} has no app secret.", code="no_app_secret")
    kept = [secret, *found.credentials["app_secrets"][:1]]
    found.credentials = {**found.credentials, "app_secrets": kept}
    found.signed_by = [crypto.secret_fingerprint(each) for each in kept]
    return found


def rotate_credentials(
    session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID, values: Mapping[str, Any]
) -> Channel:
    """Replace secrets of a channel by name: used from the next message on.

    Raises:
        NotFound: no such channel. Invalid: nothing was given, or a name that is no secret of this kind.
    """
    found = channel(session, workspace_id, channel_id)
    names = [need.name for need in registry.provider(found.kind).needs if need.secret and need.name != "app_secret"]
    problems = [FieldError(name, f"Use {' or '.join(names)}.") for name in values if name not in names]
    problems += [FieldError(name, "This is empty.") for name, value in values.items() if not str(value).strip()]
    if problems or not values:
        raise Invalid(
            "The credentials cannot be changed like this.", fields=problems or [FieldError("values", "Name one.")]
        )
    found.credentials = {**found.credentials, **{name: str(value).strip() for name, value in values.items()}}
    return found


# Also of a room above this one: what an erasure still looks for.
_ENCRYPTED = (("channels", "credentials"), ("workspaces", "suppression_key"), ("erasures", "wanted"))


def reencrypt(session: Session) -> int:
    """Encrypt every secret of workspaces and channels with the first of ENCRYPTION_KEYS, so that an older one can be
    taken out.
    """
    found = 0
    for name, column in _ENCRYPTED:
        table = sa.table(name, sa.column("id"), sa.column(column, sa.LargeBinary))
        rows = session.execute(
            sa.select(table.c.id, table.c[column]).where(table.c[column].is_not(None)).with_for_update()
        )
        for row_id, token in rows.all():
            session.execute(sa.update(table).where(table.c.id == row_id).values({column: crypto.rotated(token)}))
            found += 1
    return found


@dataclass(frozen=True, slots=True)
class Secrets:
    """The app secrets by which webhooks are recognised."""

    by_number: dict[str, tuple[str, ...]]
    verify_tokens: frozenset[str]

    def for_numbers(self, numbers: Iterable[str]) -> set[str]:
        """Return the secrets that may sign for these numbers: what the known ones have in common, as they must be of
        one app; where none is known, every secret.
        """
        known = [set(self.by_number[number]) for number in numbers if number in self.by_number]
        return set.intersection(*known) if known else {secret for each in self.by_number.values() for secret in each}


def webhook_secrets(session: Session) -> Secrets:
    """Return what is needed to recognise WhatsApp's requests."""
    raw = sa.type_coerce(Channel.credentials, sa.LargeBinary)
    query = sa.select(Channel.phone_number_id, raw).where(Channel.kind == "whatsapp")
    by_number: dict[str, tuple[str, ...]] = {}
    tokens = set()
    for number, token in session.execute(query):
        try:
            credentials = crypto.decrypt(token)
        except ConfigError:
            # One channel whose key is gone must not shut the door for all the others.
            log.error("channel.not_readable", phone_number_id=number)
            continue
        by_number[number or ""] = tuple(credentials.get("app_secrets", ()))
        tokens.add(credentials.get("verify_token"))
    return Secrets(by_number, frozenset(tokens - {None}))


# --- API keys ----------------------------------------------------------------------------------------------------


def create_key(session: Session, workspace_id: uuid.UUID, name: str, *, operator: bool = False) -> tuple[ApiKey, str]:
    """Make an API key and return it with its secret, which nobody can read again.

    An operator's key also sees and holds what belongs to no workspace or to others: the jobs, not the messages.

    Raises:
        NotFound: no such workspace.
    """
    get(session, workspace_id)
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        workspace_id=workspace_id,
        name=name.strip() or "key",
        prefix=secret[:12],
        digest=crypto.digest(secret),
        operator=operator,
    )
    session.add(key)
    session.flush()
    return key, secret


def keys(session: Session, workspace_id: uuid.UUID) -> list[ApiKey]:
    """Return the keys of a workspace, revoked ones too."""
    return list(session.scalars(sa.select(ApiKey).where(ApiKey.workspace_id == workspace_id).order_by(ApiKey.id)))


def revoke_key(session: Session, workspace_id: uuid.UUID, key_id: uuid.UUID, *, operator: bool = True) -> ApiKey:
    """End a key at once.

    Args:
        operator: may end the key of an operator too.

    Raises:
        NotFound: no such key here. Forbidden: it is an operator's.
    """
    key = session.get(ApiKey, key_id)
    if key is None or key.workspace_id != workspace_id:
        raise NotFound(f"There is no API key {key_id}.")
    if key.operator and not operator:
        raise Forbidden("This key is an operator's.", code="operator_only", hint="Ask an operator to end it.")
    key.revoked_at = key.revoked_at or session.scalar(sa.select(now()))
    return key


def key_of(session: Session, secret: str) -> ApiKey | None:
    """Return the key with this secret, or None if there is none or it is revoked."""
    if not secret.startswith(KEY_PREFIX) or len(secret) > 100:
        return None
    return session.scalar(sa.select(ApiKey).where(ApiKey.digest == crypto.digest(secret), ApiKey.revoked_at.is_(None)))
