"""Templates as the sandbox has them, brought into our table as the job does it."""

import uuid
from datetime import UTC, datetime

from crm_tasks.core import db
from crm_tasks.core.types import new_id
from crm_tasks.providers.provider import Refusal
from crm_tasks.providers.whatsapp import templates as lists
from crm_tasks.providers.whatsapp.templates import Listed
from crm_tasks.templates import sync
from crm_tasks.templates.models import APPROVED, Template
from tests.fixtures import Demo
from tests.messages.apply import one, rows


def ask(demo: Demo) -> list[Listed] | Refusal:
    """Ask the provider for the templates of a business."""
    return lists.listed(_begin(demo).account)


def fetch(demo: Demo) -> dict[str, int]:
    """Fetch the templates of a business, without a worker between."""
    order = _begin(demo)
    found = lists.listed(order.account)
    assert not isinstance(found, Refusal), found
    with db.transaction() as session:
        return sync.apply_list(session, demo.channel_id, order, found)


def _begin(demo: Demo) -> sync.Fetch:
    with db.transaction() as session:
        order = sync.begin(session, demo.channel_id)
    assert order is not None
    return order


def approved(demo: Demo, name: str, language: str = "en_US") -> uuid.UUID:
    """Make a template that was fetched, without asking anybody; return its id."""
    moment = datetime.now(UTC)
    row = Template(
        id=new_id(),
        workspace_id=demo.workspace_id,
        waba_id=demo.waba_id,
        name=name,
        language=language,
        category="utility",
        status=APPROVED,
        components=[{"type": "BODY", "text": "Hello {{1}}"}],
        parameters={"body": {"kind": "text", "names": ["1"]}},
        **dict.fromkeys(("status_at", "quality_at", "category_at", "components_at", "synced_at"), moment),
    )
    with db.transaction() as session:
        session.add(row)
        return row.id


def template(name: str, language: str = "en_US") -> Template:
    """Return a template as it is now."""
    return one(Template, Template.name == name, Template.language == language)


def all_of(workspace_id: uuid.UUID) -> dict[tuple[str, str], Template]:
    """Return every template of a workspace."""
    return {(row.name, row.language): row for row in rows(Template, Template.workspace_id == workspace_id)}
