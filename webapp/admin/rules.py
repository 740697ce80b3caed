"""Rules of a workspace about its messages, each a form: quiet hours, caps, rate, budget, prices, words to opt out."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, Invalid, NotFound
from crm_tasks.workspaces import policies
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import problems, typed, whole, words

CATEGORIES = ("marketing", "utility", "authentication", "service")
PRICED = ("whatsapp_marketing", "whatsapp_utility", "whatsapp_authentication", "whatsapp_service", "sms", "email")
PERIODS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


@blueprint.get("/settings/rules")
def rules() -> str:
    """Show every rule there can be, and what is set."""
    return _page()


@blueprint.post("/settings/rules/<name>")
def set_rule(name: str) -> ResponseReturnValue:
    """Set a rule; what is wrong is shown beside it."""
    if name not in _READ:
        raise NotFound("There is no such rule.")
    given = typed()
    try:
        value = _READ[name](given)
        with db.transaction() as session:
            policies.put(session, here().workspace_id, name, value, actor=here().actor)
    except DomainError as error:
        return _page(name, error), 422
    return redirect(url_for("admin.rules", _anchor=name))


@blueprint.post("/settings/rules/<name>/end")
def end_rule(name: str) -> ResponseReturnValue:
    """End a rule."""
    with db.transaction() as session:
        policies.remove(session, here().workspace_id, name, actor=here().actor)
    return redirect(url_for("admin.rules", _anchor=name))


def _page(failed: str = "", error: DomainError | None = None) -> str:
    with db.transaction() as session:
        found = {each.name: each for each in policies.listed(session, here().workspace_id)}
    shown = {name: _SHOWN.get(name, dict)(each.value) for name, each in found.items()}
    if failed:
        shown[failed] = typed() | {"categories": request.form.getlist("categories")}
    return render_template(
        "admin/rules.html",
        rules=found,
        shown=shown,
        failed=failed,
        wrong=problems(error) if error else [],
        categories=CATEGORIES,
        priced=PRICED,
        periods=PERIODS,
    )


def _kept(given: Mapping[str, str], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name)}


def _quiet_hours(given: Mapping[str, str]) -> dict[str, Any]:
    return _kept(given, "from", "to") | {"categories": request.form.getlist("categories")}


def _cap(given: Mapping[str, str]) -> dict[str, Any]:
    return {name: whole(given[name]) for name in ("messages", "days") if given.get(name)}


def _rate(given: Mapping[str, str]) -> dict[str, Any]:
    return {"rate": f"{given.get('messages', '')}/{given.get('per', '')}"}


def _keywords(given: Mapping[str, str]) -> dict[str, Any]:
    lists = {name: words(given[name]) for name in ("stop", "start") if given.get(name)}
    return lists | _kept(given, "confirmation")


def _prices(given: Mapping[str, str]) -> dict[str, Any]:
    countries: dict[str, dict[str, str]] = {}
    for line in given.get("countries", "").splitlines():
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3:
            wrong = FieldError("countries", f"{line.strip()[:60]!r} is not a country, what is priced, and a price.")
            raise Invalid("This is not a value of prices.", fields=[wrong])
        countries.setdefault(parts[0], {})[parts[1]] = parts[2]
    return _kept(given, *PRICED) | ({"countries": countries} if countries else {})


_READ: dict[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
    "quiet_hours": _quiet_hours,
    "frequency_cap": _cap,
    "rate": _rate,
    "budget": lambda given: _kept(given, "amount", "per", "time_zone"),
    "prices": _prices,
    "keywords": _keywords,
}


# --- as a form has them ------------------------------------------------------------------------------------------


def _shown_rate(value: Mapping[str, Any]) -> dict[str, Any]:
    messages, _, per = str(value.get("rate", "")).partition("/")
    return {"messages": messages, "per": per}


def _shown_words(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: ", ".join(kept) if isinstance(kept, list) else kept for name, kept in value.items()}


def _shown_prices(value: Mapping[str, Any]) -> dict[str, Any]:
    lines = [
        f"{country} {name} {price:g}"
        for country, prices in sorted(value.get("countries", {}).items())
        for name, price in sorted(prices.items())
    ]
    return {**value, "countries": "\n".join(lines)}


_SHOWN: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "rate": _shown_rate,
    "keywords": _shown_words,
    "prices": _shown_prices,
}
