"""The log of everything received. The newest entries are kept; a bearer token never gets in."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.fields import Json
from sandbox.journal import raw

KEPT = 20_000
KINDS = (
    "message",
    "read",
    "typing",
    "media",
    "template",
    "chat_completion",
    "transcription",
    "sms",
    "twilio",
    "email",
    "smtp",
    "hook",
    "other",
)
_STORED = ("seq", "t", "kind", "path", "method", "to", "id", "biz", "status", "cut", "twice", "faults")


class Entry:
    """One request and what was answered; `status` is None when the connection was cut without an answer."""

    __slots__ = (*_STORED, "answer", "body")

    def __init__(self, facts: Json) -> None:
        self.seq: int = facts["seq"]
        self.t: float = facts["t"]
        self.kind: str = facts["kind"]
        self.path: str = facts["path"]
        self.method: str = facts["method"]
        self.to: str | None = facts.get("to")
        self.id: str | None = facts.get("id")
        self.biz: str | None = facts.get("biz")
        self.status: int | None = facts["status"]
        self.cut: bool = facts.get("cut", False)
        self.twice: bool = facts.get("twice", False)
        self.faults: list[int] | None = facts.get("faults")
        self.body: bytes = raw(facts["body"])
        self.answer: bytes = raw(facts["answer"])

    def public(self) -> Json:
        """Return the entry as scripts read it."""
        shown: Json = {
            "seq": self.seq,
            "time": iso(self.t),
            "kind": self.kind,
            "path": self.path,
            "method": self.method,
            "to": self.to,
            "message_id": self.id,
            "biz_opaque_callback_data": self.biz,
            "body": orjson.Fragment(self.body),
            "status": self.status,
            "answer": orjson.Fragment(self.answer),
        }
        if self.cut:
            shown["cut"] = True
        if self.twice:
            shown["duplicate"] = True
        if self.faults:
            shown["faults"] = self.faults
        return shown


class Log:
    """The newest entries, numbered without gaps from 1."""

    def __init__(self) -> None:
        self._ring: list[Entry | None] = [None] * KEPT
        self.last = 0
        self._first = 1

    def add(self, facts: Json) -> Entry:
        """Apply an event that carries a log entry."""
        entry = Entry(facts)
        if entry.seq > self.last + 1:
            self._first = entry.seq
        self._ring[entry.seq % KEPT] = entry
        self.last = max(self.last, entry.seq)
        self._first = max(self._first, self.last - KEPT + 1)
        return entry

    def since(self, seq: int, kinds: set[str] | None = None, to: str | None = None) -> Iterator[Entry]:
        """Yield the kept entries after `seq`, oldest first."""
        for number in range(max(seq + 1, self._first), self.last + 1):
            entry = self._ring[number % KEPT]
            if entry and entry.seq == number and (not kinds or entry.kind in kinds) and (not to or entry.to == to):
                yield entry

    def before(self, moment: float) -> int:
        """Return the number of the last entry older than a moment."""
        low, high = self._first, self.last + 1
        while low < high:
            middle = (low + high) // 2
            entry = self._ring[middle % KEPT]
            if entry is not None and entry.t >= moment:
                high = middle
            else:
                low = middle + 1
        return low - 1

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every kept entry back."""
        for entry in self.since(0):
            facts: dict[str, Any] = {key: getattr(entry, key) for key in _STORED}
            yield {"k": "restored", **facts, "body": entry.body, "answer": entry.answer}


def iso(moment: float) -> str:
    """Return a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
