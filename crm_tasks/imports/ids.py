"""Ids of what an import makes: the same for the same line whenever it is read, and in the order of the file.

So a batch that was cut off in the middle knows what of it is there already.
"""

import uuid

# The last four bits stay free: contacts have 0 there, their identities 1 and 2, consents 3.
_SALT_BITS, _LINE_LOW = 40, 22
_CONSENT = 3


def of_line(import_id: uuid.UUID, line: int) -> uuid.UUID:
    """Return the id (UUIDv7, of the import's moment) of the contact that a line makes."""
    return uuid.UUID(int=_first(import_id) | _line_bits(line))


def of_consent(import_id: uuid.UUID, line: int) -> uuid.UUID:
    """Return the id of the word of consent in a line."""
    return uuid.UUID(int=_first(import_id) | _line_bits(line) | _CONSENT)


def line_of(import_id: uuid.UUID, contact_id: uuid.UUID) -> int | None:
    """Return the line that made a contact, None if this import did not."""
    line = (contact_id.int >> 64 & 0xFFF) << _LINE_LOW | contact_id.int >> _SALT_BITS & (1 << _LINE_LOW) - 1
    return line if of_line(import_id, line) == contact_id else None


def bounds(import_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
    """Return between which two ids all ids of an import are."""
    moment = import_id.int >> 80 << 80
    return uuid.UUID(int=moment), uuid.UUID(int=moment | (1 << 80) - 1)


def _first(import_id: uuid.UUID) -> int:
    moment, salt = import_id.int >> 80 << 80, import_id.int & (1 << _SALT_BITS) - 16
    return moment | 0x7 << 76 | 0x2 << 62 | salt


def _line_bits(line: int) -> int:
    return (line >> _LINE_LOW) << 64 | (line & (1 << _LINE_LOW) - 1) << _SALT_BITS
