"""What a template wants to be filled in, whether a message does so, and what a person then reads. Pure functions.

Sources: Meta, "Templates" of the Cloud API: positional parameters come in the order of their numbers, named ones in
any order; types and sub types of components are compared without regard to case, as clients write both.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crm_tasks.core.errors import FieldError

Json = dict[str, Any]
MEDIA = ("image", "video", "document")
_TEXTUAL = ("text", "currency", "date_time")
# Components that only the provider can check.
_FOREIGN = ("carousel", "limited_time_offer", "order_status", "tap_target_configuration", "call_permission_request")
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_WHERE = "template.components"


def wanted(components: Iterable[Json]) -> Json:
    """Return what a message of this template must fill in.

    `header` and `body` have a `kind` and, for text, the `names` of the variables in order; `buttons` are those that
    need a parameter, with their `index`, `sub_type` and `kind`; `others` are components that are not checked here.
    """
    found: Json = {}
    for part in components:
        kind = _word(part.get("type"))
        if kind == "header":
            _want_header(part, found)
        elif kind == "body":
            _want_text("body", part, found)
        elif kind == "buttons":
            buttons = part.get("buttons")
            found["buttons"] = _button_kinds(buttons if isinstance(buttons, list) else [])
        elif kind != "footer":
            found.setdefault("others", []).append(kind)
    return found


def problems(wants: Json, given: Iterable[Any], *, named: bool) -> list[FieldError]:
    """Return what is wrong with the components of a message, by the way to each in the request."""
    found: list[FieldError] = []
    texts: dict[str, tuple[str, list[Json]]] = {}
    buttons: dict[int, tuple[str, Json]] = {}
    skipped = {*_FOREIGN, *wants.get("others", ())}
    for position, component in enumerate(given):
        here = f"{_WHERE}.{position}"
        kind = _word(component.get("type")) if isinstance(component, dict) else ""
        if kind in ("header", "body"):
            earlier = texts.get(kind, (here, []))[1]
            texts[kind] = here, earlier + _parameters(component)
        elif kind == "button" and str(component.get("index")).isdecimal():
            buttons[int(component["index"])] = here, component
        elif kind == "button":
            found.append(_wrong(f"{here}.index", "Say which button by its number, counted from 0."))
        elif kind not in skipped:
            found.append(_wrong(f"{here}.type", "Use header, body or button."))
    for kind in ("header", "body"):
        if kind not in skipped:
            where, parameters = texts.get(kind, (_WHERE, []))
            found += _text_problems(kind, wants.get(kind) or {"kind": "text", "names": []}, where, parameters, named)
    return found + _button_problems(wants.get("buttons") or [], buttons)


def rendered(components: Iterable[Json], given: Iterable[Any], *, named: bool) -> str:
    """Return the text of a template message as a person reads it: header, body and footer, a line each at least."""
    parameters: dict[str, list[Json]] = {}
    for component in given:
        if isinstance(component, dict):
            parameters.setdefault(_word(component.get("type")), []).extend(_parameters(component))
    lines = []
    for part in sorted(components, key=lambda each: _ORDER.get(_word(each.get("type")), 9)):
        kind, text = _word(part.get("type")), part.get("text")
        if kind in _ORDER and isinstance(text, str):
            lines.append(_filled(text, parameters.get(kind, []), named))
        elif kind == "header" and part.get("format"):
            lines.append(f"[{_word(part['format'])}]")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Laid:
    """A message as a phone lays it out; `medium` is what stands above it, such as an image."""

    header: str = ""
    medium: str = ""
    body: str = ""
    footer: str = ""
    buttons: tuple[str, ...] = ()


def laid(components: Iterable[Json], given: Iterable[Any], *, named: bool) -> Laid:
    """Return a template message as a phone lays it out."""
    parts = {_word(each.get("type")): each for each in components}
    parameters = {_word(each.get("type")): _parameters(each) for each in given if isinstance(each, dict)}
    texts = {
        kind: _filled(text, parameters.get(kind, []), named)
        for kind in _ORDER
        if isinstance(text := parts.get(kind, {}).get("text"), str)
    }
    medium = _word(parts.get("header", {}).get("format"))
    buttons = parts.get("buttons", {}).get("buttons")
    words = [str(each.get("text") or "") for each in buttons or [] if isinstance(each, dict)]
    return Laid(**texts, medium="" if medium == "text" else medium, buttons=tuple(filter(None, words)))


_ORDER = {"header": 0, "body": 1, "footer": 2}


def variables(text: str) -> list[str]:
    """Return the variables of a text, each once: numbers in their order, names as they come."""
    names = list(dict.fromkeys(_VARIABLE.findall(text)))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


# --- what is wanted ----------------------------------------------------------------------------------------------


def _want_header(part: Json, found: Json) -> None:
    kind = _word(part.get("format")) or "text"
    if kind == "text":
        _want_text("header", part, found)
    elif kind in MEDIA or kind == "location":
        found["header"] = {"kind": kind}
    else:
        found.setdefault("others", []).append("header")


def _want_text(place: str, part: Json, found: Json) -> None:
    text = part.get("text")
    if not isinstance(text, str):
        found.setdefault("others", []).append(place)
    elif names := variables(text):
        found[place] = {"kind": "text", "names": names}


def _button_kinds(buttons: list[Any]) -> list[Json]:
    """Return every button with the parameter that it needs, or none."""
    found = []
    for index, button in enumerate(buttons):
        kind = _word(button.get("type")) if isinstance(button, dict) else ""
        needs = None
        if kind == "otp" or (kind == "url" and variables(str(button.get("url") or ""))):
            needs = "text"
        elif kind == "copy_code":
            needs = "coupon_code"
        found.append({"index": index, "sub_type": "url" if kind == "otp" else kind, "kind": needs})
    return found


# --- what is wrong -----------------------------------------------------------------------------------------------


def _text_problems(place: str, want: Json, where: str, given: list[Json], named: bool) -> list[FieldError]:
    where = f"{where}.parameters" if given else where
    if want["kind"] != "text":
        return _medium_problems(place, want["kind"], where, given)
    names: list[str] = want["names"]
    odd = next((each for each in given if not _shown(each).strip()), None)
    if named:
        got = [str(each.get("parameter_name")) for each in given]
        if sorted(got) != sorted(names):
            missing, more = [n for n in names if n not in got], [n for n in got if n not in names]
            wrong = "; ".join(
                f"{what}: {', '.join(list_)}" for what, list_ in (("missing", missing), ("unknown", more)) if list_
            )
            return [_wrong(where, f"The {place} wants {_listed(names)} by parameter_name; {wrong or 'one is double'}.")]
    elif len(given) != len(names):
        return [_wrong(where, f"The {place} wants {_listed(names)}, not {len(given)}.")]
    if odd is not None:
        kinds = ", ".join(_TEXTUAL)
        return [_wrong(where, f"The {place} is text: each parameter is of type {kinds} and not empty.")]
    return []


def _medium_problems(place: str, kind: str, where: str, given: list[Json]) -> list[FieldError]:
    medium = given[0].get(kind) if len(given) == 1 and _word(given[0].get("type")) == kind else None
    if not isinstance(medium, dict):
        return [_wrong(where, f"The {place} wants 1 parameter of type {kind}.")]
    if kind in MEDIA and not (medium.get("id") or medium.get("link")):
        return [_wrong(where, f"The {kind} of the {place} needs an id or a link.")]
    return []


def _button_problems(buttons: list[Json], given: dict[int, tuple[str, Json]]) -> list[FieldError]:
    found = []
    for index, (where, component) in given.items():
        if index >= len(buttons):
            count = f"has {len(buttons)} buttons, counted from 0" if buttons else "has no buttons"
            found.append(_wrong(f"{where}.index", f"The template {count}."))
        elif _word(component.get("sub_type")) not in (buttons[index]["sub_type"], "otp"):
            found.append(_wrong(f"{where}.sub_type", f"Button {index} is of type {buttons[index]['sub_type']}."))
    for button in buttons:
        where, component = given.get(button["index"], (_WHERE, {}))
        kind = button["kind"]
        if kind and not any(each.get("text") or each.get("coupon_code") for each in _parameters(component)[:1]):
            text = f"Button {button['index']} ({button['sub_type']}) wants 1 parameter of type {kind}."
            found.append(_wrong(f"{where}.parameters" if component else where, text))
    return found


def _listed(names: list[str]) -> str:
    if not names:
        return "no parameters"
    shown = ", ".join(f"{{{{{name}}}}}" for name in names)
    return f"{len(names)} parameter{'s' if len(names) > 1 else ''} ({shown})"


def _wrong(where: str, text: str) -> FieldError:
    return FieldError(where, text, "template_parameters")


# --- values ------------------------------------------------------------------------------------------------------


def _parameters(component: Json) -> list[Json]:
    given = component.get("parameters")
    return [each if isinstance(each, dict) else {} for each in given] if isinstance(given, list) else []


def _filled(text: str, given: list[Json], named: bool) -> str:
    if named:
        values = {str(each.get("parameter_name")): _shown(each) for each in given}
    else:
        values = dict(zip(variables(text), map(_shown, given), strict=False))
    return _VARIABLE.sub(lambda found: values.get(found[1]) or found[0], text)


def _shown(parameter: Json) -> str:
    kind = _word(parameter.get("type"))
    value = parameter.get(kind) if kind in _TEXTUAL else None
    return str((value.get("fallback_value") if isinstance(value, dict) else value) or "")


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""
