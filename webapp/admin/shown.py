"""How pages show things: lengths of time, numbers, moments in the zone of who looks."""

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask, g
from markupsafe import Markup, escape


def register(app: Flask) -> None:
    """Add the filters."""
    for show in (ago, clock, count, local, moment, told, whatsapp, size):
        app.add_template_filter(show)


def ago(seconds: float | None) -> str:
    """Return a length of time as people say it."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def count(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f")


def size(amount: int | None) -> str:
    """Return a size of a file."""
    if amount is None:
        return "–"
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000  # type: ignore[assignment]
    return f"{amount:,.1f} GB"


def clock(at: datetime | None) -> str:
    """Return the time of day of a moment in the zone of who looks."""
    return at.astimezone(zone()).strftime("%H:%M") if at else ""


def moment(at: datetime | None) -> Markup | str:
    """Return a moment in the zone of who looks, to the minute; the exact one is behind it."""
    if at is None:
        return ""
    local = at.astimezone(zone())
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), local.isoformat(sep=" ", timespec="seconds"), local.strftime("%Y-%m-%d %H:%M")
    )


def told(at: str | None) -> Markup | str:
    """Return a moment that was kept as text, as `moment` does."""
    return moment(datetime.fromisoformat(at)) if at else ""


_MARKS = (("strong", r"\*"), ("em", "_"), ("s", "~"))
# Characters between two marks at most: a customer's text full of marks must cost no more than its length.
_BETWEEN = 300


def whatsapp(text: str) -> Markup:
    """Return a text as WhatsApp shows it: *bold*, _italic_ and ~struck~ words."""
    shown = str(escape(text))
    for tag, mark in _MARKS:
        shown = re.sub(rf"(?<!\w){mark}(?=\S)([^\n]{{0,{_BETWEEN}}}?\S){mark}(?!\w)", rf"<{tag}>\1</{tag}>", shown)
    return Markup(shown)  # noqa: S704  escaped above, and only these tags are put in


def local(at: datetime) -> str:
    """Return a moment as a field for a day and a time has it, in the zone of who looks."""
    return at.astimezone(zone()).strftime("%Y-%m-%dT%H:%M")


def zone() -> ZoneInfo:
    """Return the zone of who looks."""
    looks: Any = g.get("here")
    return ZoneInfo(looks.time_zone if looks else "UTC")
