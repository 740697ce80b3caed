"""How a text is cut into the parts that are sent, and paid for.

Source: 3GPP TS 23.038 (the alphabet) and 23.040 (parts joined by a header of 6 octets): 160 septets alone and 153 in
each of several, or 70 and 67 units of UTF-16 as soon as one character is not of the alphabet. What takes two places,
a character of the extension table or a surrogate pair, is never cut in half.
"""

from collections.abc import Mapping
from typing import Any

from crm_tasks.core.errors import FieldError, Invalid

MOST = 10
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("^{}\\[~]|€\f")


def split(text: str) -> list[str]:
    """Return the parts of a text; an empty one is one part too."""
    if BASIC.union(EXTENSION).issuperset(text):
        return _filled(text, [2 if each in EXTENSION else 1 for each in text], 160, 153)
    return _filled(text, [2 if each > "\uffff" else 1 for each in text], 70, 67)


def shortened(text: str) -> str:
    """Return as much of a text as may be sent."""
    return "".join(split(text)[:MOST])


def measure(content: Mapping[str, Any]) -> int:
    """Return how many parts the text of a message has.

    Raises:
        Invalid: more than 10, which providers refuse or charge without being asked.
    """
    count = len(split(str(content.get("body", ""))))
    if count > MOST:
        remedy = f"Shorten it: at most {MOST} parts are sent. Emoji and characters such as ç make parts shorter."
        raise Invalid(
            f"This text would be {count} SMS.",
            code="too_many_parts",
            fields=[FieldError("text.body", remedy, "too_many_parts")],
        )
    return count


def _filled(text: str, widths: list[int], alone: int, each: int) -> list[str]:
    """Return the text in parts, each as full as it can be."""
    if sum(widths) <= alone:
        return [text]
    parts, begin, used = [], 0, 0
    for position, width in enumerate(widths):
        if used + width > each:
            parts.append(text[begin:position])
            begin, used = position, 0
        used += width
    return [*parts, text[begin:]]
