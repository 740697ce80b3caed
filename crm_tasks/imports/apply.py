"""A planned batch into the tables: COPY into a staging table, then a few statements for all of its rows.

Each function is part of the caller's transaction. The connection is the driver's, as COPY is not SQLAlchemy's.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from crm_tasks.core.db import dumps
from crm_tasks.core.types import new_id
from crm_tasks.imports.models import Duplicates
from crm_tasks.imports.numbers import variant
from crm_tasks.imports.plan import Known, Person
from crm_tasks.imports.rows import Reject, Row

# What an import is, for the statements here.
Facts = dict[str, Any]

# Each batch is planned for what the tables are by then, and in a way that is right whatever the planner believes of
# their size: beside a table that it takes for empty it would compare each of a million rows with each of the batch.
_FRESH = "SET LOCAL plan_cache_mode = force_custom_plan"
_HASHED = _FRESH + "; SET LOCAL enable_nestloop = off"
# One look in the index for each name; the LIMIT keeps it from being turned around. Bitmaps, because the index for
# search could answer `=` as well, a hundred times slower.
_ONE_BY_ONE = _FRESH + "; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off"
_WHOSE = """
    SELECT given.value, found.contact_id FROM unnest(%s::text[]) AS given (value)
    CROSS JOIN LATERAL (
        SELECT contact_id FROM identities
        WHERE workspace_id = %s AND kind = %s AND value = given.value AND retired_at IS NULL LIMIT 1
    ) AS found
"""
_WHOSE_EXTERNAL_IDS = """
    SELECT given.value, found.id FROM unnest(%s::text[]) AS given (value)
    CROSS JOIN LATERAL (
        SELECT id FROM contacts WHERE workspace_id = %s AND external_id = given.value LIMIT 1
    ) AS found
"""
_STAGE = """
    CREATE TEMPORARY TABLE import_stage (
        id uuid, name text, tags text[], attributes jsonb, external_id text, locale text, time_zone text,
        phone text, email text, identity_ids uuid[]
    ) ON COMMIT DROP
"""
_COPY = """
    COPY import_stage (id, name, tags, attributes, external_id, locale, time_zone, phone, email, identity_ids)
    FROM STDIN
"""
_CREATE = """
    INSERT INTO contacts (id, workspace_id, name, tags, attributes, external_id, locale, time_zone, import_id)
    SELECT id, %(workspace_id)s, name, tags, attributes, external_id, locale, time_zone, %(import_id)s
    FROM import_stage
"""
# The id of an identity is its contact's but for the last digit: unique, and in order of the file as well.
_IDENTIFY = """
    INSERT INTO identities (id, workspace_id, contact_id, kind, value)
    SELECT cast(left(id::text, 35) || %(digit)s AS uuid), %(workspace_id)s, id, %(kind)s, {column}
    FROM import_stage WHERE {column} IS NOT NULL
"""
_LOCK = """
    SELECT id FROM contacts WHERE id = ANY(%(ids)s) AND workspace_id = %(workspace_id)s ORDER BY id FOR UPDATE
"""
FIELDS = ("name", "tags", "attributes", "external_id", "locale", "time_zone", "updated_at")
_SNAPSHOT = "jsonb_build_object(" + ", ".join(f"'{name}', c.{name}" for name in FIELDS) + ")"
_REMEMBER = f"""
    INSERT INTO import_changes (import_id, contact_id, before, identity_ids)
    SELECT %(import_id)s, c.id, {_SNAPSHOT}, s.identity_ids
    FROM import_stage s JOIN contacts c ON c.id = s.id
    WHERE c.id = ANY(%(ids)s) AND c.workspace_id = %(workspace_id)s AND c.import_id IS DISTINCT FROM %(import_id)s
    ON CONFLICT (import_id, contact_id) DO UPDATE SET
        identity_ids = import_changes.identity_ids || excluded.identity_ids
"""  # noqa: S608  names of columns, all ours
_TAGS = """
    tags = ARRAY(SELECT DISTINCT tag COLLATE "C" FROM unnest(c.tags || s.tags) AS tag ORDER BY 1)
"""
_OVERWRITE = f"""
    UPDATE contacts c SET
        name = coalesce(s.name, c.name), external_id = coalesce(s.external_id, c.external_id),
        locale = coalesce(s.locale, c.locale), time_zone = coalesce(s.time_zone, c.time_zone),
        attributes = c.attributes || s.attributes, {_TAGS}, updated_at = crm_now()
    FROM import_stage s WHERE c.id = s.id AND c.id = ANY(%(ids)s) AND c.workspace_id = %(workspace_id)s
"""  # noqa: S608
_FILL = f"""
    UPDATE contacts c SET
        name = coalesce(nullif(c.name, ''), s.name), external_id = coalesce(c.external_id, s.external_id),
        locale = coalesce(c.locale, s.locale), time_zone = coalesce(c.time_zone, s.time_zone),
        attributes = s.attributes || c.attributes, {_TAGS}, updated_at = crm_now()
    FROM import_stage s WHERE c.id = s.id AND c.id = ANY(%(ids)s) AND c.workspace_id = %(workspace_id)s
"""  # noqa: S608
_AFTER = f"""
    UPDATE import_changes j SET after = {_SNAPSHOT}
    FROM contacts c
    WHERE j.import_id = %(import_id)s AND j.contact_id = ANY(%(ids)s) AND c.id = ANY(%(ids)s) AND c.id = j.contact_id
"""  # noqa: S608
_IDENTITIES = "COPY identities (id, workspace_id, contact_id, kind, value) FROM STDIN"
_CONSENTS = """
    COPY consent_events (id, workspace_id, medium, address, scope, allowed, reason, actor, evidence, occurred_at)
    FROM STDIN
"""
_REJECTS = 'COPY import_rejects (import_id, line, "column", value, code, reason) FROM STDIN'
_AT_ONCE = 2_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NONE = "\\N"


def whose(connection: psycopg.Connection, workspace_id: uuid.UUID, rows: Sequence[Row]) -> Known:
    """Return whose the names of these rows are."""
    connection.execute(_ONE_BY_ONE)
    phones = [row.phone for row in rows if row.phone] + [v for row in rows for kind, v in row.others if kind == "phone"]
    emails = [row.email for row in rows if row.email] + [v for row in rows for kind, v in row.others if kind == "email"]
    external_ids = [row.external_id for row in rows if row.external_id]
    found = Known(
        _found(connection, _WHOSE, phones, workspace_id, "phone"),
        _found(connection, _WHOSE, emails, workspace_id, "email"),
        _found(connection, _WHOSE_EXTERNAL_IDS, external_ids, workspace_id),
    )
    others = {other: phone for phone in phones if phone not in found.phones and (other := variant(phone))}
    for other, contact_id in _found(connection, _WHOSE, list(others), workspace_id, "phone").items():
        found.phones[others[other]] = contact_id
    return found


def _found(connection: psycopg.Connection, query: str, values: list[str], *more: Any) -> dict[str, uuid.UUID]:
    return dict(connection.execute(query, (sorted(values), *more)).fetchall()) if values else {}


def create(connection: psycopg.Connection, rows: Sequence[Row], ids: Sequence[uuid.UUID], facts: Facts) -> None:
    """Make contacts with their identities.

    Raises:
        UniqueViolation: somebody else has just made one of them; the whole batch is to be planned again.
    """
    people = list(zip(ids, rows, strict=True))
    connection.execute(_FRESH)
    _stage(connection, (_staged(id, row, row.phone, row.email, ()) for id, row in people))
    connection.execute(_CREATE, facts)
    for column, digit in (("phone", "1"), ("email", "2")):
        statement = sql.SQL(_IDENTIFY).format(column=sql.Identifier(column))
        connection.execute(statement, {**facts, "kind": column, "digit": digit})
    _identities(connection, [identity for id, row in people for identity in _others(id, row, facts)])
    _consents(connection, rows, facts)


def change(connection: psycopg.Connection, people: Sequence[Person], duplicates: Duplicates, facts: Facts) -> None:
    """Change contacts that are there, and remember what they were.

    Raises:
        UniqueViolation: as above.
    """
    if not people:
        return
    given = [_others(person.contact_id, person.row, facts) for person in people]
    named = [[identity[0] for identity in identities] for identities in given]
    connection.execute(_HASHED)
    _stage(
        connection,
        (
            _staged(person.contact_id, person.row, None, None, identity_ids)
            for person, identity_ids in zip(people, named, strict=True)
        ),
    )
    values = {**facts, "ids": [person.contact_id for person in people]}
    for statement in (_LOCK, _REMEMBER, _OVERWRITE if duplicates is Duplicates.UPDATE else _FILL, _AFTER):
        connection.execute(statement, values)
    _identities(connection, [identity for identities in given for identity in identities])
    _consents(connection, [person.row for person in people], facts)


def _others(contact_id: uuid.UUID | None, row: Row, facts: Facts) -> list[tuple[Any, ...]]:
    """Return the further identities of a row, as rows of their table."""
    return [(new_id(), facts["workspace_id"], contact_id, *other) for other in row.others]


def reject(connection: psycopg.Connection, import_id: uuid.UUID, rejects: Sequence[Reject]) -> None:
    """Keep the lines that were refused."""
    if rejects:
        lines = (
            "\t".join((str(import_id), str(bad.line), *map(_escaped, (bad.column, bad.value, bad.code, bad.reason))))
            for bad in rejects
        )
        _copy(connection, _REJECTS, lines)


def _stage(connection: psycopg.Connection, lines: Iterable[str]) -> None:
    connection.execute(_STAGE)
    _copy(connection, _COPY, lines)


def _staged(id: Any, row: Row, phone: str | None, email: str | None, identity_ids: Sequence[uuid.UUID]) -> str:
    return "\t".join(
        (
            str(id),
            _NONE if row.name is None else _escaped(row.name),
            _array(row.tags) if row.tags else "{}",
            _escaped(dumps(row.attributes)) if row.attributes else "{}",
            _NONE if row.external_id is None else _escaped(row.external_id),
            row.locale or _NONE,
            row.time_zone or _NONE,
            phone or _NONE,
            _NONE if email is None else _escaped(email),
            f"{{{','.join(map(str, identity_ids))}}}" if identity_ids else "{}",
        )
    )


_arrays: dict[tuple[str, ...], str] = {}


def _array(tags: tuple[str, ...]) -> str:
    """Return tags as COPY reads them. Most rows have the same few."""
    known = _arrays.get(tags)
    if known is None:
        quoted = ('"' + tag.replace("\\", "\\\\").replace('"', '\\"') + '"' for tag in tags)
        known = _escaped("{" + ",".join(quoted) + "}")
        if len(_arrays) < 10_000:
            _arrays[tags] = known
    return known


def _escaped(text: str) -> str:
    # Two looks for the rare ones cost less than a translation of all.
    return text.translate(_ESCAPES) if "\\" in text or not text.isprintable() else text


def _copy(connection: psycopg.Connection, statement: str, lines: Iterable[str]) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        block: list[str] = []
        for line in lines:
            block.append(line)
            if len(block) == _AT_ONCE:
                copy.write("\n".join(block) + "\n")
                block.clear()
        if block:
            copy.write("\n".join(block) + "\n")


def _identities(connection: psycopg.Connection, identities: Sequence[tuple[Any, ...]]) -> None:
    if identities:
        _copy(connection, _IDENTITIES, ("\t".join(_escaped(str(value)) for value in each) for each in identities))


def _consents(connection: psycopg.Connection, rows: Sequence[Row], facts: Facts) -> None:
    """Keep what the file says of consent, as evidence: it takes nothing back that a person has said."""
    told = [consent for row in rows for consent in row.consents]
    if not told:
        return
    with connection.cursor() as cursor, cursor.copy(_CONSENTS) as copy:
        for line, address, said in told:
            evidence = {"import_id": facts["import_id"], "line": line, "source": said.get("source")}
            allowed, at = said["allowed"], said.get("at") or facts["at"]
            said_so = (address, "marketing", allowed, "import", facts["actor"], dumps(evidence), at)
            copy.write_row((facts["consent_id"](line), facts["workspace_id"], "*", *said_so))
