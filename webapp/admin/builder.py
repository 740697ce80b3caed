"""The form of a segment: groups of conditions, read into the JSON that the API takes, and back.

Two levels are what a form can show: groups, and conditions in them. What the API was given deeper stays as it is.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from crm_tasks.contacts.conditions import ATTRIBUTES, FIELDS, OPERATORS, Kind
from crm_tasks.contacts.models import AttributeType
from crm_tasks.core.errors import FieldError
from webapp.admin.forms import as_number

MOST_GROUPS, MOST_RULES = 10, 20
_NAME = re.compile(r"g(\d)\.(\d{1,2})\.(field|op|value|to|shape)")
# How a form with nothing in it begins.
_FIRST = ("tags", "has")


@dataclass(slots=True)
class Rule:
    """One condition as it was typed, and what is wrong with it."""

    field: str = _FIRST[0]
    op: str = _FIRST[1]
    value: str = ""
    to: str = ""
    # What the page asks for its value with.
    shape: str = ""
    wrong: str = ""


@dataclass(slots=True)
class Rules:
    """Conditions of which all, any or none must be true."""

    how: str = "all"
    rules: list[Rule] = field(default_factory=lambda: [Rule()])


@dataclass(slots=True)
class Builder:
    """Groups of which all or any must be true."""

    how: str = "all"
    groups: list[Rules] = field(default_factory=lambda: [Rules()])


def kind_of(name: str, types: Mapping[str, AttributeType]) -> Kind:
    """Return what a field holds; a field that there is not (any more) is a text."""
    if name.startswith(ATTRIBUTES):
        return Kind(types.get(name.removeprefix(ATTRIBUTES), AttributeType.TEXT))
    return FIELDS.get(name, Kind.TEXT)


def shape_of(rule: Rule, types: Mapping[str, AttributeType]) -> str:
    """Return what a value is asked for with: nothing, or a kind of field, once or twice."""
    kind = kind_of(rule.field, types)
    if OPERATORS[kind].get(rule.op) is None:
        return ""
    return f"{_holds(rule, kind)}{' twice' if rule.op == 'between' else ''}"


def _holds(rule: Rule, kind: Kind) -> str:
    return "days" if rule.op.endswith("_days") else str(kind)


# --- the form ----------------------------------------------------------------------------------------------------


def read(form: Mapping[str, str], types: Mapping[str, AttributeType]) -> Builder:
    """Return what a form has; of a field that was changed, the first operator of its kind."""
    found: dict[int, dict[int, Rule]] = {}
    for name, value in form.items():
        if match := _NAME.fullmatch(name):
            group, place = int(match[1]), int(match[2])
            setattr(found.setdefault(group, {}).setdefault(place, Rule(op="")), match[3], value)
    groups = [
        Rules(_one_of(form.get(f"g{group}.how"), ("all", "any", "none")), [rules[place] for place in sorted(rules)])
        for group, rules in sorted(found.items())
    ]
    made = Builder(_one_of(form.get("how"), ("all", "any")), groups or [Rules()])
    for rule in (rule for group in made.groups for rule in group.rules):
        operators = OPERATORS[kind_of(rule.field, types)]
        if rule.op not in operators:
            rule.op, rule.value, rule.to = next(iter(operators)), "", ""
    return made


def act(made: Builder, what: str) -> None:
    """Do what a button of the form says: `add:0`, `remove:0.1`, `group`; anything else changes nothing."""
    name, _, place = what.partition(":")
    group, _, rule = place.partition(".")
    if name == "group" and len(made.groups) < MOST_GROUPS:
        made.groups.append(Rules())
    elif name == "add" and group.isdecimal() and int(group) < len(made.groups):
        rules = made.groups[int(group)].rules
        rules.extend([Rule()] if len(rules) < MOST_RULES else [])
    elif name == "remove" and group.isdecimal() and rule.isdecimal() and int(group) < len(made.groups):
        rules = made.groups[int(group)].rules
        del rules[int(rule) : int(rule) + 1]
        made.groups = [each for each in made.groups if each.rules] or [Rules()]


def _one_of(value: str | None, choices: tuple[str, ...]) -> str:
    return value if value in choices else choices[0]


# --- to JSON -----------------------------------------------------------------------------------------------------


def as_conditions(made: Builder, types: Mapping[str, AttributeType], zone: ZoneInfo) -> dict[str, Any]:
    """Return the JSON of a form."""
    groups = [_group(each, types, zone) for each in made.groups]
    return groups[0] if len(groups) == 1 else {made.how: groups}


def _group(group: Rules, types: Mapping[str, AttributeType], zone: ZoneInfo) -> dict[str, Any]:
    rules = [_rule(each, kind_of(each.field, types), zone) for each in group.rules]
    return {"not": {"any": rules}} if group.how == "none" else {group.how: rules}


def _rule(rule: Rule, kind: Kind, zone: ZoneInfo) -> dict[str, Any]:
    if OPERATORS[kind].get(rule.op) is None:
        return {"field": rule.field, "op": rule.op}
    holds = _holds(rule, kind)
    first = _value(rule.value, holds, zone)
    return {
        "field": rule.field,
        "op": rule.op,
        "value": [first, _value(rule.to, holds, zone)] if rule.op == "between" else first,
    }


def _value(text: str, holds: str, zone: ZoneInfo) -> Any:
    """Return a value in its type; what is none of it stays text, which is then refused in words."""
    try:
        if holds == "days":
            return int(text)
        if holds == Kind.NUMBER:
            return as_number(text)
        if holds == Kind.MOMENT:
            return datetime.fromisoformat(text).replace(tzinfo=zone).isoformat()
    except (ValueError, OverflowError):
        return text
    return {"true": True, "false": False}.get(text, text) if holds == Kind.BOOLEAN else text


def place(made: Builder, wrong: Iterable[FieldError]) -> list[FieldError]:
    """Put what is wrong to the conditions it is about, and return the rest."""
    paths = dict(_paths(made))
    rest = []
    for each in wrong:
        rule = next((rule for path, rule in paths.items() if each.field.startswith(f"{path}.")), None)
        if rule is None:
            rest.append(each)
        else:
            rule.wrong = rule.wrong or each.message
    return rest


def _paths(made: Builder) -> Iterable[tuple[str, Rule]]:
    for number, group in enumerate(made.groups):
        before = "conditions" if len(made.groups) == 1 else f"conditions.{made.how}.{number}"
        inside = "not.any" if group.how == "none" else group.how
        yield from ((f"{before}.{inside}.{at}", rule) for at, rule in enumerate(group.rules))


# --- from JSON ---------------------------------------------------------------------------------------------------


def of_conditions(conditions: Mapping[str, Any], zone: ZoneInfo) -> Builder | None:
    """Return the form of conditions; None if they are deeper than a form can show."""
    if (single := _as_group(conditions, zone)) is not None:
        return Builder(groups=[single])
    how = next(iter(conditions), "")
    if how not in ("all", "any"):
        return None
    groups = [_as_group(each, zone) for each in conditions[how]]
    if not groups or len(groups) > MOST_GROUPS or None in groups:
        return None
    return Builder(how, [each for each in groups if each is not None])


def _as_group(node: Mapping[str, Any], zone: ZoneInfo) -> Rules | None:
    if "field" in node:
        return Rules(rules=[_as_rule(node, zone)])
    how, inside = next(iter(node.items()))
    if how == "not":
        if "field" in inside:
            return Rules("none", [_as_rule(inside, zone)])
        how, inside = ("none", inside["any"]) if "any" in inside else ("", [])
    if not inside or len(inside) > MOST_RULES or not all("field" in each for each in inside):
        return None
    return Rules(how, [_as_rule(each, zone) for each in inside])


def _as_rule(node: Mapping[str, Any], zone: ZoneInfo) -> Rule:
    value = node.get("value")
    first, to = (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else (value, None)
    moment = FIELDS.get(node["field"]) is Kind.MOMENT
    return Rule(node["field"], node["op"], *(_shown(each, zone if moment else None) for each in (first, to)))


def _shown(value: Any, zone: ZoneInfo | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if zone is not None and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(zone).strftime("%Y-%m-%dT%H:%M")
    return "" if value is None else str(value)
