"""The form of a campaign and what the API calls the same: a form is read into JSON, JSON is written into a form."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.schemas import in_currency
from crm_tasks.campaigns.service.guards import GUARDS
from crm_tasks.templates.models import Template

Given = Mapping[str, str]
# Which fields of the API each step of the form writes.
STEPS = {
    "whom": ("audience",),
    "what": ("channel_id", "message"),
    "when": ("name", "scheduled_for", "time_zone", "budget", "guards"),
}
# The message was written through the API, and is more than the form can show: it stays as it is.
KEPT = "kept"
_SHARES = ("failure_share", "opt_out_share", "canary_share")
_LOCATION = ("latitude", "longitude", "name", "address")
_PLACE = re.compile(r"\{\{\s*([^{}|]+?)\s*(?:\|([^{}]*))?\}\}")


@dataclass(frozen=True, slots=True)
class Place:
    """Something that a template wants to be filled in: the name of its field, words for it, what the API calls it."""

    key: str
    label: str
    kind: str
    component: Mapping[str, str]
    parameter_name: str = ""


@dataclass(slots=True)
class Read:
    """A form as the API would be asked, and the words of what each part of it is to people."""

    asked: dict[str, Any]
    words: dict[str, str] = field(default_factory=dict)


def places(template: Template) -> list[Place]:
    """Return what a message of a template must fill in, in order."""
    return [*_texts(template, "header"), *_texts(template, "body"), *_buttons(template)]


def read(given: Given, template: Template | None) -> Read:
    """Return a form as the API would be asked."""
    found = Read({"name": given.get("name", "").strip(), "audience": _audience(given)})
    if given.get("channel_id"):
        found.asked["channel_id"] = given["channel_id"]
    if given.get("type") != KEPT:
        found.asked["message"] = message(given, template, found.words)
    # Whoever starts it by hand has no moment; an empty one is said to be none.
    found.asked["scheduled_for"] = given.get("scheduled_for", "").strip() if given.get("start") == "at" else None
    found.asked["time_zone"] = given.get("time_zone", "").strip() or None
    found.asked["budget"] = given.get("budget", "").strip() or None
    found.asked["guards"] = {name: value for name in GUARDS if (value := _guard(given, name)) != ""}
    return found


def written(campaign: Campaign, template: Template | None) -> dict[str, str]:
    """Return a campaign as the form has it."""
    zone = ZoneInfo(campaign.time_zone or "UTC")
    given = {
        "name": campaign.name,
        "channel_id": str(campaign.channel_id),
        "start": "at" if campaign.scheduled_for else "",
        "scheduled_for": _local(campaign.scheduled_for, zone),
        "time_zone": campaign.time_zone or ("UTC" if campaign.scheduled_for else ""),
        "budget": "" if campaign.budget is None else f"{in_currency(campaign.budget):g}",
        **_written_audience(campaign.audience),
        **{name: _shown_guard(name, value) for name, value in campaign.guards.items()},
    }
    wrote = _written_message(campaign.message, template)
    again = message({**given, **wrote}, template, {})
    fits = _bare(again) == _bare({"category": again.get("category"), **campaign.message})
    return given | (wrote if fits else {"type": KEPT, "was_kept": "1"})


# --- whom --------------------------------------------------------------------------------------------------------


def _audience(given: Given) -> dict[str, Any]:
    kind = given.get("audience", "all")
    if kind == "tags":
        return {"tags": _split(given.get("tags", ""))}
    if kind == "segment_id":
        return {"segment_id": given.get("segment_id", "")}
    if kind == "contact_ids":
        return {"contact_ids": _split(given.get("contact_ids", ""))}
    return {"all": True}


def _written_audience(audience: Mapping[str, Any]) -> dict[str, str]:
    ((kind, value),) = audience.items()
    if kind == "all":
        return {"audience": "all"}
    return {"audience": kind, kind: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}


def _split(text: str) -> list[str]:
    return [each.strip() for each in re.split(r"[,\n]", text) if each.strip()]


# --- what --------------------------------------------------------------------------------------------------------


def message(given: Given, template: Template | None, words: dict[str, str]) -> dict[str, Any]:
    """Return the message of a form as the API would be asked; `words` gets what its parts are to people."""
    kind = given.get("type", "template")
    category = {"category": given.get("category") or "marketing"}
    if kind == "text":
        return {"type": "text", "text": {"body": given.get("body", "")}, **category}
    if kind == "email":
        mail = {name: text for name in ("subject", "text", "html") if (text := given.get(name, "").strip())}
        return {"type": "email", "email": mail, **category}
    if template is None:
        return {"type": "template"}
    said = {"name": template.name, "language": {"code": template.language}}
    return {"type": "template", "template": {**said, "components": list(_components(given, template, words))}}


def _components(given: Given, template: Template, words: dict[str, str]) -> Iterator[dict[str, Any]]:
    for number, (_, group) in enumerate(groupby(places(template), key=lambda place: sorted(place.component.items()))):
        mine = list(group)
        for position, place in enumerate(mine):
            words[f"message.template.components.{number}.parameters.{position}"] = place.label
        words[f"message.template.components.{number}"] = mine[0].label
        yield {**mine[0].component, "parameters": [_parameter(given, place) for place in mine]}


def _parameter(given: Given, place: Place) -> dict[str, Any]:
    if place.kind == "location":
        said = {name: given.get(f"{place.key}-{name}", "").strip() for name in _LOCATION}
        return {"type": "location", "location": {name: text for name, text in said.items() if text}}
    value = _value(given, place.key)
    if place.kind in ("text", "coupon_code"):
        named = {"parameter_name": place.parameter_name} if place.parameter_name else {}
        return {"type": place.kind, place.kind: value, **named}
    return {"type": place.kind, place.kind: {"link": value}}


def _value(given: Given, key: str) -> str:
    """Return what is said at a place: words, or a value of the contact and what is said where there is none."""
    source, text = given.get(f"{key}-from", ""), given.get(key, "").strip()
    if not source:
        return text
    instead = text.replace("{", "").replace("}", "")
    return f"{{{{{source}|{instead}}}}}" if instead else f"{{{{{source}}}}}"


def _written_message(message: Mapping[str, Any], template: Template | None) -> dict[str, str]:
    kind, category = message["type"], {"category": str(message.get("category") or "marketing")}
    if kind == "text":
        return {"type": kind, "body": message["text"].get("body", ""), **category}
    if kind == "email":
        return {
            "type": kind,
            **{name: message["email"].get(name) or "" for name in ("subject", "text", "html")},
            **category,
        }
    if kind != "template" or template is None:
        return {"type": KEPT}
    found = {"type": kind, "template": str(template.id)}
    for component in message["template"].get("components") or []:
        mine = [each for each in places(template) if _is_of(each, component)]
        for place, parameter in zip(mine, component.get("parameters") or [], strict=False):
            found |= _written_parameter(place, parameter)
    return found


def _is_of(place: Place, component: Mapping[str, Any]) -> bool:
    return all(str(component.get(name)) == value for name, value in place.component.items())


def _written_parameter(place: Place, parameter: Mapping[str, Any]) -> dict[str, str]:
    said = parameter.get(place.kind)
    if place.kind == "location" and isinstance(said, Mapping):
        return {f"{place.key}-{name}": str(said.get(name) or "") for name in _LOCATION}
    value = str(said.get("link") or "") if isinstance(said, Mapping) else str(said or "")
    if whole := _PLACE.fullmatch(value):
        return {f"{place.key}-from": whole[1].strip(), place.key: whole[2] or ""}
    return {place.key: value}


def _texts(template: Template, part: str) -> Iterator[Place]:
    wants = template.parameters.get(part)
    if wants and wants["kind"] == "text":
        named = template.parameter_format == "named"
        for name in wants["names"]:
            label = f"{part.capitalize()} {{{{{name}}}}}"
            yield Place(f"{part}-{name}", label, "text", {"type": part}, name if named else "")
    elif wants:
        yield Place(part, f"{part.capitalize()}: {wants['kind']}", wants["kind"], {"type": part})


def _buttons(template: Template) -> Iterator[Place]:
    for button in template.parameters.get("buttons") or []:
        if button["kind"]:
            label = "End of the button's link" if button["kind"] == "text" else "Code to copy"
            component = {"type": "button", "sub_type": button["sub_type"], "index": str(button["index"])}
            yield Place(f"button-{button['index']}", label, button["kind"], component)


# --- when --------------------------------------------------------------------------------------------------------


def _local(at: datetime | None, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M") if at else ""


def _guard(given: Given, name: str) -> str | float:
    text = given.get(name, "").strip()
    if name not in _SHARES:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
    try:
        return round(float(text) / 100, 6)
    except ValueError:
        return text


def _shown_guard(name: str, value: Any) -> str:
    return f"{value * 100:g}" if name in _SHARES else f"{value:g}"


def guards() -> dict[str, str]:
    """Return the guards as usual, as the form has them."""
    return {name: _shown_guard(name, value) for name, value in GUARDS.items()}


def _bare(value: Any) -> Any:
    """Return a message without what is empty in it: the form and the API leave out different things."""
    if isinstance(value, Mapping):
        bare = {name: _bare(inner) for name, inner in value.items()}
        return {name: inner for name, inner in bare.items() if inner not in (None, "", [], {})}
    return [_bare(each) for each in value] if isinstance(value, list) else value
