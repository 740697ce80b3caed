"""What WhatsApp's webhooks say, as values. Nothing in a payload is trusted to be there or to have a shape.

Source: Meta's webhook reference for the Cloud API (fields `messages`, `user_id_update`, `user_preferences`,
`smb_message_echoes`); all
other fields are kept as they are.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crm_tasks.core.text import storable

SIGNATURE_HEADER = "X-Hub-Signature-256"
# A business-scoped user id: ISO country, a dot, up to 128 characters; of a portfolio with `ENT.` between.
_BSUID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
_EARLIEST, _LATEST = 1_000_000_000, 4_102_444_800
_TARGETS = {"reaction": "message_id", "edit": "original_message_id", "revoke": "original_message_id"}
# Meta, webhook `user_preferences`: the one category there is, and what a person may want of it.
_MARKETING, _PREFERENCES = "marketing_messages", ("stop", "resume", "signup")
# Where a person's words are, by type.
_WORDS = {
    "text": ("body",),
    "image": ("caption",),
    "video": ("caption",),
    "document": ("caption", "filename"),
    "button": ("text",),
    "reaction": ("emoji",),
    "location": ("name", "address"),
    "system": ("body",),
    "order": ("text",),
}


def signature(secret: str, body: bytes) -> str:
    """Return the value of X-Hub-Signature-256 for these exact bytes."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def signed_with(secret: str, body: bytes, header: str) -> bool:
    """Say whether the header is the signature of these bytes; compares in constant time."""
    return hmac.compare_digest(signature(secret, body).encode(), header.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Person:
    """The other side, as far as a webhook names it. Any of the names may be missing."""

    wa_id: str | None = None
    bsuid: str | None = None
    parent_bsuid: str | None = None
    name: str | None = None
    username: str | None = None

    def known(self) -> bool:
        """Say whether there is a name to find the person by."""
        return bool(self.wa_id or self.bsuid or self.parent_bsuid)


class _People:
    """Whom the `contacts` list of a webhook names, maybe a thousand: each found by either name, the first wins."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._named: dict[tuple[str, str], tuple[int, Person]] = {}
        for place, person in enumerate(people):
            for name in self._names(person):
                self._named.setdefault(name, (place, person))

    def same(self, person: Person) -> Person | None:
        """Return who has a name of this person."""
        found = [self._named[name] for name in self._names(person) if name in self._named]
        return min(found, key=lambda each: each[0])[1] if found else None

    @staticmethod
    def _names(person: Person) -> list[tuple[str, str]]:
        return [(kind, name) for kind, name in (("bsuid", person.bsuid), ("wa_id", person.wa_id)) if name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One thing that a webhook tells, and the number or account that it is about."""

    waba_id: str | None
    phone_number_id: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage(Update):
    """A message (also a reaction, edit, deletion or system note) from a person; an echo is one from us elsewhere."""

    id: str
    person: Person
    type: str
    content: dict[str, Any]
    text: str | None
    context_id: str | None
    target_id: str | None
    group_id: str | None
    raw: dict[str, Any]
    echo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Update):
    """How far one of our messages has come."""

    id: str
    status: str
    person: Person
    recipient: str
    callback_data: str | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityChange(Update):
    """A person's number or user id became another."""

    before: Person
    after: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference(Update):
    """A person has switched marketing messages of a number off, or on again."""

    person: Person
    stops: bool
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange(Update):
    """Anything about the account rather than a conversation, and every field that we do not know."""

    field: str
    value: Any


@dataclass(slots=True)
class Parsed:
    """All that a webhook request tells, and what of it could not be understood."""

    updates: list[Update] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parse(body: bytes) -> Parsed:
    """Return what a webhook request says; never raises, whatever the bytes are."""
    try:
        payload = storable(json.loads(body))
    except (ValueError, RecursionError):
        return Parsed(problems=["not JSON"])
    parsed = Parsed()
    if not isinstance(payload, dict) or not isinstance(payload.get("entry"), list | dict):
        parsed.problems.append("no entry")
        return parsed
    for entry in _objects(payload["entry"]):
        for change in _objects(entry.get("changes")):
            _change(_text(entry.get("id")), entry, change, parsed)
    return parsed


def phone_number_ids(body: bytes) -> set[str] | None:
    """Return the numbers that a request is about, to find their secrets; None if it cannot be read."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found: set[str] = set()
    for entry in _objects(payload.get("entry")) if isinstance(payload, dict) else ():
        for change in _objects(entry.get("changes")):
            metadata = _object(_object(change.get("value")).get("metadata"))
            if number := _text(metadata.get("phone_number_id")):
                found.add(number)
    return found


def _change(waba_id: str | None, entry: dict, change: dict, parsed: Parsed) -> None:
    name, value = _text(change.get("field")) or "", _object(change.get("value"))
    number = _text(_object(value.get("metadata")).get("phone_number_id"))
    where = {"waba_id": waba_id, "phone_number_id": number}
    people = _People(_person_of_contact(contact) for contact in _objects(value.get("contacts")))
    if name == "messages":
        _conversation(value, people, entry, where, parsed)
    elif name == "smb_message_echoes":
        for item in _objects(value.get("message_echoes")):
            _echo(item, where, parsed)
    elif name == "user_preferences":
        for item in _objects(value.get("user_preferences")):
            _preference(item, people, where, parsed)
    elif name == "user_id_update":
        for item in _objects(value.get("user_id_update")):
            parsed.updates.append(_user_id_update(item, where))
    else:
        kept = change.get("value")
        parsed.updates.append(
            AccountChange(field=name or "unnamed", value=kept, at=_moment(entry.get("time")), **where)
        )


def _conversation(value: dict, people: _People, entry: dict, where: dict, parsed: Parsed) -> None:
    for item in _objects(value.get("messages")):
        _message(item, people, where, parsed)
    for item in _objects(value.get("statuses")):
        _status(item, people, where, parsed)
    if value.get("errors"):
        errors = {"errors": value["errors"]}
        parsed.updates.append(AccountChange(field="errors", value=errors, at=_moment(entry.get("time")), **where))


def _message(item: dict, people: _People, where: dict, parsed: Parsed) -> None:
    message_id = _text(item.get("id"))
    person = _sender(item, people)
    if not message_id:
        parsed.problems.append("a message without id")
    elif not person.known():
        parsed.problems.append(f"message {message_id}: nobody named as its sender")
    else:
        made = _inbound(message_id, item, person, where)
        parsed.updates.append(made)
        if made.type == "system" and (moved := _moved(item, person, where)):
            parsed.updates.append(moved)


def _inbound(message_id: str, item: dict, person: Person, where: dict, *, echo: bool = False) -> InboundMessage:
    kind = _text(item.get("type")) or "unknown"
    content = item.get(kind)
    if not isinstance(content, dict):
        content = {} if content is None else {kind: content}
    if item.get("errors"):
        content = {**content, "errors": item["errors"]}
    if item.get("referral"):
        content = {**content, "referral": item["referral"]}
    context = _object(item.get("context"))
    target = _text(content.get(_TARGETS[kind])) if kind in _TARGETS else None
    return InboundMessage(
        id=message_id,
        person=person,
        type=kind,
        content=content,
        text=words(kind, content),
        context_id=_text(context.get("id")),
        target_id=target,
        group_id=_text(item.get("group_id")),
        raw=item,
        echo=echo,
        at=_moment(item.get("timestamp")),
        **where,
    )


def _echo(item: dict, where: dict, parsed: Parsed) -> None:
    """A message that the business wrote in the WhatsApp app itself."""
    message_id = _text(item.get("id"))
    person = _person(item.get("to"), item.get("to_user_id"), item.get("to_parent_user_id"))
    if message_id and person.known():
        parsed.updates.append(_inbound(message_id, item, person, where, echo=True))
    else:
        parsed.problems.append("an echo without id or recipient")


def _status(item: dict, people: _People, where: dict, parsed: Parsed) -> None:
    message_id, status = _text(item.get("id")), _text(item.get("status"))
    if not message_id or not status:
        parsed.problems.append("a status without id or status")
        return
    parent = item.get("recipient_parent_user_id") or item.get("parent_recipient_user_id")
    group = item.get("recipient_type") == "group"
    if group:
        # Meta writes it both ways.
        member = item.get("recipient_participant_id") or item.get("participant_recipient_id")
        person = _person(member, item.get("recipient_participant_user_id"), None)
    else:
        person = _person(item.get("recipient_id"), item.get("recipient_user_id"), parent)
    detail = {key: item[key] for key in ("errors", "pricing", "conversation", "recipient_type") if item.get(key)}
    parsed.updates.append(
        Status(
            id=message_id,
            status=status,
            person=_completed(person, people),
            recipient=person.bsuid or person.wa_id or _text(item.get("recipient_id")) or "",
            callback_data=_text(item.get("biz_opaque_callback_data")),
            detail=detail,
            at=_moment(item.get("timestamp")),
            **where,
        )
    )


def _moved(item: dict, person: Person, where: dict) -> IdentityChange | None:
    system = _object(item.get("system"))
    if system.get("type") not in ("user_changed_number", "user_changed_user_id"):
        return None
    after = _person(system.get("wa_id"), system.get("user_id"), system.get("parent_user_id"))
    return (
        IdentityChange(before=person, after=after, at=_moment(item.get("timestamp")), **where)
        if after.known()
        else None
    )


def _user_id_update(item: dict, where: dict) -> IdentityChange:
    own, parent = _object(item.get("user_id")), _object(item.get("parent_user_id"))
    return IdentityChange(
        before=_person(item.get("wa_id"), own.get("previous"), parent.get("previous")),
        after=_person(None, own.get("current"), parent.get("current")),
        at=_moment(item.get("timestamp")),
        **where,
    )


def _preference(item: dict, people: _People, where: dict, parsed: Parsed) -> None:
    person = _completed(_person(item.get("wa_id"), item.get("user_id"), item.get("parent_user_id")), people)
    wanted, at = _text(item.get("value")), _moment(item.get("timestamp"))
    if item.get("category", _MARKETING) != _MARKETING or wanted not in _PREFERENCES:
        parsed.updates.append(AccountChange(field="user_preferences", value=item, at=at, **where))
    elif not person.known():
        parsed.problems.append("a preference without a person")
    else:
        parsed.updates.append(Preference(person=person, stops=wanted == "stop", raw=item, at=at, **where))


# --- people ------------------------------------------------------------------------------------------------------


def _person(wa_id: Any, user_id: Any, parent: Any, profile: Any = None) -> Person:
    phone, bsuid = _text(wa_id), _text(user_id)
    if phone and _BSUID.fullmatch(phone):  # some senders put the user id where the number was
        phone, bsuid = None, bsuid or phone
    shown = _object(profile)
    username = _text(shown.get("username"))
    return Person(
        wa_id=re.sub(r"\D", "", phone) or None if phone else None,
        bsuid=bsuid,
        parent_bsuid=_text(parent),
        name=_text(shown.get("name")),
        username=username.removeprefix("@") if username else None,
    )


def _person_of_contact(contact: dict) -> Person:
    return _person(contact.get("wa_id"), contact.get("user_id"), contact.get("parent_user_id"), contact.get("profile"))


def _sender(item: dict, people: _People) -> Person:
    return _completed(_person(item.get("from"), item.get("from_user_id"), item.get("from_parent_user_id")), people)


def _completed(person: Person, people: _People) -> Person:
    """Add what the `contacts` list says of the same person: matched by name, never by position."""
    other = people.same(person)
    if other is None:
        return person
    return Person(
        wa_id=person.wa_id or other.wa_id,
        bsuid=person.bsuid or other.bsuid,
        parent_bsuid=person.parent_bsuid or other.parent_bsuid,
        name=other.name,
        username=other.username,
    )


# --- foreign values ----------------------------------------------------------------------------------------------


def _objects(value: Any) -> Iterator[dict]:
    """Yield the objects of a list, or a lone object where a list should be."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def _object(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(value: Any) -> datetime | None:
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return datetime.fromtimestamp(seconds, UTC) if _EARLIEST < seconds < _LATEST else None


def words(kind: str, content: dict) -> str | None:
    """Return what a person reads of a message in a list, whoever wrote it; of a picture without caption, nothing."""
    if kind == "interactive":
        reply = _object(content.get(_text(content.get("type")) or ""))
        return _text(reply.get("title")) or _text(reply.get("body")) or _text(_object(content.get("body")).get("text"))
    if kind == "contacts":
        names = (_text(_object(card.get("name")).get("formatted_name")) for card in _objects(content.get("contacts")))
        return ", ".join(name for name in names if name) or None
    if kind == "edit":
        inner = _object(content.get("message"))
        inner_kind = _text(inner.get("type")) or "text"
        return words(inner_kind, _object(inner.get(inner_kind)))
    for key in _WORDS.get(kind, ()):
        if found := _text(content.get(key)):
            return found
    return None


def digest_of(value: Any) -> str:
    """Return a short name of a JSON value, equal for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
