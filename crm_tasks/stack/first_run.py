"""The first start: a workspace to play with, a person who may log in, a key for scripts. Later starts change nothing
but the addresses, which move with the ports.

`python -m crm_tasks.stack.first_run` migrates and does this: in a process of its own, so that the supervisor, which
lives long, stays small.
"""

import json
import logging
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import Settings, settings
from crm_tasks.core import db, log, migrate
from crm_tasks.stack import announce, demo, environment, home
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces import users
from crm_tasks.workspaces.models import User, Workspace

ADMIN = "admin@example.com"


def prepare() -> None:
    """Make what the first start needs, and keep its secrets in CRM_HOME/first-run.json (mode 0600)."""
    made = db.retrying(_make)
    known = announce.read(settings().home)
    if made is None and not known:
        return
    text = json.dumps({**known, **(made or {}), **_addresses(settings())}, indent=2) + "\n"
    home.write(settings().home / announce.FILE, text)


def _addresses(config: Settings) -> dict[str, Any]:
    return {
        "web_url": environment.web_url(config),
        "flower_url": f"http://127.0.0.1:{config.flower_port}",
        "sandbox_url": demo.address(config) if config.uses_sandbox else None,
        "flower_user": config.flower_user,
        "flower_password": config.flower_password,
    }


def _make(session: Session) -> dict[str, Any] | None:
    """Make the first user and the demo workspace if the database has none; return their secrets."""
    config = settings()
    if config.uses_sandbox:
        demo.move(session, config, announce.read(config.home))
    if session.scalar(sa.select(sa.func.count()).select_from(User)):
        return None
    workspace = session.scalar(sa.select(Workspace).limit(1)) or workspaces.create(session, "Demo")
    workspaces.set_auto_reply(session, workspace, on=config.uses_sandbox)
    user, password = users.create(session, ADMIN, operator=True)
    _, key = workspaces.create_key(session, workspace.id, "first run", operator=True)
    made: dict[str, Any] = {
        "admin_email": user.email,
        "admin_password": password,
        "api_key": key,
        "workspace_id": str(workspace.id),
    }
    return made | demo.channels(session, workspace, config) if config.uses_sandbox else made


if __name__ == "__main__":
    log.configure(logging.WARNING)
    migrate.upgrade()
    prepare()
