"""What came to the webhook receivers, the newest, and what each of them answers."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from sandbox import fields
from sandbox.fields import BadInput, Json
from sandbox.log import iso

KEPT = 1000
MOST_NAMES = 1000
_KEYS = ("status", "statuses", "headers", "body", "delay", "hang", "redirect", "secret")
_STORED = ("seq", "t", "name", "method", "path", "headers", "text", "base64", "status", "cut", "verified")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answers: `statuses` first, one for each request, and then `status` for ever."""

    status: int = 200
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = ""
    delay: float = 0
    hang: bool = False
    secret: str | None = field(default=None, repr=False)

    def public(self) -> Json:
        """Return it without its secret."""
        shown = asdict(self)
        shown["secret"] = "***" if self.secret else None
        return shown


class Received:
    """One request; `verified` is the verdict on its signature, None when no secret was given."""

    __slots__ = _STORED

    def __init__(self, event: Json) -> None:
        self.seq: int = event["seq"]
        self.t: float = event["t"]
        self.name: str = event["name"]
        self.method: str = event["method"]
        self.path: str = event["path"]
        self.headers: list[list[str]] = event["headers"]
        self.text: str = event["text"]
        self.base64: bool = event["base64"]
        self.status: int | None = event["status"]
        self.cut: bool = event.get("cut", False)
        self.verified: str | None = event["verified"]

    def facts(self) -> Json:
        """Return every field."""
        return {key: getattr(self, key) for key in _STORED}

    def public(self) -> Json:
        """Return the request as scripts read it."""
        facts = self.facts()
        facts["time"] = iso(facts.pop("t"))
        return facts


class Hooks:
    """All receivers. A name needs no setting up."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._used: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._requests: deque[Received] = deque(maxlen=KEPT)

    def answer(self, name: str) -> tuple[Answer, int]:
        """Return what a receiver answers next, and with which status."""
        found = self._answers.get(name) or Answer()
        used = self._used[name]
        return found, found.statuses[used] if used < len(found.statuses) else found.status

    def take(self, event: Json) -> None:
        """Apply a `hooked` event."""
        name = event["name"]
        self._requests.append(Received(event))
        if name in self._counts or len(self._counts) < MOST_NAMES:
            self._counts[name] += 1
        if name in self._answers:
            self._used[name] += 1

    def rule(self, event: Json) -> None:
        """Apply a `hook_rule` event: a new answer, or none, which also forgets what came."""
        name, given = event["name"], event["answer"]
        self._used.pop(name, None)
        if given is not None:
            self._answers[name] = Answer(**given)
            return
        self._answers.pop(name, None)
        self._counts.pop(name, None)
        self._requests = deque((each for each in self._requests if each.name != name), maxlen=KEPT)

    def since(self, seq: int, name: str | None, limit: int) -> list[Received]:
        """Return the newest requests after a number of the log, the oldest of them first."""
        found: list[Received] = []
        for each in reversed(self._requests):
            if each.seq <= seq or len(found) == limit:
                break
            if name in (None, each.name):
                found.append(each)
        return found[::-1]

    def counts(self) -> dict[str, int]:
        """Return how many requests each receiver got."""
        return dict(self._counts)

    def answers(self) -> dict[str, Json]:
        """Return the answers that were set."""
        return {name: answer.public() for name, answer in self._answers.items()}

    def restore(self, event: Json) -> None:
        """Apply a `hooks` event."""
        self._answers = {name: Answer(**facts) for name, facts in event["answers"].items()}
        self._used.update(event["used"])
        self._counts.update(event["counts"])
        self._requests.extend(Received(facts) for facts in event["requests"])

    def snapshot(self) -> Iterator[Json]:
        """Yield the event that brings it back."""
        yield {
            "k": "hooks",
            "answers": {name: asdict(answer) for name, answer in self._answers.items()},
            "used": dict(self._used),
            "counts": dict(self._counts),
            "requests": [each.facts() for each in self._requests],
        }


def parse(value: object) -> Answer:
    """Read the answer that a script sets."""
    given = fields.known(value, _KEYS)
    statuses = given.get("statuses") or []
    if not isinstance(statuses, list) or len(statuses) > 1000:
        raise BadInput("statuses must be a list of at most 1000 statuses.", "statuses")
    headers = {str(name): str(text) for name, text in fields.mapping(given.get("headers") or {}, "headers").items()}
    for name, text in headers.items():
        if not name or not f"{name}{text}".isascii() or not f"{name}{text}".isprintable() or ":" in name or " " in name:
            raise BadInput("headers must map names to texts.", "headers")
    redirect = fields.optional(given, "redirect")
    if redirect is not None:
        if not redirect.isprintable() or not redirect.isascii():
            raise BadInput("redirect must be an address.", "redirect")
        headers["Location"] = redirect
    return Answer(
        status=_status(given, "status", 302 if redirect else 200),
        statuses=[_status({"statuses": each}, "statuses", 200) for each in statuses],
        headers=headers,
        body=given.get("body") or "",
        delay=fields.number(given, "delay", most=600),
        hang=fields.flag(given, "hang", False),
        secret=fields.optional(given, "secret"),
    )


def _status(given: Json, key: str, default: int) -> int:
    return fields.whole(given, key, default, least=200, most=599)


def encoded(body: Any) -> bytes:
    """Return the bytes of an answer's body; what is not a text is sent as JSON."""
    return body.encode() if isinstance(body, str) else orjson.dumps(body)
