"""`python -m benchmarks.pages`: how long each page of the admin takes at the server when the tables are full.

One workspace with a million contacts, two million messages (an eighth of them of today) and a million finished jobs; an
operator opens every page that there is, by the table of routes, and some with questions. A page counts by the median of
its calls after the first; how many statements it makes is shown beside it, as that must not grow with the rows.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from benchmarks import broadcast, lab
from tests.fixtures import Demo, make_demo

console = Console()
TARGET, CALLS = 200.0, 7  # milliseconds; how often each page is opened after the first time
EMAIL = "operator@example.test"
# Which of many a page is opened for; a page about something else gets the one of it that there is.
_VALUES = {
    "fingerprint": "SELECT fingerprint FROM jobs WHERE state = 'dead' GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    "job_id": "SELECT id FROM jobs WHERE state = 'dead' LIMIT 1",
    "campaign_id": "SELECT campaign_id FROM recipients LIMIT 1",
    "conversation_id": "SELECT conversation_id FROM messages GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    "contact_id": "SELECT contact_id FROM messages LIMIT 1",
    "endpoint_id": "SELECT id FROM webhook_endpoints LIMIT 1",
    "delivery_id": "SELECT id FROM webhook_deliveries LIMIT 1",
    "name": "SELECT 'messages'",
}
_NOT_OPENED = {
    "join": "needs an invitation",
    "map_import": "needs a file that was just uploaded",
    "download_export": "needs a file that was written",
}
# Shown only if asked for with a question.
_ASKED = {"channel_form": "kind=whatsapp"}
# Asked for with a question as well; what is not there yet is left out.
_QUESTIONS = {
    "contacts": ("q=Person+99999", "q=555019", "tag=spring", "tag=spring&q=Person", "q=nobody+is+called+this"),
    "jobs": (
        *("state=dead", "task=messages.send", "state=succeeded&task=ai.reply", "task=no.such.task"),
        *("error=fault+number+7", "error=nothing+says+this", "contact=555019"),
    ),
    "webhook": ("state=failed", "state=delivered"),
    "recipients": ("state=failed",),
    "conversations": ("q=Person+99999",),
}
_FILLED = {
    "conversations": """
        INSERT INTO conversations (id, workspace_id, channel_id, contact_id, last_inbound_at, last_message_at)
        SELECT uuidv7(), workspace_id, :channel, id, now() - n * interval '10 s', now() - n * interval '9 s'
        FROM (SELECT id, workspace_id, row_number() OVER () AS n FROM contacts LIMIT :conversations) AS c
    """,
    "messages": """
        INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type,
                              content, text, author, occurred_at, created_at, provider_id, category, error, accepted_at,
                              delivered_at, read_at)
        SELECT uuidv7(at - now()), v.workspace_id, v.channel_id, v.id, v.contact_id,
               CASE WHEN k % 2 = 0 THEN 'out' ELSE 'in' END,
               CASE WHEN k % 2 = 1 THEN 'received' WHEN x.n % 100 = 0 THEN 'failed' WHEN x.n % 40000 = 7 THEN 'unknown'
                    ELSE 'read' END,
               'text', '{"body": "Where is my parcel?"}', 'Where is my parcel?',
               CASE WHEN k % 2 = 0 THEN 'agent' ELSE 'contact' END, at, at, 'wamid.' || x.n || '.' || k, 'service',
               CASE WHEN k % 2 = 0 AND x.n % 100 = 0 THEN '{"code": 131026, "title": "cannot be reached"}'::jsonb END,
               CASE WHEN k % 2 = 0 THEN at END, CASE WHEN k % 2 = 0 THEN at END, CASE WHEN k % 2 = 0 THEN at END
        FROM (SELECT *, row_number() OVER () AS n FROM conversations) AS x JOIN conversations v ON v.id = x.id,
             generate_series(1, :each) AS k,
             LATERAL (SELECT now() - interval '60 days' * power(random(), 2 + 0 * (x.n + k))) AS t(at)
    """,
    "jobs": """
        INSERT INTO jobs (id, task, queue, args, workspace_id, state, claim_no, attempt, max_attempts, run_at,
                          created_at, started_at, finished_at, errors, fingerprint, trace_id)
        SELECT uuidv7(at - now()), (ARRAY['messages.send', 'ai.reply', 'webhooks.deliver', 'email.send'])[1 + n % 4],
               (ARRAY['messages', 'ai', 'webhooks', 'email'])[1 + n % 4],
               '{"message_id": "00000000-0000-7000-8000-000000000000"}', :workspace,
               CASE WHEN n % 100 = 0 THEN 'dead' ELSE 'succeeded' END, 1, 1, 5, at, at, at, at + interval '80 ms',
               CASE WHEN n % 100 = 0 THEN jsonb_build_array(jsonb_build_object('at', at, 'kind', 'permanent',
                    'type', 'Refused', 'message', 'fault number ' || n % 2000)) ELSE '[]'::jsonb END,
               CASE WHEN n % 100 = 0 THEN md5('fault' || n % 2000) END, uuidv7()
        FROM generate_series(1, :jobs) AS n, LATERAL (SELECT now() - n * interval '2 s') AS t(at)
    """,
    "audit": """
        INSERT INTO audit_events (id, workspace_id, actor, action, subject, at)
        SELECT uuidv7(n * interval '-1 min'), :workspace, 'ann@example.test', 'campaign.start', 'campaign:' || n,
               now() - n * interval '1 min'
        FROM generate_series(1, 100000) AS n
    """,
    "webhook requests": """
        INSERT INTO inbound_events (id, provider, body, state, problem, workspace_id, received_at)
        SELECT uuidv7(), 'whatsapp', '{}', CASE WHEN n % 1000 = 0 THEN 'quarantined' ELSE 'done' END,
               CASE WHEN n % 1000 = 0 THEN 'no such channel' END, :workspace, now()
        FROM generate_series(1, 200000) AS n
    """,
    "scheduled": """
        UPDATE messages SET state = 'queued', scheduled_for = now() + random() * interval '20 days'
        WHERE id IN (SELECT id FROM messages WHERE direction = 'out' LIMIT 20000)
    """,
    "webhooks": """
        WITH w AS (INSERT INTO webhook_events (id, workspace_id, type, body)
                   SELECT uuidv7(n * interval '-1 min'), :workspace, 'message.received', '{}'
                   FROM generate_series(1, 200000) AS n RETURNING id)
        INSERT INTO webhook_deliveries (id, workspace_id, endpoint_id, event_id, state)
        SELECT w.id, :workspace, e.id, w.id, 'delivered' FROM w, webhook_endpoints e
    """,
    "suppressions": """
        INSERT INTO suppressions (id, workspace_id, medium, address, scope, active, reason, actor, changed_at)
        SELECT uuidv7(), workspace_id, 'whatsapp', value, 'marketing', true, 'keyword', 'customer', now()
        FROM identities LIMIT 20000
    """,
    "tags": "UPDATE contacts SET tags = '{spring,vip}' WHERE id IN (SELECT id FROM contacts LIMIT 100000)",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its milliseconds, statements and size."""

    path: str
    status: int
    median: float
    worst: float
    statements: int
    kb: float


def main() -> None:
    """Fill, open, and say which are slow."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--json", help="file to write")
    asked = parser.parse_args()
    with lab.lab():
        demo = make_demo()
        values = _fill(demo, asked)
        pages = sorted(_opened(values), key=lambda page: -page.median)
    table = Table("page", "status", "median ms", "worst ms", "statements", "kB", title="pages of the admin")
    for page in pages:
        figures = (str(page.status), f"{page.median:.0f}", f"{page.worst:.0f}", str(page.statements), f"{page.kb:.0f}")
        table.add_row(page.path, *figures)
    console.print(table)
    if asked.json:
        Path(asked.json).write_text(json.dumps([asdict(page) for page in pages], indent=2) + "\n")
    wrong = [page.path for page in pages if page.median > TARGET or page.status != 200]
    console.print(f"{len(pages)} pages; over {TARGET:.0f} ms or not shown: {', '.join(wrong) or 'none'}")
    sys.exit(1 if wrong else 0)


def _fill(demo: Demo, asked: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Fill the tables; return what each page about one thing can be asked for."""
    from crm_tasks.core import db, rollup
    from crm_tasks.webhooks.service import endpoints
    from tests.webapp.one_of_each import one_of_each

    broadcast.people(demo.workspace_id, asked.contacts)
    values = {
        "workspace": demo.workspace_id,
        "channel": demo.channel_id,
        "jobs": asked.jobs,
        "conversations": asked.messages // 10,
        "each": 10,
    }
    with db.transaction() as session:
        new = endpoints.NewEndpoint(url="https://127.0.0.1:9/", events=["*"])
        endpoints.add(session, demo.workspace_id, new, actor="a benchmark")
    for name, statement in _FILLED.items():
        started = time.monotonic()
        with db.transaction() as session:
            session.execute(sa.text("SET LOCAL statement_timeout = 0"))
            used = {key: value for key, value in values.items() if f":{key}" in statement}
            session.execute(sa.text(statement), used)
        console.print(f"  {name}: {time.monotonic() - started:.0f} s")
    _campaign(demo)
    one = one_of_each(demo)
    while db.retrying(rollup.roll_up):  # as the scheduler does all the time
        pass
    with db.autocommit() as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("VACUUM ANALYZE")
    return one


def _campaign(demo: Demo) -> None:
    """A campaign to everybody, planned; half of it is over, one in a hundred without success."""
    from crm_tasks.core import db

    campaign_id, _ = broadcast.plan(demo, 0)
    with db.transaction() as session:
        session.execute(sa.text("SET LOCAL statement_timeout = 0"))
        session.execute(
            sa.text("""
                UPDATE recipients SET state = CASE WHEN position % 100 = 0 THEN 'failed' ELSE 'suppressed' END,
                       reason = '{"code": "opted_out", "text": "no marketing"}'
                WHERE campaign_id = :id AND position % 2 = 0
            """),
            {"id": campaign_id},
        )


# --- opening ------------------------------------------------------------------------------------------------------


def _opened(values: dict[str, dict[str, str]]) -> Iterator[Page]:
    from crm_tasks.core import db
    from tests.webapp import admins
    from webapp import create_app

    statements = [0]

    @sa.event.listens_for(db.engine(), "before_cursor_execute")
    def _count(*_: Any) -> None:
        statements[0] += 1

    app = create_app()
    admins.person(EMAIL, operator=True)
    client = app.test_client()
    if admins.log_in(client, EMAIL).status_code != 302:
        raise SystemExit("pages: cannot log in")
    for path in _paths(app, values):
        yield _measured(path, client.get, statements)


def _measured(path: str, get: Callable[[str], Any], statements: list[int]) -> Page:
    answer, spent = get(path, buffered=True), []
    for _ in range(CALLS):
        statements[0], started = 0, time.perf_counter()
        answer = get(path, buffered=True)
        size = len(answer.get_data())
        spent.append((time.perf_counter() - started) * 1000)
    return Page(path, answer.status_code, statistics.median(spent), max(spent), statements[0], size / 1000)


def _paths(app: Any, one: dict[str, dict[str, str]]) -> Iterator[str]:
    """Every page of the admin that can be opened, with ids of what there is."""
    from crm_tasks.core import db

    with db.transaction() as session:
        many = {argument: session.scalar(sa.text(query)) for argument, query in _VALUES.items()}
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("admin.") or "GET" not in rule.methods:
            continue
        name = rule.endpoint.removeprefix("admin.")
        if name in _NOT_OPENED:
            console.print(f"  not opened: {rule.rule} ({_NOT_OPENED[name]})")
            continue
        values = {argument: many.get(argument) or one[name][argument] for argument in rule.arguments}
        with app.test_request_context():
            path = rule.build(values, append_unknown=False)[1]
        path += f"?{_ASKED[name]}" if name in _ASKED else ""
        yield path
        yield from (f"{path}?{question}" for question in _QUESTIONS.get(name, ()))


if __name__ == "__main__":
    main()
