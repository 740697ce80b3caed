"""What an error is, apart from its ids, numbers and hosts: one cause, one fingerprint, one group of dead letters."""

import hashlib
import re
import socket
import traceback
from datetime import UTC, datetime
from typing import Any

from crm_tasks.core.text import clean

MAX_MESSAGE = 1_000
_FRAMES = 8

# Names between quotes; the apostrophe of can't and of O'Brien is none.
_QUOTED = re.compile(
    r"""(?<!\w)'(?:\\.|[^'\\]|(?<=\w)'(?=\w))*'(?!\w)|"(?:\\.|[^"\\])*"|“[^”]*”|‘[^’]*’|«[^»]*»|`[^`]*`"""
)
# What Python's own complaints quote are names in the code: another name is another mistake.
_OF_CODE = (AttributeError, ImportError, NameError, TypeError)
# Order matters: the longer shapes first, so that a URL is not taken apart into numbers and words.
_MASKS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.I), "<url>"),
    (re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"), "<email>"),
    (re.compile(r"\bwamid\.[\w=+/-]+"), "<id>"),
    (re.compile(r"\b[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{6,}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", re.I), "<id>"),
    (re.compile(r"(?<![\w.])(\d{1,3}\.){3}\d{1,3}(:\d+)?\b"), "<host>"),
    (re.compile(r"(?<![\w:])\[?([0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])(\](:\d+)?)?", re.I), "<host>"),
    (re.compile(r"\b(?=[\w.-]*[a-z])([a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}(:\d+)?\b", re.I), "<host>"),
    (re.compile(r"\blocalhost(:\d+)?\b", re.I), "<host>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.I), "<id>"),
    (re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{16,}(?![\w-])", re.I), "<id>"),
    (re.compile(r"\b(?=\w*\d)(?=\w*[a-z])\w{6,}(-\w+)*\b", re.I), "<id>"),
    (re.compile(r"[+-]?\d+([.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
]

_SECRETS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"(://)[^/\s:@]*:[^/\s@]+@"), r"\1***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    (
        re.compile(r"(?i)\b((?:access_)?token|password|secret|api_?key)([\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]{6,}"),
        r"\1\2***",
    ),
]


def fingerprint(error: BaseException) -> str:
    """Return 16 hexadecimal digits that are equal for errors of one cause.

    The class and the code count as they are (131026 and 131047 are two causes); the message counts without what
    differs from one occurrence to the next.
    """
    code = getattr(error, "code", "")
    message = masked(str(error), names=not isinstance(error, _OF_CODE))
    text = f"{type(error).__name__}|{code if isinstance(code, str | int) else ''}|{message}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def masked(message: str, *, names: bool = True) -> str:
    """Return a message with ids, numbers, addresses, hosts and quoted names replaced by their kind."""
    message = message[:MAX_MESSAGE]
    if names:
        message = _QUOTED.sub("<name>", message)
    for pattern, mask in _MASKS:
        message = pattern.sub(mask, message)
    return message.strip()


def readable(text: str) -> str:
    """Return a message that may be stored and shown: no NUL, no lone surrogates, no credentials."""
    text = clean(text)
    for pattern, kept in _SECRETS:
        text = pattern.sub(kept, text)
    return text


def record(error: BaseException, *, attempt: int, worker: str) -> dict[str, Any]:
    """Return one entry of `jobs.errors`: when, what, where; the traceback trimmed, without values of variables."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "attempt": attempt,
        "class": type(error).__name__,
        "code": readable(str(getattr(error, "code", "") or "")),
        "message": readable(str(error))[:MAX_MESSAGE],
        "traceback": [f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno} in {frame.name}" for frame in frames],
        "worker": worker,
        "host": socket.gethostname(),
    }
