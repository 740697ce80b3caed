"""Channels: added, asked whether their providers know them, limited; their secrets exchanged and never shown."""

import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.messages.service import channels as service
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Provider
from crm_tasks.workspaces import audit
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel, UnknownPolicy
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import asked, by_field, problems, typed, whole

# What kinds are called; one that is not here is called by its name.
KINDS = {
    "whatsapp": "WhatsApp",
    "sms": "SMS by a JSON gateway",
    "twilio": "SMS by Twilio",
    "smtp": "E-mail by a mail server",
    "email_api": "E-mail by a JSON gateway",
}
_DOORS = {"whatsapp": "/webhooks/whatsapp", "sms": "/webhooks/sms/{}", "email": "/webhooks/email/{}"}


@blueprint.get("/settings/channels")
def channels() -> str:
    """List the channels and how they stand."""
    with db.transaction() as session:
        found = service.standing(session, workspaces.channels(session, here().workspace_id))
    return render_template("admin/channels.html", found=found, kinds=_kinds())


@blueprint.get("/settings/channels/new")
def channel_form() -> str:
    """Show the form of a new channel of a kind."""
    kind = asked("kind")["kind"]
    if kind not in registry.PROVIDERS:
        raise NotFound("There is no such kind of channel.", hint="Choose one on the page of channels.")
    return _form(kind, {"verify_token": secrets.token_urlsafe(16)})


@blueprint.post("/settings/channels")
def add_channel() -> ResponseReturnValue:
    """Add a channel; what is wrong is shown in the form."""
    given, me = typed(), here()
    kind = given.get("kind", "")
    if kind not in registry.PROVIDERS:
        raise NotFound("There is no such kind of channel.", hint="Choose one on the page of channels.")
    new = workspaces.NewChannel(
        kind=kind,
        name=given.get("name", ""),
        values={need.name: given[need.name] for need in registry.provider(kind).needs if given.get(need.name)},
        display_phone_number=given.get("display_phone_number") or None,
        base_url=given.get("base_url") or None,
    )
    try:
        with db.transaction() as session:
            made = service.add(session, me.workspace_id, new, operator=me.operator)
            audit.note(session, channel_id=str(made.id), kind=kind, name=made.name)
    except DomainError as error:
        return _form(kind, given, error), 422
    return redirect(url_for("admin.channel", channel_id=made.id))


@blueprint.get("/settings/channels/<uuid:channel_id>")
def channel(channel_id: uuid.UUID) -> str:
    """Show one: what keeps it from sending, how it is reached, what can be changed."""
    return _page(channel_id)


@blueprint.post("/settings/channels/<uuid:channel_id>")
def change_channel(channel_id: uuid.UUID) -> ResponseReturnValue:
    """Change the name, the limits, and what happens to a send of unknown outcome."""
    given, me = typed(), here()
    values = {
        "name": given.get("name", ""),
        "unknown_policy": given.get("unknown_policy", ""),
        "settings": {
            "per_second": given.get("per_second") or None,
            "unique_per_day": whole(given.get("unique_per_day", "")),
            "portfolio_id": given.get("portfolio_id") or None,
        },
    }
    answer = _try(
        channel_id,
        lambda session: workspaces.change_channel(
            session, me.workspace_id, channel_id, values, actor=me.actor, operator=me.operator
        ),
        given,
    )
    with db.transaction() as session:
        service.recount(workspaces.channel(session, me.workspace_id, channel_id))
    return answer


@blueprint.post("/settings/channels/<uuid:channel_id>/check")
def check_channel(channel_id: uuid.UUID) -> ResponseReturnValue:
    """Ask its provider whether it knows the channel."""
    try:
        return _page(channel_id, checked=service.check(here().workspace_id, channel_id))
    except NotFound:
        raise
    except DomainError as error:
        return _page(channel_id, wrong=problems(error)), 409


@blueprint.post("/settings/channels/<uuid:channel_id>/rotate")
def rotate_secret(channel_id: uuid.UUID) -> ResponseReturnValue:
    """Exchange one secret for a new one."""
    given, workspace_id = typed(), here().workspace_id
    name, secret = given.get("secret", ""), given.get("value", "")
    if name == "app_secret":
        return _try(
            channel_id, lambda session: workspaces.rotate_app_secret(session, workspace_id, channel_id, secret), {}
        )
    return _try(
        channel_id,
        lambda session: workspaces.rotate_credentials(session, workspace_id, channel_id, {name: secret}),
        {},
    )


def _try(channel_id: uuid.UUID, change: Callable[[Session], Channel], given: Mapping[str, str]) -> ResponseReturnValue:
    try:
        with db.transaction() as session:
            change(session)
    except NotFound:
        raise
    except DomainError as error:
        return _page(channel_id, given=given, wrong=problems(error)), 422
    return redirect(url_for("admin.channel", channel_id=channel_id, done=1))


def _page(channel_id: uuid.UUID, **more: Any) -> str:
    with db.transaction() as session:
        found = workspaces.channel(session, here().workspace_id, channel_id)
        standing = service.standing(session, [found])[0]
    kind = registry.provider(found.kind)
    wrong = more.pop("wrong", [])
    return render_template(
        "admin/channel.html",
        channel=found,
        standing=standing,
        kind=kind,
        kinds=_kinds(),
        secrets=_secrets(kind, found),
        exchanged=[(need.name, need.name.replace("_", " ")) for need in kind.needs if need.secret],
        door=_door(kind, found),
        policies=list(UnknownPolicy),
        given=more.pop("given", None) or _limits(found),
        wrong=wrong,
        by_field={name.removeprefix("settings."): said for name, said in by_field(wrong).items()},
        done=request.args.get("done"),
        **more,
    )


def _limits(found: Channel) -> dict[str, Any]:
    names = ("per_second", "unique_per_day", "portfolio_id")
    return {"name": found.name, "unknown_policy": found.unknown_policy} | {
        name: found.settings.get(name, "") for name in names
    }


def _secrets(kind: Provider, found: Channel) -> dict[str, str]:
    """Return the secrets of a channel by name, and of each how many are kept; never what they are."""
    told = {}
    for need in kind.needs:
        if need.name == "app_secret":
            kept = len(found.credentials.get("app_secrets", ()))
            told[need.name] = "two are accepted: the new one and the one before" if kept > 1 else "kept"
        elif need.secret:
            told[need.name] = "kept" if found.credentials.get(need.name) else "none"
    return told


def _door(kind: Provider, found: Channel) -> str:
    return settings().outside_url + _DOORS[kind.medium].format(found.id)


def _form(kind: str, given: Mapping[str, str], error: DomainError | None = None) -> str:
    provider, wrong = registry.provider(kind), problems(error) if error else []
    needs = [need for need in provider.needs if here().operator or need.name not in service.PLACES or need.required]
    return render_template(
        "admin/channel_form.html",
        kind=provider,
        kinds=_kinds(),
        needs=needs,
        door=settings().outside_url + _DOORS["whatsapp"],
        # A secret that was typed is typed again: it is in no page.
        given={
            name: value
            for name, value in given.items()
            if name == "verify_token" or not any(need.name == name and need.secret for need in provider.needs)
        },
        wrong=wrong,
        by_field=by_field(wrong),
    )


def _kinds() -> dict[str, str]:
    return {kind: KINDS.get(kind, kind) for kind in registry.PROVIDERS}
