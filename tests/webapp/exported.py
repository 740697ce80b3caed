"""Exports in every state, to look at."""

import uuid

from crm_tasks.core import db
from crm_tasks.exports import service
from crm_tasks.exports.models import ExportFormat, ExportKind
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.webhooks.hooks import run_one


def ask(demo: Demo, kind: ExportKind = ExportKind.MESSAGES, format: ExportFormat = ExportFormat.CSV) -> uuid.UUID:
    """Have an export accepted."""
    filters = {"audience": {"tags": ["vip", "spring"]}} if kind is ExportKind.CONTACTS else {}
    with db.transaction() as session:
        return service.start(session, demo.workspace_id, kind, format, filters, actor="user:ann@example.test").id


def run(export_id: uuid.UUID) -> None:
    """Have its job run in this process."""
    ((job_id,),) = execute("SELECT job_id FROM exports WHERE id = :id", id=export_id)
    run_one(job_id, "exports")


def exports(demo: Demo) -> dict[str, str]:
    """Make exports of every state, and return the pages about them."""
    execute(
        "UPDATE exports SET state = 'failed', finished_at = now(), reason = 'It stopped: ran longer than 300 s. "
        "Ask for less at once: fewer contacts, a shorter time.' WHERE id = :id",
        id=ask(demo),
    )
    made, removed = ask(demo, ExportKind.CONTACTS, ExportFormat.XLSX), ask(demo, ExportKind.DEAD_LETTERS)
    for each in (made, removed):
        run(each)
    with db.transaction() as session:
        service.remove(session, demo.workspace_id, removed, actor="user:ann@example.test")
    ask(demo, ExportKind.CONVERSATIONS)
    half = ask(demo, ExportKind.MESSAGES, ExportFormat.XLSX)
    execute(
        "UPDATE exports SET state = 'running', rows = 412000, total = 1000000, started_at = now() - interval '31 s' "
        "WHERE id = :id",
        id=half,
    )
    return {
        "exports": "/exports?kind=messages",
        "exports of contacts": "/exports",
        "export": f"/exports/{made}",
        "export at work": f"/exports/{half}",
    }
