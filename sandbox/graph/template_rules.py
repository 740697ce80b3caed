"""What a new template must look like, and how its review ends."""

import re

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.templates import Template, variables

CATEGORIES = ("AUTHENTICATION", "MARKETING", "UTILITY")
FORMATS = ("TEXT", "IMAGE", "VIDEO", "DOCUMENT", "LOCATION")
BUTTONS = (
    "QUICK_REPLY",
    "URL",
    "PHONE_NUMBER",
    "COPY_CODE",
    "OTP",
    "FLOW",
    "CATALOG",
    "MPM",
    "SPM",
    "VOICE_CALL",
    "REQUEST_CONTACT_INFO",
)
PARTS = ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER", "CALL_PERMISSION_REQUEST")
_NAME = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:_[A-Za-z]{2,4})?")
_EDGES = re.compile(r"^\s*\{\{\s*\w+\s*\}\}|\{\{\s*\w+\s*\}\}\s*$")
_ADJACENT = re.compile(r"\}\}\s*\{\{")


def new(body: Json) -> Json:
    """Return the fields of a template that may be created.

    Raises:
        GraphError: what is wrong with it.
    """
    name, language = body.get("name"), body.get("language")
    category = str(body.get("category") or "").upper()
    components = body.get("components")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad("Param name must be 1 to 512 characters of a-z, 0-9 and _.")
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise _bad("Param language must be a language code such as en_US.")
    if category not in CATEGORIES:
        raise _bad(f"Param category must be one of {{{', '.join(CATEGORIES)}}}.")
    if not isinstance(components, list) or not all(isinstance(part, dict) for part in components):
        raise _bad("Param components must be an array of JSON objects.")
    for part in components:
        _part(part, category)
    kinds = [str(part.get("type")).upper() for part in components]
    if len(set(kinds)) < len(kinds) or "BODY" not in kinds:
        raise _bad("Param components must hold a BODY, and no type twice.")
    return {
        "name": name,
        "language": language,
        "category": category,
        "components": components,
        "parameter_format": str(body.get("parameter_format") or "POSITIONAL").upper(),
    }


def verdict(template: Template) -> tuple[str, str]:
    """Return how the review ends and why: two placeholders side by side are the one thing it rejects."""
    body = template.part("BODY") or {}
    return ("REJECTED", "INVALID_FORMAT") if _ADJACENT.search(str(body.get("text", ""))) else ("APPROVED", "NONE")


def _part(part: Json, category: str) -> None:
    kind = str(part.get("type") or "").upper()
    if kind not in PARTS:
        raise _bad(f"Param components has the unknown type {part.get('type')!r}.")
    if kind == "HEADER":
        _header(part)
    elif kind == "BODY":
        _body(part, category)
    elif kind == "FOOTER" and len(str(part.get("text") or "")) > 60:
        raise _bad("The footer is too long: at most 60 characters.")
    elif kind == "BUTTONS":
        _buttons(part)


def _header(part: Json) -> None:
    wanted = str(part.get("format") or "").upper()
    text = str(part.get("text") or "")
    if wanted not in FORMATS:
        raise _bad(f"The header's format must be one of {{{', '.join(FORMATS)}}}.")
    if wanted == "TEXT" and not 1 <= len(text) <= 60:
        raise _bad("The header's text must have 1 to 60 characters.")
    if len(variables(text)) > 1:
        raise _bad("The header's text may have one variable.", 2388293)
    if wanted in ("IMAGE", "VIDEO", "DOCUMENT") and not _object(part.get("example")).get("header_handle"):
        raise _bad("A header with media needs an example with a header_handle.", 2388273)


def _body(part: Json, category: str) -> None:
    text = part.get("text")
    if category == "AUTHENTICATION" and text is None:
        return
    if not isinstance(text, str) or not 1 <= len(text) <= 1024:
        raise _bad("The body's text must have 1 to 1024 characters.")
    if _EDGES.search(text):
        raise _bad("Variables can't be at the start or end of the template.", 2388299)
    example = _object(part.get("example"))
    if variables(text) and not (example.get("body_text") or example.get("body_text_named_params")):
        raise _bad("The body has variables and needs an example of them.", 2388043)


def _buttons(part: Json) -> None:
    buttons = part.get("buttons")
    if not isinstance(buttons, list) or not 1 <= len(buttons) <= 10:
        raise _bad("Param buttons must be an array of 1 to 10 buttons.")
    for button in buttons:
        kind = str(button.get("type") or "").upper() if isinstance(button, dict) else ""
        if kind not in BUTTONS:
            raise _bad(f"Param buttons has the unknown type {kind!r}.")
        if len(str(button.get("text") or "")) > 25:
            raise _bad("A button's text is too long: at most 25 characters.")
        if kind == "URL" and not str(button.get("url") or "").startswith(("http://", "https://")):
            raise _bad("A URL button needs an http or https url.")


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _bad(why: str, subcode: int | None = None) -> GraphError:
    return GraphError(100, why, message="Invalid parameter", subcode=subcode)
