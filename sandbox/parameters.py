"""A template and what a message puts into it: whether that fits, and what the customer then reads."""

import re
from typing import Any

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.templates import Template, filled, variables

MEDIA = ("IMAGE", "VIDEO", "DOCUMENT")
BODY_LENGTH = 1024
LONE_BODY_LENGTH = 32_768
_UNCHECKED = ("carousel", "limited_time_offer", "order_status", "tap_target_configuration", "call_permission_request")
_TEXTUAL = ("text", "currency", "date_time")
_BAD_SPACE = re.compile(r"[\n\r\t]| {5,}")


def check(template: Template, components: list[Json]) -> None:
    """Raise the error Meta gives when the parameters do not fit the template."""
    parts: dict[str, list[Json]] = {"header": [], "body": []}
    buttons: dict[int, Json] = {}
    for component in components:
        kind = str(component.get("type") or "").lower()
        if kind in parts:
            parts[kind] += component.get("parameters") or []
        elif kind == "button":
            buttons[_index(component)] = component
        elif kind not in _UNCHECKED:
            raise GraphError(100, f"Unknown component type {component.get('type')!r}.")
    _check_header(template, parts["header"])
    body = template.part("BODY") or {}
    values = _values(template, "body", str(body.get("text", "")), parts["body"])
    text = filled(str(body.get("text", "")), values)
    if len(text) > (LONE_BODY_LENGTH if len(template.components) == 1 else BODY_LENGTH):
        raise GraphError(132005, f"The text of the body is too long: {len(text)} characters.")
    _check_buttons(template, buttons)


def rendered(template: Template, components: list[Json]) -> Json:
    """Return what the customer sees of a template message that was accepted."""
    given: dict[str, list[Json]] = {"header": [], "body": []}
    payloads: dict[int, Json] = {}
    for component in components:
        kind = str(component.get("type") or "").lower()
        if kind in given:
            given[kind] += component.get("parameters") or []
        elif kind == "button":
            payloads[_index(component)] = (component.get("parameters") or [{}])[0]
    header = template.part("HEADER") or {}
    shown: Json = {"body": _text(template, "BODY", given["body"])}
    if str(header.get("format", "")).upper() == "TEXT":
        shown["header"] = {"type": "text", "text": _text(template, "HEADER", given["header"])}
    elif given["header"]:
        shown["header"] = given["header"][0]
    footer = template.part("FOOTER")
    if footer:
        shown["footer"] = footer.get("text", "")
    shown["buttons"] = [
        _button(button, index, payloads.get(index, {})) for index, button in enumerate(template.buttons)
    ]
    return shown


def _button(button: Json, index: int, parameter: Json) -> Json:
    shown: Json = {"type": str(button.get("type", "")).upper(), "text": button.get("text", ""), "index": index}
    if shown["type"] == "QUICK_REPLY":
        shown["payload"] = parameter.get("payload") or shown["text"]
    elif shown["type"] == "URL":
        shown["url"] = filled(str(button.get("url", "")), {"1": str(parameter.get("text", ""))})
    elif parameter.get("coupon_code"):
        shown["code"] = parameter["coupon_code"]
    return shown


def _text(template: Template, kind: str, parameters: list[Json]) -> str:
    text = str((template.part(kind) or {}).get("text", ""))
    names = variables(text)
    if template.named:
        return filled(text, {str(item.get("parameter_name")): _shown(item) for item in parameters})
    return filled(text, {name: _shown(item) for name, item in zip(names, parameters, strict=False)})


def _check_header(template: Template, parameters: list[Json]) -> None:
    header = template.part("HEADER") or {}
    wanted = str(header.get("format", "")).upper()
    if wanted in MEDIA or wanted == "LOCATION":
        got = str(parameters[0].get("type", "unknown")).upper() if parameters else "UNKNOWN"
        if got != wanted or len(parameters) != 1:
            raise GraphError(132012, f"header: Format mismatch, expected {wanted}, received {got}")
        medium = parameters[0].get(got.lower())
        if not isinstance(medium, dict) or (wanted in MEDIA and not (medium.get("id") or medium.get("link"))):
            raise GraphError(131008, f"header: parameter of type {got} needs an id or a link")
    else:
        _values(template, "header", str(header.get("text", "")), parameters)


def _values(template: Template, place: str, text: str, parameters: list[Json]) -> dict[str, str]:
    """Return the value of each placeholder."""
    wanted = variables(text)
    if len(parameters) != len(wanted):
        raise GraphError(
            132000,
            f"{place}: number of localizable_params ({len(parameters)}) does not match the expected number of params "
            f"({len(wanted)})",
        )
    for parameter in parameters:
        _check_text(place, parameter)
    if not template.named:
        return {name: _shown(parameter) for name, parameter in zip(wanted, parameters, strict=True)}
    values = {str(parameter.get("parameter_name")): _shown(parameter) for parameter in parameters}
    if set(values) != set(wanted):
        raise GraphError(132000, f"{place}: the expected parameter names are {', '.join(wanted)}")
    return values


def _check_text(place: str, parameter: Json) -> None:
    kind = str(parameter.get("type", "")).lower()
    if kind not in _TEXTUAL:
        raise GraphError(132012, f"{place}: Format mismatch, expected TEXT, received {kind.upper() or 'UNKNOWN'}")
    value = _shown(parameter)
    if not value.strip():
        raise GraphError(131008, f"{place}: Parameter of type text is missing text value")
    if _BAD_SPACE.search(value):
        raise GraphError(132012, f"{place}: Param text cannot have new-lines, tabs or more than 4 consecutive spaces")


def _check_buttons(template: Template, given: dict[int, Json]) -> None:
    buttons = template.buttons
    for index, component in given.items():
        if index >= len(buttons):
            raise GraphError(131009, f"buttons: The template has no button at index {index}")
        kind, sub_type = str(buttons[index].get("type", "")).upper(), str(component.get("sub_type", "")).upper()
        if sub_type != kind and {kind, sub_type} != {"OTP", "URL"}:
            raise GraphError(132012, f"buttons: Format mismatch at index {index}, expected {kind}, received {sub_type}")
    for index, button in enumerate(buttons):
        kind = str(button.get("type", "")).upper()
        if kind in ("COPY_CODE", "OTP") or (kind == "URL" and variables(str(button.get("url", "")))):
            parameter: Json = next(iter(given.get(index, {}).get("parameters") or []), {})
            if not (parameter.get("text") or parameter.get("coupon_code")):
                raise GraphError(131008, f"buttons: Button at index {index} of type {kind} requires a parameter")


def _index(component: Json) -> int:
    index: Any = component.get("index")
    text = str(index)
    if not text.isdigit():
        raise GraphError(131009, f"buttons: index must be a whole number, received {index!r}")
    return int(text)


def _shown(parameter: Json) -> str:
    kind = str(parameter.get("type", "")).lower()
    if kind == "text":
        return str(parameter.get("text") or "")
    value = parameter.get(kind)
    return str(value.get("fallback_value") or "") if isinstance(value, dict) else ""
