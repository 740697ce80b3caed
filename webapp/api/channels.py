"""`/api/v1/channels`: the numbers and addresses a workspace speaks from, their limits, and how they stand."""

import uuid
from typing import Any

import marshmallow as ma
from sqlalchemy.orm import Session

from crm_tasks.core.db import transaction
from crm_tasks.messages.channel_schemas import ChannelOut, dump_standing
from crm_tasks.messages.service import channels
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel, UnknownPolicy
from crm_tasks.workspaces.schemas import ChannelChange, name_field, policy_field
from webapp.api.paging import Envelope
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("channels", __name__, description="Channels: numbers and addresses, their limits and their state")


class ChannelPage(Envelope):
    """The channels."""

    data = ma.fields.List(ma.fields.Nested(ChannelOut))


def _values(**options: Any) -> ma.fields.Dict:
    return ma.fields.Dict(
        keys=ma.fields.String(validate=ma.validate.Length(1, 100)), values=ma.fields.String(), **options
    )


class NewChannelIn(ma.Schema):
    """A channel to add."""

    kind = ma.fields.String(load_default="whatsapp", metadata={"description": "`crm channel kinds` lists them"})
    name = name_field(required=True)
    values = _values(required=True, metadata={"description": "What its kind needs, by name; secrets are never shown"})
    display_phone_number = ma.fields.String(load_default=None, allow_none=True, validate=ma.validate.Length(max=50))
    base_url = ma.fields.String(load_default=None, allow_none=True, validate=ma.validate.Length(max=500))
    unknown_policy = policy_field(load_default=UnknownPolicy.HOLD.value)


class CredentialsIn(ma.Schema):
    """Secrets to replace."""

    values = _values(required=True, metadata={"description": "Such as access_token"})


class AppSecretIn(ma.Schema):
    """A new app secret."""

    app_secret = ma.fields.String(required=True, validate=ma.validate.Length(1, 500))


class CheckedOut(ma.Schema):
    """What a provider says of a channel."""

    ok = ma.fields.Boolean()
    said = ma.fields.String()


@blueprint.route("/channels")
@blueprint.alt_response(200, schema=ChannelPage)
def listed() -> dict[str, Any]:
    """List the channels of this workspace, the oldest first."""
    with transaction() as session:
        found = channels.standing(session, workspaces.channels(session, caller().workspace_id))
        return {"data": [dump_standing(each) for each in found], "next": None}


@blueprint.route("/channels", methods=["POST"])
@blueprint.arguments(NewChannelIn)
@blueprint.alt_response(201, schema=ChannelOut)
def add(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Add a channel. Where it is reached (`base_url`, `host`, `cafile`) is for an operator's key to say."""
    me = caller()
    new = workspaces.NewChannel(**body | {"unknown_policy": UnknownPolicy(body["unknown_policy"])})
    with transaction() as session:
        return _shown(session, channels.add(session, me.workspace_id, new, operator=me.operator)), 201


@blueprint.route("/channels/<uuid:channel_id>")
@blueprint.alt_response(200, schema=ChannelOut)
def get(channel_id: uuid.UUID) -> dict[str, Any]:
    """Look at a channel: what holds it, its circuit breaker and its pace."""
    with transaction() as session:
        return _shown(session, workspaces.channel(session, caller().workspace_id, channel_id))


@blueprint.route("/channels/<uuid:channel_id>", methods=["PATCH"])
@blueprint.arguments(ChannelChange)
@blueprint.alt_response(200, schema=ChannelOut)
def change(body: dict[str, Any], channel_id: uuid.UUID) -> dict[str, Any]:
    """Change the name, the limits, or what happens to a send of unknown outcome."""
    me = caller()
    with transaction() as session:
        changed = workspaces.change_channel(
            session, me.workspace_id, channel_id, body, actor=me.name, operator=me.operator
        )
    if "settings" in body:
        channels.recount(changed)
    return get(channel_id)


@blueprint.route("/channels/<uuid:channel_id>/check", methods=["POST"])
@blueprint.alt_response(200, schema=CheckedOut)
def check(channel_id: uuid.UUID) -> dict[str, Any]:
    """Ask the provider whether it knows this channel by its credentials. Nothing is sent to anybody."""
    found = channels.check(caller().workspace_id, channel_id)
    return {"ok": found.ok, "said": found.said}


@blueprint.route("/channels/<uuid:channel_id>/rotate-credentials", methods=["POST"])
@blueprint.arguments(CredentialsIn)
@blueprint.alt_response(200, schema=ChannelOut)
def rotate_credentials(body: dict[str, Any], channel_id: uuid.UUID) -> dict[str, Any]:
    """Replace secrets, such as `access_token`: used from the next message on."""
    with transaction() as session:
        changed = workspaces.rotate_credentials(session, caller().workspace_id, channel_id, body["values"])
        return _shown(session, changed)


@blueprint.route("/channels/<uuid:channel_id>/rotate-app-secret", methods=["POST"])
@blueprint.arguments(AppSecretIn)
@blueprint.alt_response(200, schema=ChannelOut)
def rotate_app_secret(body: dict[str, Any], channel_id: uuid.UUID) -> dict[str, Any]:
    """Accept a new app secret beside the present one, until the next rotation."""
    with transaction() as session:
        changed = workspaces.rotate_app_secret(session, caller().workspace_id, channel_id, body["app_secret"])
        return _shown(session, changed)


def _shown(session: Session, channel: Channel) -> dict[str, Any]:
    return dump_standing(channels.standing(session, [channel])[0])
