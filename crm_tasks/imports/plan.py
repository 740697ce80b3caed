"""Which rows of a batch make contacts and which ones change them, line after line as one who reads the file would.

A row is of the person who has its phone number, else its e-mail address, else its external id. Nothing here asks the
database: whose the names in a batch are is told beforehand, so that the same batch always gives the same plan.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from crm_tasks.imports.models import Duplicates
from crm_tasks.imports.numbers import variant
from crm_tasks.imports.rows import MOST_TAGS, Row


@dataclass(slots=True)
class Known:
    """Whose the names in a batch are: contacts by phone number, e-mail address and external id."""

    phones: dict[str, uuid.UUID] = field(default_factory=dict)
    emails: dict[str, uuid.UUID] = field(default_factory=dict)
    external_ids: dict[str, uuid.UUID] = field(default_factory=dict)


@dataclass(slots=True)
class Person:
    """One contact that rows of the batch are about; `contact_id` if it is there already.

    `row` is one line's until a second one is folded into it: the lines stay as they were read, to be planned again.
    """

    row: Row
    contact_id: uuid.UUID | None = None
    folded: bool = False

    def fold(self) -> Row:
        """Return a row that can be changed."""
        if not self.folded:
            self.row = replace(self.row, others=list(self.row.others), consents=list(self.row.consents))
            self.folded = True
        return self.row


@dataclass(slots=True)
class Plan:
    """What is to be done: contacts to make, contacts to change, and how many rows did the second or nothing."""

    created: list[Person] = field(default_factory=list)
    changed: list[Person] = field(default_factory=list)
    updated: int = 0
    skipped: int = 0


def make(rows: Iterable[Row], known: Known, duplicates: Duplicates) -> Plan:
    """Return the plan of a batch."""
    return _Desk(known, duplicates).work(rows)


class _Desk:
    def __init__(self, known: Known, duplicates: Duplicates) -> None:
        self._known, self._duplicates = known, duplicates
        self._phones: dict[str, Person] = {}
        self._emails: dict[str, Person] = {}
        self._external_ids: dict[str, Person] = {}
        self._there: dict[uuid.UUID, Person] = {}
        self._plan = Plan()

    def work(self, rows: Iterable[Row]) -> Plan:
        skip = self._duplicates is Duplicates.SKIP
        for row in rows:
            person = self._whose(row)
            if person is None:
                self._create(row)
            elif skip:
                self._plan.skipped += 1
            else:
                self._plan.updated += 1
                self._change(person, row)
        return self._plan

    def _whose(self, row: Row) -> Person | None:
        """Return the person of a row, by its first name that is anybody's."""
        known, phone, email, external_id = self._known, row.phone, row.email, row.external_id
        if phone is not None:
            if person := self._phones.get(phone):
                return person
            if contact_id := known.phones.get(phone):
                return self._person(contact_id, row)
        if email is not None:
            if person := self._emails.get(email):
                return person
            if contact_id := known.emails.get(email):
                return self._person(contact_id, row)
        if external_id is not None:
            if person := self._external_ids.get(external_id):
                return person
            if contact_id := known.external_ids.get(external_id):
                return self._person(contact_id, row)
        return None

    def _person(self, contact_id: uuid.UUID, row: Row) -> Person:
        person = self._there.get(contact_id)
        if person is None:
            person = self._there[contact_id] = Person(Row(row.line), contact_id, folded=True)
            if self._duplicates is not Duplicates.SKIP:
                self._plan.changed.append(person)
        return person

    def _create(self, row: Row) -> None:
        person = Person(row)
        if row.phone is not None:
            self._take_phone(person, row.phone)
        if row.email is not None:
            self._emails[row.email] = person
        if row.external_id is not None:
            self._external_ids[row.external_id] = person
        if row.others:
            person.fold().others = [other for other in row.others if self._free(person, *other)]
        self._plan.created.append(person)

    def _change(self, person: Person, row: Row) -> None:
        """Fold a row into what is known of its person: later values win on update, earlier ones on merge."""
        target = person.fold()
        given = (("phone", row.phone), ("email", row.email), *row.others)
        for kind, value in given:
            if value is not None and self._free(person, kind, value):
                target.others.append((kind, value))
        external_id = row.external_id
        if external_id is not None and not self._free(person, "external_id", external_id):
            external_id = None
        later = self._duplicates is Duplicates.UPDATE
        target.external_id = _chosen(target.external_id, external_id, later)
        target.name = _chosen(target.name, row.name, later)
        target.locale = _chosen(target.locale, row.locale, later)
        target.time_zone = _chosen(target.time_zone, row.time_zone, later)
        if row.tags is not target.tags:
            target.tags = tuple(sorted({*target.tags, *row.tags})[:MOST_TAGS])
        if row.attributes:
            mine = target.attributes or {}
            target.attributes = {**mine, **row.attributes} if later else {**row.attributes, **mine}
        target.consents += row.consents

    def _free(self, person: Person, kind: str, value: str) -> bool:
        """Give a name to a person if it is nobody's, and say whether that is so."""
        taken, known = {
            "phone": (self._phones, self._known.phones),
            "email": (self._emails, self._known.emails),
            "external_id": (self._external_ids, self._known.external_ids),
        }[kind]
        if value in taken or value in known:
            return False
        if kind == "phone":
            self._take_phone(person, value)
        else:
            taken[value] = person
        return True

    def _take_phone(self, person: Person, number: str) -> None:
        self._phones[number] = person
        if other := variant(number):
            self._phones.setdefault(other, person)


def _chosen(earlier: str | None, later: str | None, later_wins: bool) -> str | None:
    return (later or earlier) if later_wins else (earlier or later)
