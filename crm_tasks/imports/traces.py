"""Where traces of a person are, beside the contact itself: one entry for each place that holds any.

A step takes out a bounded part and says how many rows that was and where to go on. What has no index by person is gone
through from one end to the other, some thousand rows at a time, looking for the person's ids and addresses.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.predicates import like
from crm_tasks.core.db import changed, dumps
from crm_tasks.core.errors import Conflict, Snooze
from crm_tasks.core.jobs import repair
from crm_tasks.imports.bulk_models import Erasure
from crm_tasks.media.models import Media
from crm_tasks.messages.models import ERASED
from crm_tasks.providers.storage import storage

# Rows of one step: those of the person, and those among which they are looked for.
BATCH = 500
PAGE = 5_000
# What is shorter, an id or a name, is in too much that has nothing to do with the person.
SHORTEST = 5
SHORTEST_NAME = 3
_SOON = timedelta(seconds=5)
_WHO, _WHY = "an erasure", "the person is erased"
_FIRST = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose traces are looked for. `until` is the erasure's id: what came later is not of this person."""

    workspace_id: uuid.UUID
    contact_id: uuid.UUID
    until: uuid.UUID
    needles: Sequence[str]
    name: str

    def binds(self, **more: Any) -> dict[str, Any]:
        """Return the values that the statements here name."""
        return {
            "workspace_id": self.workspace_id,
            "contact_id": self.contact_id,
            "until": self.until,
            "bytes": [like(_escaped(each)) for each in self.needles],
            "texts": [like(each) for each in self.needles],
            "names": [like(each) for each in (*self.needles, self.name) if each],
            "erased": dumps(ERASED),
            "batch": BATCH,
            "page": PAGE,
            **more,
        }


Counts = dict[str, int]
Step = Callable[[Session, Subject, Any], tuple[Counts, Any]]


@dataclass(frozen=True, slots=True)
class Trace:
    """Stores, what is done to their rows, and the step that does it: rows by store, and where to go on or None."""

    stores: Mapping[str, str]
    step: Step


def subject(erasure: Erasure) -> Subject:
    """Return whom an erasure is about."""
    wanted: Mapping[str, Any] = erasure.wanted or {}
    return Subject(erasure.workspace_id, erasure.contact_id, erasure.id, wanted["needles"], wanted["name"])


def _escaped(text: str) -> str:
    """Return a text as `encode(…, 'escape')` writes its bytes."""
    return "".join("\\\\" if b == 92 else chr(b) if b < 128 else f"\\{b:03o}" for b in text.encode())


def _run(session: Session, statement: str, values: Mapping[str, Any]) -> sa.Result[Any]:
    """Execute a statement with those of the values that it names."""
    text = sa.text(statement)
    return session.execute(text, {name: values[name] for name in text.compile().params})


# --- what is the person's by id ----------------------------------------------------------------------------------

_MESSAGES = """
    WITH batch AS (
        SELECT id, job_id, media_id, event_id, state FROM messages
        WHERE contact_id = :contact_id AND id > :after AND content <> cast(:erased AS jsonb)
        ORDER BY id LIMIT :batch FOR UPDATE)
    UPDATE messages m SET content = cast(:erased AS jsonb), text = NULL, raw = NULL, fallback = NULL, gates = NULL,
        media_id = NULL,
        error = CASE WHEN m.error IS NULL THEN NULL ELSE jsonb_build_object('code', m.error -> 'code') END,
        state = CASE WHEN m.state IN ('planned', 'queued') THEN 'cancelled' ELSE m.state END
    FROM batch WHERE m.id = batch.id
    RETURNING m.id, batch.job_id, batch.media_id, batch.event_id, batch.state
"""
_OF_MESSAGES = {
    "email_attachments": "DELETE FROM email_attachments WHERE message_id = ANY(:ids)",
    "email_bounces": "DELETE FROM email_bounces WHERE message_id = ANY(:ids)",
    "status_events": "UPDATE status_events SET recipient = '', detail = '{}' WHERE message_id = ANY(:ids)",
    "inbound_events": "UPDATE inbound_events SET body = convert_to(:erased, 'UTF8') "
    "WHERE id = ANY(:events) AND state = 'done'",
}
_UNDER_WAY = "SELECT EXISTS (SELECT FROM messages WHERE contact_id = :contact_id AND state = 'sending')"
_FILES = """
    SELECT f.id, f.storage_key FROM media f WHERE f.id = ANY(:ids) AND NOT EXISTS (
        SELECT FROM messages m WHERE m.media_id = f.id AND m.contact_id IS DISTINCT FROM :contact_id)
"""


def _messages(session: Session, who: Subject, after: Any) -> tuple[Counts, Any]:
    """Take the words out of messages, both ways, the answers of the language model among them; cancel what waits."""
    if _run(session, _UNDER_WAY, who.binds()).scalar():
        raise Snooze(_SOON, "a message to the person is being sent", code="message_under_way")
    found = _run(session, _MESSAGES, who.binds(after=after or _FIRST)).all()
    if not found:
        return {}, None
    ids = [row.id for row in found]
    values = who.binds(ids=ids, events=[row.event_id for row in found if row.event_id])
    counts = {name: changed(_run(session, statement, values)) for name, statement in _OF_MESSAGES.items()}
    counts |= {"messages": len(found), "media": _files(session, who, [row.media_id for row in found if row.media_id])}
    waiting = [row.job_id for row in found if row.job_id and row.state in ("planned", "queued")]
    counts["jobs"] = repair.cancel_waiting(session, waiting, actor=_WHO, reason=_WHY)
    return counts, str(max(ids)) if len(found) == BATCH else None


def _files(session: Session, who: Subject, ids: Sequence[uuid.UUID]) -> int:
    """Delete files that only this person had, content first; what was sent to others too is not about this person."""
    rows = _run(session, _FILES, who.binds(ids=list(ids))).all()
    for row in rows:
        if row.storage_key is not None:
            storage().delete(row.storage_key)
    session.execute(sa.delete(Media).where(Media.id.in_([row.id for row in rows])))
    return len(rows)


# --- what is gone through ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pages:
    """How a table is gone through: by a key that has an index, together with what narrows it."""

    table: str
    key: str = "id"
    first: Any = _FIRST
    only: str = "true"

    def last(self, session: Session, who: Subject, after: Any) -> Any:
        """Return the key that ends the next page; None behind the last."""
        page = f"SELECT {self.key} AS key FROM {self.table} WHERE {self.only} AND {self.key} > :after"  # noqa: S608
        query = f"SELECT key FROM ({page} ORDER BY 1 LIMIT :page) p ORDER BY 1 DESC LIMIT 1"  # noqa: S608
        return _run(session, query, who.binds(after=after)).scalar()


Clean = Callable[[Session, dict[str, Any]], Counts]


def _scan(pages: Pages, clean: Clean, session: Session, who: Subject, after: Any) -> tuple[Counts, Any]:
    after = pages.first if after is None else after
    last = pages.last(session, who, after)
    if last is None:
        return {}, None
    return clean(session, who.binds(after=after, last=last)), str(last)


def _by(store: str, statement: str) -> Clean:
    return lambda session, values: {store: changed(_run(session, statement, values))}


_EVENTS = """
    UPDATE inbound_events SET body = convert_to(:erased, 'UTF8'), problem = NULL,
        state = CASE WHEN state = 'quarantined' THEN 'done' ELSE state END
    WHERE id > :after AND id <= :last AND state <> 'received' AND (workspace_id = :workspace_id OR workspace_id IS NULL)
      AND body <> convert_to(:erased, 'UTF8') AND lower(encode(body, 'escape')) LIKE ANY(:bytes)
"""
_PARKED = """
    UPDATE status_events SET recipient = '', detail = '{}'
    WHERE id > :after AND id <= :last AND workspace_id = :workspace_id AND recipient <> ''
      AND lower(recipient || detail::text) LIKE ANY(:texts)
"""
_ACCOUNTS = """
    UPDATE account_updates SET value = cast(:erased AS json)
    WHERE workspace_id = :workspace_id AND id > :after AND id <= :last AND lower(value::text) LIKE ANY(:texts)
"""
_BOUNCES = """
    DELETE FROM email_bounces WHERE id > :after AND id <= :last AND workspace_id = :workspace_id
      AND lower(address || ' ' || detail) LIKE ANY(:texts)
"""
_KEYS = """
    UPDATE idempotency_keys SET body = cast(:erased AS jsonb)
    WHERE workspace_id = :workspace_id AND key > :after AND key <= :last AND lower(body::text) LIKE ANY(:texts)
"""
_NOTIFICATIONS = """
    DELETE FROM notifications WHERE workspace_id = :workspace_id AND id > :after AND id <= :last
      AND lower(concat_ws(' ', subject, title, text, link)) LIKE ANY(:names)
"""
_JOBS = """
    UPDATE jobs j SET result = NULL, progress = NULL, reason = CASE WHEN reason IS NOT NULL THEN 'erased' END,
        errors = (SELECT coalesce(jsonb_agg(e || '{"message": "erased"}' ORDER BY n), '[]')
                  FROM jsonb_array_elements(errors) WITH ORDINALITY AS each(e, n))
    WHERE id > :after AND id <= :last AND workspace_id = :workspace_id AND task <> 'imports.erase'
      AND ('contact:' || :contact_id = ANY(scopes)
           OR lower(concat_ws(' ', args, errors, result, progress, reason)) LIKE ANY(:texts)
           OR EXISTS (SELECT FROM messages m WHERE m.contact_id = :contact_id AND m.id =
                      CASE WHEN args ->> 'message_id' ~ '^[0-9a-f-]{36}$' THEN cast(args ->> 'message_id' AS uuid) END))
    RETURNING id, task, state
"""
_TOLD = """
    UPDATE webhook_events SET body = convert_to(
        jsonb_build_object('type', type, 'timestamp', created_at, 'data', cast(:erased AS jsonb))::text, 'UTF8')
    WHERE workspace_id = :workspace_id AND id > :after AND id <= :last
      AND lower(encode(body, 'escape')) LIKE ANY(:bytes)
    RETURNING id
"""
_DELIVERIES = """
    UPDATE webhook_deliveries SET last_error = NULL,
        finished_at = CASE WHEN state = 'pending' THEN crm_now() ELSE finished_at END,
        state = CASE WHEN state = 'pending' THEN 'cancelled' ELSE state END
    WHERE event_id = ANY(:ids) RETURNING id, job_id
"""
_ATTEMPTS = "UPDATE webhook_attempts SET excerpt = NULL, error = NULL WHERE delivery_id = ANY(:ids)"


def _clean_jobs(session: Session, values: dict[str, Any]) -> Counts:
    """Take out what errors and results say, of dead letters too, and end what waits or runs.

    Not sends: messages and their jobs are ended together, and what is under way is waited for.
    """
    found = _run(session, _JOBS, values).all()
    others = [row for row in found if not row.task.endswith(".send")]
    repair.cancel_waiting(session, [row.id for row in others if row.state == "queued"], actor=_WHO, reason=_WHY)
    for row in others:
        if row.state == "running":
            with suppress(Conflict):  # it has just ended
                repair.cancel(session, row.id, actor=_WHO, reason=_WHY)
    dead = sum(row.state == "dead" for row in found)
    return {"dead_letters": dead, "jobs": len(found) - dead}


def _clean_told(session: Session, values: dict[str, Any]) -> Counts:
    """Empty what the business's own systems were told or were to be told; what waits is not sent any more."""
    events = _run(session, _TOLD, values).scalars().all()
    deliveries = _run(session, _DELIVERIES, {"ids": list(events)}).all()
    jobs = [row.job_id for row in deliveries if row.job_id]
    repair.cancel_waiting(session, jobs, actor=_WHO, reason=_WHY)
    attempts = changed(_run(session, _ATTEMPTS, {"ids": [row.id for row in deliveries]}))
    return {"webhook_events": len(events), "webhook_deliveries": len(deliveries), "webhook_attempts": attempts}


_OWN = "workspace_id = :workspace_id"
_UP_TO = "id < :until"


def _trace(stores: Mapping[str, str], pages: Pages, clean: Clean) -> Trace:
    return Trace(stores, partial(_scan, pages, clean))


# Jobs first, so that nothing makes new traces meanwhile; messages once more at the end, for what did all the same.
TRACES: tuple[Trace, ...] = (
    _trace(
        {"jobs": "what waits is cancelled; errors and results are emptied", "dead_letters": "errors are emptied"},
        Pages("jobs", only=_UP_TO),
        _clean_jobs,
    ),
    Trace(
        {
            "messages": "words, contents and originals are taken out, answers of the language model too; what waits is "
            "cancelled. Kept are ids (also the provider's, by which receipts find their message), times and states",
            "media": "files and their rows are deleted, unless others were sent the same file",
            "email_attachments": "deleted",
            "email_bounces": "deleted",
            "status_events": "recipients and details are taken out",
            "inbound_events": "what providers sent is emptied, also what holds others' messages beside theirs",
        },
        _messages,
    ),
    _trace({"inbound_events": ""}, Pages("inbound_events", only=_UP_TO), _by("inbound_events", _EVENTS)),
    _trace({"status_events": ""}, Pages("status_events", only=_UP_TO), _by("status_events", _PARKED)),
    _trace({"email_bounces": ""}, Pages("email_bounces"), _by("email_bounces", _BOUNCES)),
    _trace({"account_updates": "emptied"}, Pages("account_updates", only=_OWN), _by("account_updates", _ACCOUNTS)),
    _trace(
        {
            "webhook_events": "emptied; what waits is not sent any more",
            "webhook_deliveries": "errors are taken out",
            "webhook_attempts": "answers are taken out",
        },
        Pages("webhook_events", only=_OWN),
        _clean_told,
    ),
    _trace(
        {"idempotency_keys": "answers are emptied"},
        Pages("idempotency_keys", key="key", first="", only=_OWN),
        _by("idempotency_keys", _KEYS),
    ),
    _trace({"notifications": "deleted"}, Pages("notifications", only=_OWN), _by("notifications", _NOTIFICATIONS)),
    Trace({"messages": ""}, _messages),
)
