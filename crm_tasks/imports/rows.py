"""A record becomes a row, ready to be kept, or a refusal that names column, value and reason."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, partial
from typing import Any
from zoneinfo import available_timezones

from crm_tasks.contacts.models import AttributeType
from crm_tasks.imports import mapping, numbers
from crm_tasks.imports.numbers import Bad
from crm_tasks.imports.table import Damaged

LONGEST = {"name": 250, "external_id": 200, "tag": 64, "attribute": 2_000}
MOST_TAGS = 50
_SHOWN = 200
_SEPARATORS = re.compile(r"[;,|]")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_YES = frozenset(("1", "true", "t", "yes", "y", "x", "on", "sim", "s", "si", "sí", "oui", "ja", "ok"))
_NO = frozenset(("0", "false", "f", "no", "n", "off", "não", "nao", "non", "nein"))


@dataclass(slots=True)
class Row:
    """What one line says of a person. Several lines of one person are folded into one (plan.py)."""

    line: int
    phone: str | None = None
    email: str | None = None
    external_id: str | None = None
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    tags: tuple[str, ...] = ()
    attributes: dict[str, Any] | None = None
    consent: dict[str, Any] | None = None
    # Further identities: (kind, value).
    others: list[tuple[str, str]] = field(default_factory=list)
    consents: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is refused."""

    line: int
    column: str
    value: str
    code: str
    reason: str


Read = Callable[[Row, str], None]


class Reader:
    """Reads the records of one file."""

    def __init__(
        self,
        header: Sequence[str],
        targets: Sequence[str],
        *,
        region: str,
        tags: Sequence[str],
        types: Mapping[str, AttributeType],
    ) -> None:
        self._header, self._width, self._region = list(header), len(header), region
        self._tags = tuple(sorted(set(tags)))
        self._readers = [(position, self._reader(target, types)) for position, target in enumerate(targets) if target]
        self._names = [position for position, target in enumerate(targets) if target in ("first_name", "last_name")]
        self._names.sort(key=lambda position: targets[position])

    def read(self, line: int, record: list[str] | Damaged) -> Row | Reject:
        """Return what a record says."""
        if isinstance(record, Damaged):
            return Reject(line, "", "", "damaged", record.reason)
        if len(record) > self._width and any(record[self._width :]):
            reason = f"The line has {len(record)} fields, the header {self._width}. Maybe a quote is missing."
            return Reject(line, "", _shown(" | ".join(filter(None, record[self._width :]))), "too_many_fields", reason)
        row = Row(line, tags=self._tags)
        position, text, last = 0, "", len(record)
        try:
            for position, read in self._readers:
                if position < last and (text := record[position].strip()):
                    read(row, text)
        except Bad as bad:
            return Reject(line, self._header[position], _shown(text), bad.code, bad.reason)
        if row.phone is None and row.email is None:
            return Reject(line, "", "", "no_address", "There is neither a phone number nor an e-mail address.")
        if self._names and row.name is None:
            row.name = " ".join(filter(None, (record[n].strip() for n in self._names if n < last)))[:250] or None
        if row.consent is not None:
            self._keep_consent(row)
        return row

    def _reader(self, target: str, types: Mapping[str, AttributeType]) -> Read:
        if named := mapping.attribute(target):
            name, type = named
            return partial(_attribute, name, _VALUES[types.get(name) or type or AttributeType.TEXT])
        if target == "phone":
            return self._phone
        return _READ[target]

    def _phone(self, row: Row, text: str) -> None:
        number = numbers.phone(text, self._region)
        if row.phone is None:
            row.phone = number
        elif number != row.phone:
            row.others.append(("phone", number))

    def _keep_consent(self, row: Row) -> None:
        given = row.consent or {}
        if "allowed" in given:
            row.consents.append((row.line, row.phone or row.email or "", given))


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _email(row: Row, text: str) -> None:
    address = numbers.email(text)
    if row.email is None:
        row.email = address
    elif address != row.email:
        row.others.append(("email", address))


def _name(row: Row, text: str) -> None:
    row.name = _short(text, "name")


def _external_id(row: Row, text: str) -> None:
    row.external_id = _short(text, "external_id")


def _part_of_name(row: Row, text: str) -> None:
    _short(text, "name")


def _short(text: str, what: str) -> str:
    if len(text) > LONGEST[what]:
        raise Bad("too_long", f"Write at most {LONGEST[what]:,} characters.")
    return text


def _add_tags(row: Row, text: str) -> None:
    row.tags = _with_tags(row.tags, text)


_known_tags: dict[tuple[tuple[str, ...], str], tuple[str, ...]] = {}


def _with_tags(tags: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return tags with those in a text: lower case, each once, sorted. Most lines have the same few."""
    known = _known_tags.get((tags, text))
    if known is not None:
        return known
    named = {" ".join(each.lower().split()) for each in _SEPARATORS.split(text)} - {""}
    if long := next((each for each in named if len(each) > LONGEST["tag"]), None):
        raise Bad("too_long", f"The tag {long[:20]}… is longer than {LONGEST['tag']} characters.")
    found = tuple(sorted({*tags, *named}))
    if len(found) > MOST_TAGS:
        raise Bad("too_many_tags", f"A contact has at most {MOST_TAGS} tags.")
    if len(_known_tags) < 10_000:
        _known_tags[tags, text] = found
    return found


def _locale(row: Row, text: str) -> None:
    tag = text.replace("_", "-")
    if not _LOCALE.fullmatch(tag):
        raise Bad("bad_locale", "Write a language such as pt or pt-BR.")
    row.locale = tag


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _time_zone(row: Row, text: str) -> None:
    if text not in _zones():
        raise Bad("bad_time_zone", "Write a time zone such as America/Sao_Paulo.")
    row.time_zone = text


def _boolean(text: str) -> bool:
    word = text.casefold()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise Bad("bad_boolean", "Write yes or no.")


def _number(text: str) -> int | float:
    plain = text.replace(" ", "").replace("\xa0", "")
    if re.fullmatch(r"[+-]?\d+,\d{1,2}", plain):
        plain = plain.replace(",", ".")
    if not re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,15})?", plain):
        raise Bad("bad_number", "Write a number such as 12.5.")
    return float(plain) if "." in plain else int(plain)


def _date(text: str) -> str:
    try:
        return (date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text).date()).isoformat()
    except ValueError:
        raise Bad("bad_date", "Write a date as 2026-11-21: year, month, day.") from None


def _text(text: str) -> str:
    return _short(text, "attribute")


_VALUES: dict[AttributeType, Callable[[str], Any]] = {
    AttributeType.TEXT: _text,
    AttributeType.NUMBER: _number,
    AttributeType.BOOLEAN: _boolean,
    AttributeType.DATE: _date,
}


def _attribute(name: str, value_of: Callable[[str], Any], row: Row, text: str) -> None:
    if row.attributes is None:
        row.attributes = {}
    row.attributes[name] = value_of(text)


def _consent(key: str, value_of: Callable[[str], Any], row: Row, text: str) -> None:
    if row.consent is None:
        row.consent = {}
    row.consent[key] = value_of(text)


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise Bad("bad_date", "Write a moment as 2026-11-21 or 2026-11-21T10:00:00+00:00.") from None


_READ: dict[str, Read] = {
    "name": _name,
    "first_name": _part_of_name,
    "last_name": _part_of_name,
    "email": _email,
    "external_id": _external_id,
    "tags": _add_tags,
    "locale": _locale,
    "time_zone": _time_zone,
    "opt_in": partial(_consent, "allowed", _boolean),
    "opt_in_at": partial(_consent, "at", _moment),
    "opt_in_source": partial(_consent, "source", _text),
}
