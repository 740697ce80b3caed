"""Identifiers that look like Meta's. They are random, so they stay unique over restarts without any memory."""

import os
import re
import secrets
from base64 import b64encode
from zlib import crc32

BSUID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_COUNTRIES = (
    "1US 20EG 27ZA 30GR 31NL 32BE 33FR 34ES 39IT 41CH 43AT 44GB 45DK 46SE 47NO 48PL 49DE 51PE 52MX 54AR 55BR 56CL 57CO "
    "60MY 61AU 62ID 63PH 64NZ 65SG 66TH 81JP 84VN 90TR 91IN 92PK 94LK 212MA 213DZ 216TN 233GH 234NG 254KE 351PT 353IE "
    "358FI 380UA 880BD 966SA 971AE 972IL"
)
_BY_PREFIX = {found[:-2]: found[-2:] for found in _COUNTRIES.split()}
_NOT_DIGITS = re.compile(r"\D+")
_FROM_BUSINESS = b"\x15\x02\x00\x11\x18"
_FROM_CUSTOMER = b"\x15\x02\x00\x12\x18"


def wamid(address: str, *, by_customer: bool = False) -> str:
    """Return a new message id. Like Meta's it wraps the other party's number and a random key in base64."""
    party = address.encode()[:60]
    length = 20 if (len(party) + 30) % 3 else 21  # one of the two always leaves base64 its padding
    key = ("3A" if by_customer else "") + os.urandom(11).hex().upper()
    direction = _FROM_CUSTOMER if by_customer else _FROM_BUSINESS
    packed = b"\x1c\x18%c%b%b%c%b\x00" % (len(party), party, direction, length, key[:length].encode())
    return "wamid." + b64encode(packed).decode()


def media_id() -> str:
    """Return a new media id: a long number in a string."""
    return str(10**15 + secrets.randbelow(9 * 10**15))


def random_id(prefix: str) -> str:
    """Return a new id of a gateway's message: a prefix and 32 hexadecimal digits."""
    return prefix + secrets.token_hex(16)


def trace_id() -> str:
    """Return a `fbtrace_id`, by which Meta's support finds a call."""
    return "A" + secrets.token_urlsafe(16)


def digits(phone: str) -> str:
    """Return the bare digits of a phone number however it is written."""
    return phone if phone.isdigit() else _NOT_DIGITS.sub("", phone)


def bsuid(phone: str | None = None) -> str:
    """Return a new business-scoped user id; its prefix is the country of the phone."""
    return f"{country(phone)}.{10**19 + secrets.randbelow(9 * 10**19)}"


def country(phone: str | None) -> str:
    """Return the two-letter country of a phone number in digits, `US` when it is unknown."""
    prefixes = [phone[:length] for length in (3, 2, 1)] if phone else []
    return next((_BY_PREFIX[prefix] for prefix in prefixes if prefix in _BY_PREFIX), "US")


def stable(text: str, choices: int) -> int:
    """Return the same number below `choices` for the same text, in every process."""
    return crc32(text.encode()) % choices
