"""Phone numbers as people write them."""

import re
import unicodedata
from functools import lru_cache
from typing import Any

import phonenumbers

from crm_tasks.core.errors import FieldError, Invalid

_SCHEME = re.compile(r"^(tel|sms|whatsapp):", re.IGNORECASE)
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\xad]")
_EXTENSION = re.compile(r"\s*([,x#]+\s*\d{1,7}|(ext|extn|extension)[.:]?\s*\d{1,7})$", re.IGNORECASE)
# How people in most of the world write the +.
_EXIT_CODE = re.compile(r"^\(?00\)?(?=[\s\-./()]*[1-9])")


def e164(number: str, region: str) -> str:
    """Return a phone number in any sane writing as E.164, read in this region if it names no country.

    An extension is left out. Letters are refused: a word, or what a spreadsheet made of a number (9.19E+11).

    Raises:
        Invalid: it cannot be a phone number.
    """
    plain = _EXTENSION.sub("", _SCHEME.sub("", _INVISIBLE.sub("", unicodedata.normalize("NFKC", number)).strip()))
    lettered = any(each.isalpha() for each in plain.partition(";")[0])
    try:
        parsed: Any = None if lettered else phonenumbers.parse(_EXIT_CODE.sub("+", plain), region)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not _is_possible(parsed):
        remedy = "Write it with its country, such as +14155550123."
        raise Invalid(f"{number[:40]!r} is not a phone number.", fields=[FieldError("to", remedy, "bad_phone_number")])
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=10_000)
def country(number: str) -> str | None:
    """Return the country of an E.164 number as ISO 3166 alpha-2; None if it is of none, such as a satellite phone's."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None
    sharing = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ())
    found = sharing[0] if len(sharing) == 1 else phonenumbers.region_code_for_number(parsed)
    # A number that its own country does not know is still of the country whose code it has.
    found = found or (sharing[0] if sharing else None)
    return None if found == "001" else found


def _is_possible(parsed: Any) -> bool:
    # WhatsApp knows Mexico's mobile numbers with the 1 that the country itself gave up in 2019.
    mexican = parsed.country_code == 52 and re.fullmatch(r"1\d{10}", str(parsed.national_number))
    return bool(mexican) or phonenumbers.is_possible_number(parsed)
