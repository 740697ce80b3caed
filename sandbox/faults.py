"""Faults on order: rules that make the outside world slow, wrong, forgetful or rude."""

import random
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox import fields
from sandbox.fields import BadInput, Json
from sandbox.ids import digits
from sandbox.log import KINDS

MATCHES = ("kind", "path", "recipient")
ACTIONS = (
    "status",
    "error_code",
    "body",
    "headers",
    "accept",
    "delay",
    "drop",
    "duplicate",
    "reorder",
    "late",
    "statuses",
    "status_code",
)
_RULE = ("id", "name", "match", *MATCHES, "action", *ACTIONS, "probability", "times", "hits", "left")


@dataclass(slots=True)
class Rule:
    """One rule: whom it meets, what it does, and how often it has."""

    id: int
    match: Json
    action: Json
    path: re.Pattern[str] | None
    recipient: re.Pattern[str] | None
    name: str | None = None
    probability: float = 1.0
    times: int | None = None
    hits: int = 0

    @property
    def final(self) -> bool:
        """Whether it decides the answer; of several such rules only the first has its way."""
        return "status" in self.action or "drop" in self.action

    def meets(self, kind: str, path: str, address: str | None) -> bool:
        """Say whether the rule is about this request."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.match.get("kind") not in (None, kind):
            return False
        if self.path is not None and not self.path.search(path):
            return False
        if self.recipient is None:
            return True
        return address is not None and bool(self.recipient.search(address) or self.recipient.search("+" + address))

    def public(self) -> Json:
        """Return the rule as scripts read it."""
        left = None if self.times is None else max(0, self.times - self.hits)
        return {
            "id": self.id,
            "name": self.name,
            "match": self.match,
            "action": self.action,
            "probability": self.probability,
            "times": self.times,
            "left": left,
            "hits": self.hits,
        }


@dataclass(slots=True)
class Effect:
    """What all the rules that met one request do to it together."""

    rules: list[int] = field(default_factory=list)
    delay: float = 0
    refusal: Json | None = None
    drop: str | None = None
    copies: int = 1
    reorder: bool = False
    late: float = 0
    silent: bool = False
    status_code: int | None = None

    @property
    def final(self) -> bool:
        """Whether the answer is decided already."""
        return self.refusal is not None or self.drop is not None

    def add(self, rule: Rule) -> None:
        """Let one more rule have its effect."""
        action = rule.action
        self.rules.append(rule.id)
        self.delay += action.get("delay", 0)
        self.late += action.get("late", 0)
        self.copies = max(self.copies, action.get("duplicate", 1))
        self.reorder |= action.get("reorder", False)
        self.silent |= action.get("statuses") == "none"
        self.drop = self.drop or action.get("drop")
        self.status_code = self.status_code or action.get("status_code")
        if self.refusal is None and "status" in action:
            self.refusal = action


NOTHING = Effect()


class Faults:
    """The active rules. Who sleeps because of a rule wakes up when the rules change."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._rules: list[Rule] = []
        self._sleepers = 0
        self._generation = 0

    def __iter__(self) -> Iterator[Rule]:
        return iter(tuple(self._rules))

    def meet(self, kind: str, path: str, address: str | None, *, named: bool = False) -> Effect:
        """Return what happens to a request, counting every rule that met it; `named` passes over rules without path."""
        if not self._rules:
            return NOTHING
        effect = Effect()
        if address and address[0] in "+0123456789" and "@" not in address:
            address = digits(address)
        with self._lock:
            for rule in self._rules:
                if named and rule.path is None:
                    continue
                chance = rule.probability >= 1 or random.random() < rule.probability
                if chance and rule.meets(kind, path, address) and not (rule.final and effect.final):
                    rule.hits += 1
                    effect.add(rule)
        return effect if effect.rules else NOTHING

    def sleep(self, seconds: float, most: int) -> bool:
        """Wait, unless the rules change before; False when too many wait already."""
        with self._lock:
            if self._sleepers >= most:
                return False
            self._sleepers += 1
            generation = self._generation
            try:
                self._lock.wait_for(lambda: self._generation != generation, seconds)
            finally:
                self._sleepers -= 1
        return True

    @property
    def generation(self) -> int:
        """What changes when sleepers are to wake."""
        return self._generation

    def wake(self) -> None:
        """Let everybody who sleeps go on."""
        with self._lock:
            self._generation += 1
            self._lock.notify_all()

    def put(self, event: Json) -> None:
        """Apply a `faults` event: replace all rules."""
        rules = [_rule(facts, n) for n, facts in enumerate(event["rules"], 1)]
        with self._lock:
            self._rules = rules
            self.wake()

    def recount(self, hits: list[int]) -> None:
        """Count hits that a replayed log entry remembers."""
        for rule in self._rules:
            rule.hits += hits.count(rule.id)

    def snapshot(self) -> Iterator[Json]:
        """Yield the event that brings the rules back."""
        yield {"k": "faults", "rules": [rule.public() for rule in self._rules]}


def parse(value: object) -> list[Json]:
    """Read a list of rules, bare or under `rules`, and return it normalised."""
    if isinstance(value, dict):
        value = fields.known(value, ("rules", "data")).get("rules", value.get("data"))
    if not isinstance(value, list) or len(value) > 200:
        raise BadInput("A list of at most 200 rules is needed.")
    return [_rule(item, n).public() | {"hits": 0} for n, item in enumerate(value, 1)]


def _rule(value: object, number: int) -> Rule:
    given = fields.known(value, _RULE)
    match = fields.known(given.get("match") or {key: given[key] for key in MATCHES if key in given}, MATCHES, "match")
    action = given.get("action") or {key: given[key] for key in ACTIONS if key in given}
    kind = fields.optional(match, "kind")
    if kind not in (None, "inbound", *KINDS):
        raise BadInput(f"kind must be one of {', '.join((*KINDS, 'inbound'))}.", "kind")
    times = given.get("times")
    return Rule(
        id=number,
        match={key: value for key, value in match.items() if value is not None},
        action=_action(fields.known(action, ACTIONS, "action")),
        path=fields.pattern(match, "path"),
        recipient=fields.pattern(match, "recipient"),
        name=fields.optional(given, "name"),
        probability=fields.number(given, "probability", 1.0, most=1),
        times=None if times is None else fields.whole(given, "times", least=1),
        hits=fields.whole(given, "hits"),
    )


def _action(given: Json) -> Json:
    action = {key: value for key, value in given.items() if value is not None}
    if not action:
        raise BadInput(f"action must name at least one of {', '.join(ACTIONS)}.", "action")
    for key, low, high in (("status", 200, 599), ("error_code", 0, 9_999_999), ("status_code", 1, 9_999_999)):
        if key in action:
            fields.whole(action, key, least=low, most=high)
    for key in ("delay", "late"):
        fields.number(action, key, most=86_400 if key == "late" else 600)
    fields.whole(action, "duplicate", 1, least=1, most=50)
    for key in ("reorder", "accept"):
        fields.flag(action, key, False)
    for key, allowed in (("drop", ("before", "after")), ("statuses", ("none",))):
        if action.get(key) not in (None, *allowed):
            raise BadInput(f"{key} must be {' or '.join(allowed)}.", key)
    _check_refusal(action)
    return action


def _check_refusal(action: Json) -> None:
    """Check what belongs to a status."""
    for key in ("error_code", "body", "headers", "accept"):
        if key in action and "status" not in action:
            raise BadInput(f"{key} needs a status.", key)
    for name, value in fields.mapping(action.get("headers") or {}, "headers").items():
        if not isinstance(value, str) or not f"{name}{value}".isprintable() or not f"{name}{value}".isascii():
            raise BadInput("headers must map names to texts.", "headers")
