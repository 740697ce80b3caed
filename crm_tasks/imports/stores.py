"""Where traces of a person are, beside the contact itself: one entry for each place that holds any.

Whoever adds a table that holds words, names or addresses of people adds it here: the certificate lists these.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed
from crm_tasks.core.errors import Conflict, Snooze
from crm_tasks.core.jobs import repair
from crm_tasks.imports import traces
from crm_tasks.imports.traces import FIRST, Counts, Pages, Subject, Trace, by, run, trace
from crm_tasks.media.models import Media
from crm_tasks.providers.storage import exports, storage

_SOON = timedelta(seconds=5)
_WHO, _WHY = "an erasure", "the person is erased"

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
    if run(session, _UNDER_WAY, who.binds()).scalar():
        raise Snooze(_SOON, "a message to the person is being sent", code="message_under_way")
    found = run(session, _MESSAGES, who.binds(after=after or FIRST)).all()
    if not found:
        return {}, None
    ids = [row.id for row in found]
    values = who.binds(ids=ids, events=[row.event_id for row in found if row.event_id])
    counts = {name: changed(run(session, statement, values)) for name, statement in _OF_MESSAGES.items()}
    counts |= {"messages": len(found), "media": _files(session, who, [row.media_id for row in found if row.media_id])}
    waiting = [row.job_id for row in found if row.job_id and row.state in ("planned", "queued")]
    counts["jobs"] = repair.cancel_waiting(session, waiting, actor=_WHO, reason=_WHY)
    return counts, str(max(ids)) if len(found) == traces.BATCH else None


def _files(session: Session, who: Subject, ids: Sequence[uuid.UUID]) -> int:
    """Delete files that only this person had, content first; what was sent to others too is not about this person."""
    rows = run(session, _FILES, who.binds(ids=list(ids))).all()
    for row in rows:
        if row.storage_key is not None:
            storage().delete(row.storage_key)
    session.execute(sa.delete(Media).where(Media.id.in_([row.id for row in rows])))
    return len(rows)


# --- what is gone through ----------------------------------------------------------------------------------------

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
    found = run(session, _JOBS, values).all()
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
    events = run(session, _TOLD, values).scalars().all()
    deliveries = run(session, _DELIVERIES, {"ids": list(events)}).all()
    jobs = [row.job_id for row in deliveries if row.job_id]
    repair.cancel_waiting(session, jobs, actor=_WHO, reason=_WHY)
    attempts = changed(run(session, _ATTEMPTS, {"ids": [row.id for row in deliveries]}))
    return {"webhook_events": len(events), "webhook_deliveries": len(deliveries), "webhook_attempts": attempts}


# A number in a file may be written in any way.
_REJECTS = """
    UPDATE import_rejects r SET value = 'erased', reason = 'erased' FROM imports i
    WHERE i.id = r.import_id AND i.workspace_id = :workspace_id AND i.id > :after AND i.id <= :last
      AND (lower(concat_ws(' ', r.value, r.reason)) LIKE ANY(:names)
           OR regexp_replace(r.value, '\\D', '', 'g') LIKE ANY(cast(:digits AS text[])))
"""
_CHANGES = "DELETE FROM import_changes WHERE contact_id = :contact_id"
_IDENTITIES = "DELETE FROM identities WHERE contact_id = :contact_id"
_CONTACT = """
    UPDATE contacts SET name = NULL, username = NULL, profile_at = NULL, external_id = NULL,
        attributes = '{}', tags = '{}'
    WHERE id = :contact_id
"""


# Any of them may hold the person; what is being made now may have read the person a moment ago.
_EXPORTS = """
    UPDATE exports SET state = 'removed', storage_key = NULL, reason_code = 'person_erased',
        reason = 'A person who may be in it was erased. Export again.'
    WHERE workspace_id = :workspace_id AND storage_key IS NOT NULL RETURNING id
"""
_BEING_MADE = """
    SELECT job_id FROM exports WHERE workspace_id = :workspace_id AND state IN ('queued', 'running')
        AND job_id IS NOT NULL
"""


def _exports(session: Session, who: Subject, _after: Any) -> tuple[Counts, Any]:
    """Delete what was exported and stop what is being exported: the person is in no other store any more."""
    for job_id in run(session, _BEING_MADE, who.binds()).scalars().all():
        with suppress(Conflict):  # it has just ended
            repair.cancel(session, job_id, actor=_WHO, reason=_WHY)
    removed = run(session, _EXPORTS, who.binds()).scalars().all()
    for export_id in removed:
        exports().forget(export_id)
    return {"exports": len(removed)}, None


def _rest(session: Session, who: Subject, _after: Any) -> tuple[Counts, Any]:
    """Take out what somebody wrote who had found the person just before."""
    run(session, _CONTACT, who.binds())
    counts = {"import_changes": _CHANGES, "identities": _IDENTITIES}
    return {store: changed(run(session, statement, who.binds())) for store, statement in counts.items()}, None


_OWN = "workspace_id = :workspace_id"
_UP_TO = "id < :until"


# Jobs first, so that nothing makes new traces meanwhile; messages once more at the end, for what did all the same.
TRACES: tuple[Trace, ...] = (
    trace(
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
    trace({"inbound_events": ""}, Pages("inbound_events", only=_UP_TO), by("inbound_events", _EVENTS)),
    trace({"status_events": ""}, Pages("status_events", only=_UP_TO), by("status_events", _PARKED)),
    trace({"email_bounces": ""}, Pages("email_bounces"), by("email_bounces", _BOUNCES)),
    trace({"account_updates": "emptied"}, Pages("account_updates", only=_OWN), by("account_updates", _ACCOUNTS)),
    trace(
        {
            "webhook_events": "emptied; what waits is not sent any more",
            "webhook_deliveries": "errors are taken out",
            "webhook_attempts": "answers are taken out",
        },
        Pages("webhook_events", only=_OWN),
        _clean_told,
    ),
    trace(
        {"idempotency_keys": "answers are emptied"},
        Pages("idempotency_keys", key="key", first="", only=_OWN),
        by("idempotency_keys", _KEYS),
    ),
    trace({"notifications": "deleted"}, Pages("notifications", only=_OWN), by("notifications", _NOTIFICATIONS)),
    trace(
        {"import_rejects": "values and reasons are taken out; the files themselves go when an import ends"},
        Pages("imports", only=_OWN, size="1"),
        by("import_rejects", _REJECTS),
    ),
    Trace({"import_changes": "what imports had changed is deleted, so that no undo brings it back"}, _rest),
    Trace({"messages": ""}, _messages),
    Trace({"exports": "the files of this workspace are deleted, and what is being exported is stopped"}, _exports),
)
