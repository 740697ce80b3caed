"""`python -m benchmarks.prove_import`: a long import while its worker is killed (-9); no row is lost or counts twice.

A tenth of the people are there before and get another name. In the end the totals are those of the file, what is in
the tables is what the file says, and after an undo the tables are those of before, row by row.
"""

import argparse
import random
import sys
import time

import sqlalchemy as sa
from rich.console import Console

from benchmarks import imports, lab, measure
from tests import harness
from tests.fixtures import make_demo

console = Console()
_OVER = "SELECT count(*) FROM imports WHERE state IN ('finished', 'failed', 'cancelled')"
_UNDONE = "SELECT count(*) FROM imports WHERE state = 'undone'"
_DONE = "SELECT coalesce(sum(created + updated), 0) FROM import_parts"
_SHOWN = {
    "contacts": "id, name, attributes, tags, external_id, time_zone, locale, assigned_to, duplicate_of",
    "identities": "contact_id, kind, value, retired_at",
    "suppressions": "medium, address, scope, active, reason",
}


def main() -> None:
    """Import, kill, count, undo, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove_import", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds for the import, and for the undo")
    asked = parser.parse_args()
    with lab.lab():
        wrong = _prove(asked)
    console.print(f"[red]It does not hold: {'; '.join(wrong)}[/]" if wrong else "[green]Every row counts once.[/]")
    sys.exit(1 if wrong else 0)


def _prove(asked: argparse.Namespace) -> list[str]:
    lab.clean()
    demo, known = make_demo(), asked.rows // 10
    _know(demo.workspace_id, known)
    before = _hashes()
    worker = harness.worker(
        lab.HOME, "imports", name="bulk", pool="prefork", concurrency=2, LEASE="20", LEASE_RENEWAL="5", HTTP_TIMEOUT="5"
    )
    with lab.programs((worker, ""), (harness.beat(lab.HOME), "")):
        imports.accept(demo, imports.file_of(asked.rows), duplicates="update")
        began = time.monotonic()
        _kill(worker, asked)
        measure.until(lambda: lab.scalar(_OVER) == 1, asked.patience, every=0.5)
        took = time.monotonic() - began
        totals = {name: int(lab.scalar(f"SELECT sum({name}) FROM import_parts")) for name in _COUNTS}
        people, named = lab.scalar("SELECT count(*) FROM contacts"), lab.scalar(_NAMED)
        _undo(demo)
        measure.until(
            lambda: lab.scalar("SELECT count(*) FROM imports WHERE state = 'undone'") == 1, asked.patience, 0.5
        )
    console.print(f"{asked.rows:,} rows in {took:.0f} s with {asked.kills} kills: {totals}; {people:,.0f} contacts")
    wanted = {"created": asked.rows - known, "updated": known, "skipped": 0, "rejected": 0}
    return [
        *([] if totals == wanted else [f"the totals are {totals}, not {wanted}"]),
        *([] if people == named == asked.rows else [f"{people:.0f} contacts, {named:.0f} named as in the file"]),
        *(f"{table} is not as before" for table, digest in _hashes().items() if digest != before[table]),
    ]


_COUNTS = ("created", "updated", "skipped", "rejected")
_NAMED = "SELECT count(*) FROM contacts WHERE name LIKE 'Contact %'"


def _know(workspace_id: object, count: int) -> None:
    """Write down people whom the file names as well, with another name."""
    from crm_tasks.core import db

    path = imports.file_of(count)
    with path.open() as file, db.transaction() as session:
        next(file)
        rows = [line.split(",")[:3] for line in file]
        session.execute(
            sa.text("""
                WITH given AS (SELECT uuidv7() AS id, * FROM unnest(cast(:phones AS text[]), cast(:mails AS text[]))
                               AS t(phone, mail)),
                made AS (INSERT INTO contacts (id, workspace_id, name)
                         SELECT id, :workspace, 'Known before' FROM given RETURNING id)
                INSERT INTO identities (id, workspace_id, contact_id, kind, value)
                SELECT uuidv7(), :workspace, id, kind, value FROM given,
                       LATERAL (VALUES ('phone', phone), ('email', mail)) AS v(kind, value)
                WHERE id IN (SELECT id FROM made)
            """),
            {"workspace": workspace_id, "phones": [row[1] for row in rows], "mails": [row[2] for row in rows]},
        )


def _kill(worker: harness.Program, asked: argparse.Namespace) -> None:
    """Kill the worker with all below it, spread over the file, and start it again."""
    some = random.Random(asked.seed)
    for number in range(asked.kills):
        rows = asked.rows * (number + some.uniform(0.2, 1)) / (asked.kills + 1)
        measure.until(lambda rows=rows: lab.scalar(_DONE) >= rows, asked.patience, every=0.05)  # type: ignore[misc]
        worker.kill()
        console.print(f"  killed after {lab.scalar(_DONE):,.0f} rows")
        worker.start()


def _undo(demo: object) -> None:
    from crm_tasks.core import db
    from crm_tasks.core.jobs import ring
    from crm_tasks.imports import service
    from crm_tasks.imports.models import Import

    with db.transaction() as session:
        (found,) = session.scalars(sa.select(Import))
        service.undo(session, demo.workspace_id, found.id)  # type: ignore[attr-defined]
    ring.flush()


def _hashes() -> dict[str, tuple[object, ...]]:
    """Return what tells whether a table has changed, in any row and whatever its order."""
    from crm_tasks.core import db

    with db.transaction() as session:
        session.execute(sa.text("SET LOCAL statement_timeout = 0"))
        return {
            table: tuple(
                session.execute(
                    sa.text(f"SELECT count(*), sum(hashtextextended(ROW({columns})::text, 0)::numeric) FROM {table}")
                ).one()
            )
            for table, columns in _SHOWN.items()
        }


if __name__ == "__main__":
    main()
