"""The channels of the demo workspace, all of which point at the sandbox: WhatsApp, SMS and e-mail.

They are made at the first start; later ones only move them with the sandbox's ports.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import Settings
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel, Workspace

HOST = "127.0.0.1"
FROM = "shop@sandbox.example"


def channels(session: Session, workspace: Workspace, config: Settings) -> dict[str, Any]:
    """Make the channels of a first start; return what scripts need of them."""
    query = sa.select(Channel).where(Channel.phone_number_id == config.sandbox_phone_number_id)
    number = session.scalar(query) or workspaces.add_channel(session, workspace.id, _whatsapp(config))
    return {
        "channel_id": str(number.id),
        "sms_channel_id": str(workspaces.add_channel(session, workspace.id, _sms(config)).id),
        "email_channel_id": str(workspaces.add_channel(session, workspace.id, _email(config)).id),
        "phone_number_id": config.sandbox_phone_number_id,
        "waba_id": config.sandbox_waba_id,
        "access_token": config.sandbox_access_token,
        "app_secret": config.sandbox_app_secret,
        "verify_token": config.sandbox_verify_token,
    }


def move(session: Session, config: Settings, known: Mapping[str, Any]) -> None:
    """Let the channels of an earlier start point at where the sandbox is now; `known` is what that start left."""
    moved = sa.update(Channel)
    number = Channel.phone_number_id == config.sandbox_phone_number_id
    session.execute(moved.where(number).values(base_url=address(config)))
    if sms := known.get("sms_channel_id"):
        session.execute(moved.where(Channel.id == uuid.UUID(sms)).values(base_url=f"{address(config)}/sms"))
    if email := known.get("email_channel_id"):
        there = sa.type_coerce(_server(config), Channel.settings.type)
        own = moved.where(Channel.id == uuid.UUID(email), Channel.settings["host"].astext == HOST)
        session.execute(own.values(settings=Channel.settings.op("||")(there)))


def address(config: Settings) -> str:
    """Return where the sandbox is."""
    return f"http://{HOST}:{config.sandbox_port}"


def _whatsapp(config: Settings) -> workspaces.NewChannel:
    return workspaces.NewChannel(
        kind="whatsapp",
        name="Sandbox",
        values={
            "phone_number_id": config.sandbox_phone_number_id,
            "waba_id": config.sandbox_waba_id,
            "access_token": config.sandbox_access_token,
            "app_secret": config.sandbox_app_secret,
            "verify_token": config.sandbox_verify_token,
        },
        display_phone_number=config.sandbox_display_phone_number,
        base_url=address(config),
    )


def _sms(config: Settings) -> workspaces.NewChannel:
    secrets = {"token": config.sandbox_access_token, "callback_secret": config.sandbox_app_secret}
    # It heeds the key: what got no answer is asked again and sent once.
    values = {**secrets, "idempotent": "true"}
    return workspaces.NewChannel(kind="sms", name="Sandbox SMS", values=values, base_url=f"{address(config)}/sms")


def _email(config: Settings) -> workspaces.NewChannel:
    values = {
        **_server(config),
        "from_address": FROM,
        "from_name": "Sandbox Shop",
        "callback_secret": config.sandbox_app_secret,
    }
    return workspaces.NewChannel(kind="smtp", name="Sandbox e-mail", values=values)


def _server(config: Settings) -> dict[str, Any]:
    """Return where the mail server is; its certificate is made by itself, so the file is to be trusted."""
    certificate = config.home / "sandbox" / "smtp-certificate.pem"
    return {"host": HOST, "port": str(config.sandbox_smtp_port), "security": "starttls", "cafile": str(certificate)}
