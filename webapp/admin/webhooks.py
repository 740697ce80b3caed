"""Webhooks to the business's own systems: who is told what, what became of each delivery, and sending again."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.webhooks.models import EVERYTHING, DeliveryState, EventType
from crm_tasks.webhooks.service import endpoints, history
from crm_tasks.workspaces import audit
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import asked, by_field, problems, typed, whole
from webapp.admin.lists import before

SHOWN = 50
# How far back what was missed can be sent again, in hours.
BACK = {"1": "hour", "24": "day", "168": "week", "720": "30 days"}
_TYPES = [each for each in EventType if each is not EventType.WEBHOOK_TEST]


@blueprint.get("/settings/webhooks")
def webhooks() -> str:
    """List the endpoints."""
    with db.transaction() as session:
        found = endpoints.listed(session, here().workspace_id)
    return render_template("admin/webhooks.html", endpoints=found)


@blueprint.get("/settings/webhooks/new")
def webhook_form() -> str:
    """Show the form of a new endpoint."""
    return _form({"rate": "10", "concurrency": "5"}, [EVERYTHING])


@blueprint.post("/settings/webhooks")
def add_webhook() -> ResponseReturnValue:
    """Add an endpoint and show its secret, this once."""
    given, wanted, me = typed(), request.form.getlist("events"), here()
    try:
        with db.transaction() as session:
            made = endpoints.add(
                session, me.workspace_id, endpoints.NewEndpoint(**_values(given, wanted)), actor=me.actor
            )
            audit.note(session, endpoint_id=str(made.id))
            endpoint_id, secret = made.id, made.secret
    except DomainError as error:
        return _form(given, wanted, error), 422
    return _page(endpoint_id, secret=secret)


@blueprint.get("/settings/webhooks/<uuid:endpoint_id>")
def webhook(endpoint_id: uuid.UUID) -> str:
    """Show one with its deliveries."""
    return _page(endpoint_id)


@blueprint.post("/settings/webhooks/<uuid:endpoint_id>")
def change_webhook(endpoint_id: uuid.UUID) -> ResponseReturnValue:
    """Change an endpoint."""
    given, wanted, me = typed(), request.form.getlist("events"), here()
    try:
        with db.transaction() as session:
            endpoints.change(session, me.workspace_id, endpoint_id, _values(given, wanted), actor=me.actor)
    except NotFound:
        raise
    except DomainError as error:
        return _page(endpoint_id, given=given, wanted=wanted, wrong=problems(error)), 422
    return redirect(url_for("admin.webhook", endpoint_id=endpoint_id))


@blueprint.post("/settings/webhooks/<uuid:endpoint_id>/<action>")
def webhook_action(endpoint_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Test it, enable, disable or remove it, exchange its secret, send again what it missed."""
    me = here()
    try:
        if action == "replay":
            total = history.replay_all(me.workspace_id, endpoint_id, since=_since(), actor=me.actor)
            return redirect(url_for("admin.webhook", endpoint_id=endpoint_id, replayed=total))
        with db.transaction() as session:
            if action == "test":
                delivery_id = endpoints.test(session, me.workspace_id, endpoint_id)
                return redirect(url_for("admin.delivery", delivery_id=delivery_id))
            if action == "rotate-secret":
                secret = endpoints.rotate_secret(session, me.workspace_id, endpoint_id, actor=me.actor).secret
            elif action in ("enabled", "disabled"):
                endpoints.change(session, me.workspace_id, endpoint_id, {"state": action}, actor=me.actor)
            elif action == "remove":
                endpoints.remove(session, me.workspace_id, endpoint_id, actor=me.actor)
            else:
                raise NotFound("There is no such button.")
    except NotFound:
        raise
    except DomainError as error:
        return _page(endpoint_id, wrong=problems(error)), 409
    if action == "rotate-secret":
        return _page(endpoint_id, secret=secret)
    if action == "remove":
        return redirect(url_for("admin.webhooks"))
    return redirect(url_for("admin.webhook", endpoint_id=endpoint_id))


@blueprint.get("/settings/webhooks/deliveries/<uuid:delivery_id>")
def delivery(delivery_id: uuid.UUID) -> str:
    """Show one delivery: what is sent, and every attempt with its answer."""
    return _delivery(delivery_id)


@blueprint.get("/settings/webhooks/deliveries/<uuid:delivery_id>/part")
def delivery_part(delivery_id: uuid.UUID) -> str:
    """Show the part of the page that changes while it is on its way."""
    return _delivery(delivery_id, "admin/_delivery.html")


@blueprint.post("/settings/webhooks/deliveries/<uuid:delivery_id>/replay")
def replay_delivery(delivery_id: uuid.UUID) -> ResponseReturnValue:
    """Send one again, under the same `webhook-id`."""
    me = here()
    try:
        with db.transaction() as session:
            history.replay(session, me.workspace_id, delivery_id, actor=me.actor)
    except NotFound:
        raise
    except DomainError as error:
        return _delivery(delivery_id, problem=f"{error.message} {error.hint}"), 409
    return redirect(url_for("admin.delivery", delivery_id=delivery_id))


def _values(given: Mapping[str, str], wanted: list[str]) -> dict[str, Any]:
    """Return what a form says of an endpoint; a number that is none is named by the service."""
    numbers = {name: whole(given.get(name, "")) for name in ("rate", "concurrency")}
    return {
        "url": given.get("url", ""),
        "description": given.get("description", ""),
        "events": wanted,
        "hub_signature": given.get("hub_signature") == "yes",
        **{name: number if isinstance(number, int) else 0 for name, number in numbers.items()},
    }


def _since() -> datetime:
    hours = typed().get("hours", "")
    with db.transaction() as session:
        moment: datetime = session.scalar(sa.select(db.now()))  # type: ignore[assignment]
    return moment - timedelta(hours=int(hours) if hours in BACK else 1)


def _form(given: Mapping[str, Any], wanted: list[str], error: DomainError | None = None) -> str:
    wrong = problems(error) if error else []
    return render_template(
        "admin/webhook_form.html",
        given=given,
        wanted=wanted,
        types=_TYPES,
        wrong=wrong,
        by_field=by_field(wrong),
    )


def _page(endpoint_id: uuid.UUID, **more: Any) -> str:
    workspace_id, wanted = here().workspace_id, asked("state")["state"]
    with db.transaction() as session:
        found = endpoints.get(session, workspace_id, endpoint_id)
        rows = history.deliveries(
            session,
            workspace_id,
            endpoint_id,
            state=DeliveryState(wanted) if wanted in set(DeliveryState) else None,
            before=before(),
            limit=SHOWN + 1,
        )
    wrong = more.pop("wrong", [])
    return render_template(
        "admin/webhook.html",
        endpoint=found,
        deliveries=rows[:SHOWN],
        more=rows[SHOWN - 1][0].id if len(rows) > SHOWN else None,
        state=wanted,
        states=list(DeliveryState),
        types=_TYPES,
        back=BACK,
        given=more.pop("given", None) or found,
        wanted=more.pop("wanted", None) or found.events,
        wrong=wrong,
        by_field=by_field(wrong),
        replayed=whole(asked("replayed")["replayed"]),
        **more,
    )


def _delivery(delivery_id: uuid.UUID, page: str = "admin/delivery.html", problem: str = "") -> str:
    with db.transaction() as session:
        found, type = history.delivery(session, here().workspace_id, delivery_id)
        body = history.body(session, found.event_id)
        attempts = history.attempts(session, delivery_id)
    return render_template(
        page, delivery=found, type=type, body=body.decode("utf-8", "replace"), attempts=attempts, problem=problem
    )
