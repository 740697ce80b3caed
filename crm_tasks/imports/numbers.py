"""Phone numbers and e-mail addresses by the hundred thousand, with the verdict of those who take one at a time.

The quick way only ever says yes, and only to what the slow one would leave as it is: a number in E.164 of a length
that its country has, none of whose digits can be a national prefix. All else takes the slow way.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from crm_tasks.core.errors import Invalid
from crm_tasks.providers.mail import compose
from crm_tasks.workspaces.phones import e164

_PUNCTUATION = str.maketrans("", "", " ()-.")
_SCIENTIFIC = re.compile(r"\+?\d+([.,]\d+)?E\+?\d+", re.IGNORECASE)
# What spreadsheets are told, so that they take a cell for a text and not for a formula.
_AS_TEXT = re.compile(r"""^(?:'(?=[+=@-])|="([^"]*)"$)""")
_ADDRESS = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@([A-Za-z0-9.-]{1,190})")
_LONGEST_LOCAL = 64
# How the same mobile number may be written and be known to WhatsApp: with a digit more and without it.
_VARIANTS = (
    (re.compile(r"\+55(\d\d)9(\d{8})"), r"+55\1\2"),
    (re.compile(r"\+55(\d\d)([6-9]\d{7})"), r"+55\g<1>9\2"),
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
    (re.compile(r"\+52([2-9]\d{9})"), r"+521\1"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
    (re.compile(r"\+54([1-8]\d{9})"), r"+549\1"),
)
_VARIED = ("+55", "+52", "+54")

Country = tuple[int, frozenset[int], Callable[[str, int], Any]]


class Bad(Exception):
    """This value cannot be taken: a stable code and words for a person."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def phone(text: str, region: str) -> str:
    """Return a phone number as E.164, exactly as `phones.e164` would.

    Raises:
        Bad: it is none, or a spreadsheet has destroyed it: its digits are not guessed.
    """
    if text[0] == "+" and quick(text):
        return text
    bare = text.translate(_PUNCTUATION)
    if bare[:1] == "+" and text[0] == "+" and text[-1].isdigit() and quick(bare):
        return bare
    text = _AS_TEXT.sub(r"\1", text)
    if _SCIENTIFIC.fullmatch(text.strip()):
        reason = "A spreadsheet has destroyed this number. Format the column as text and export it again."
        raise Bad("destroyed_by_spreadsheet", reason)
    try:
        return e164(text, region)
    except Invalid as error:
        raise Bad("bad_phone_number", f"This is not a phone number. {error.fields[0].message}") from None


def quick(number: str) -> bool:
    """Say whether this surely is a possible number that is already in E.164."""
    country = _countries().get(number[1:4])
    if country is None or not number.isascii():
        return False
    code, lengths, prefix = country
    if len(number) - 1 - code not in lengths or not number[1:].isdigit() or number[1 + code] == "0":
        return False
    match = prefix(number[1 + code :], 0)
    return match is None or match.end() == 0


def variant(number: str) -> str | None:
    """Return the other way in which WhatsApp may know a mobile number of Brazil, Mexico or Argentina."""
    if not number.startswith(_VARIED):
        return None
    for pattern, other in _VARIANTS:
        if match := pattern.fullmatch(number):
            return match.expand(other)
    return None


def email(text: str) -> str:
    """Return an e-mail address as it is kept, exactly as `compose.normal` would.

    Raises:
        Bad: it is none.
    """
    match = _ADDRESS.fullmatch(text)
    if match is not None and match.start(1) <= _LONGEST_LOCAL and _is_plain(match[1]):
        return text.lower()
    try:
        return compose.normal(text)
    except ValueError as error:
        raise Bad("bad_email", f"This is not an e-mail address. {error}") from None


@lru_cache(maxsize=10_000)
def _is_plain(domain: str) -> bool:
    """Say whether a domain is one, and stays as it is but for its case."""
    try:
        return compose.normal(f"a@{domain}") == f"a@{domain.lower()}"
    except ValueError:
        return False


@cache
def _countries() -> dict[str, Country]:
    """Return, by the first three digits, how long the country's code is, which lengths follow, and its prefixes."""
    found: dict[str, Country] = {}
    for first in range(1000):
        digits = f"{first:03d}"
        code = next((digits[:n] for n in (1, 2, 3) if int(digits[:n]) in COUNTRY_CODE_TO_REGION_CODE), None)
        if code is None or digits[0] == "0":
            continue
        region = phonenumbers.region_code_for_country_code(int(code))
        metadata: Any = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
        lengths = frozenset(metadata.general_desc.possible_length)
        prefix = re.compile(metadata.national_prefix_for_parsing or r"(?!)").match
        found[digits] = (len(code), lengths, prefix)
    return found
