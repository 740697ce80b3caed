"""Message templates as WhatsApp has them: the list of an account, and the webhooks that say what became of one.

Sources: Meta, "Templates" of the Cloud API and its Business Management API (`message_templates`), and the webhook
references of `message_template_status_update`, `message_template_quality_update`, `template_category_update` and
`message_template_components_update`.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from crm_tasks.core.text import storable
from crm_tasks.providers import http
from crm_tasks.providers.http import NoAnswer, NotSent
from crm_tasks.providers.provider import Action, Refusal, Sender
from crm_tasks.providers.whatsapp.errors import refusal

PAGE = 100
# An account has 6,000 templates at most; more pages than this is a list that goes in circles.
PAGES = 100
STATUS_UPDATE = "message_template_status_update"
QUALITY_UPDATE = "message_template_quality_update"
CATEGORY_UPDATE = "template_category_update"
COMPONENTS_UPDATE = "message_template_components_update"
UPDATES = (STATUS_UPDATE, QUALITY_UPDATE, CATEGORY_UPDATE, COMPONENTS_UPDATE)
_FIELDS = "id,name,language,status,category,components,parameter_format,quality_score,rejected_reason"
# Which key of a components update holds the text of which component.
_TEXTS = {
    "HEADER": "message_template_title",
    "BODY": "message_template_element",
    "FOOTER": "message_template_footer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A template as the provider lists it."""

    id: str
    name: str
    language: str
    status: str
    category: str
    components: list[dict[str, Any]]
    parameter_format: str = "positional"
    quality: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a webhook says about one template; what it does not say is None."""

    id: str | None
    name: str
    language: str
    status: str | None = None
    reason: str | None = None
    quality: str | None = None
    category: str | None = None
    # The text of each component, by its type.
    texts: dict[str, str] = field(default_factory=dict)


def listed(account: Sender) -> list[Listed] | Refusal:
    """Return every template of an account, or why the list could not be had. Half a list is never returned."""
    found: list[Listed] = []
    after = ""
    for _ in range(PAGES):
        said = _page(account, after)
        if isinstance(said, Refusal):
            return said
        found += [read for item in _objects(said.get("data")) if (read := _listed(item))]
        paging = _object(said.get("paging"))
        following = _text(_object(paging.get("cursors")).get("after")) or ""
        if not paging.get("next") or not following:
            return found
        if following == after:
            break
        after = following
    return Refusal(Action.MESSAGE, -1, f"the list of templates has no end after {PAGES} pages")


def change(name: str, value: Any) -> Change | None:
    """Return what a webhook of this field says about a template; None if it names none."""
    given = _object(value)
    template, language = _text(given.get("message_template_name")), _text(given.get("message_template_language"))
    if name not in UPDATES or not template or not language:
        return None
    said: dict[str, Any] = {}
    if name == STATUS_UPDATE:
        said = {"status": _upper(given.get("event")), "reason": _why(given)}
    elif name == QUALITY_UPDATE:
        said = {"quality": _upper(given.get("new_quality_score"))}
    elif name == CATEGORY_UPDATE:
        # With `correct_category` alone it is an announcement: nothing has changed yet.
        said = {"category": _lower(given.get("new_category"))}
    else:
        texts = {kind: text for kind, key in _TEXTS.items() if (text := _text(given.get(key)))}
        said = {"texts": texts}
    return Change(id=_text(given.get("message_template_id")), name=template, language=language, **said)


def _page(account: Sender, after: str) -> dict[str, Any] | Refusal:
    url = f"{account.base_url}/{account.settings['api_version']}/{account.settings['waba_id']}/message_templates"
    params = {"limit": str(PAGE), "fields": _FIELDS} | ({"after": after} if after else {})
    headers = {"Authorization": f"Bearer {account.credentials['access_token']}"}
    try:
        answer = http.request("GET", url, params=params, headers=headers)
    except (NotSent, NoAnswer) as error:
        return Refusal(Action.RETRY, -1, f"no answer: {error}")
    try:
        said = storable(orjson.loads(answer.body))
    except orjson.JSONDecodeError:
        said = None
    wrong = _object(_object(said).get("error"))
    if isinstance(wrong.get("code"), int):
        no = refusal(wrong["code"], str(wrong.get("message", "")))
        # Asking again does no harm: what is unknown after a send is only a try that failed here.
        return Refusal(Action.RETRY, no.code, no.message) if no.action is Action.UNKNOWN else no
    if answer.status != 200 or not isinstance(_object(said).get("data"), list):
        again = answer.status == 429 or answer.status >= 500
        return Refusal(Action.RETRY if again else Action.MESSAGE, -answer.status, f"HTTP {answer.status}, not a list")
    return _object(said)


def _listed(item: dict[str, Any]) -> Listed | None:
    template_id, name, language = (_text(item.get(key)) for key in ("id", "name", "language"))
    if not template_id or not name or not language:
        return None
    return Listed(
        id=template_id,
        name=name,
        language=language,
        status=_upper(item.get("status")) or "UNKNOWN",
        category=_lower(item.get("category")) or "unknown",
        components=list(_objects(item.get("components"))),
        parameter_format=_lower(item.get("parameter_format")) or "positional",
        quality=_upper(_object(item.get("quality_score")).get("score")),
        reason=_given(item.get("rejected_reason")),
    )


def _why(value: dict[str, Any]) -> str | None:
    """Return why a template was stopped, wherever Meta wrote it."""
    found = [_given(value.get("reason"))]
    for key, names in (("rejection_info", ("reason", "recommendation")), ("other_info", ("title", "description"))):
        found += [_given(_object(value.get(key)).get(name)) for name in names]
    return "; ".join(dict.fromkeys(text for text in found if text))[:500] or None


# --- foreign values ----------------------------------------------------------------------------------------------


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _given(value: Any) -> str | None:
    """Return a reason; Meta writes none as `NONE`."""
    text = _text(value)
    return None if text is None or text.upper() == "NONE" else text


def _upper(value: Any) -> str | None:
    text = _text(value)
    return text.upper() if text else None


def _lower(value: Any) -> str | None:
    text = _text(value)
    return text.lower() if text else None
