"""What must be true of what customers and businesses said to each other."""

from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import ConfigError
from crm_tasks.messages.models import RANK
from crm_tasks.messages.service.receive import ABOUT_OTHERS
from crm_tasks.prove.invariant import Invariant, rows
from crm_tasks.workspaces.models import Channel

# Looked for is the job that was to answer a message or, as a burst has one job, that of an earlier message of it. One
# that is over without success answers for what it knew of; one that succeeded has left its answer.
_UNANSWERED = """
    SELECT m.id || ' of ' || m.occurred_at || ' has no answer and nobody works on one'
    FROM messages m JOIN workspaces w ON w.id = m.workspace_id JOIN conversations c ON c.id = m.conversation_id
    WHERE m.direction = 'in' AND m.answer_id IS NULL AND m.created_at >= w.auto_reply_since
      AND m.created_at < crm_now() - cast(:grace AS interval) AND c.group_id IS NULL AND m.type <> ALL(:others)
      AND NOT EXISTS (
        SELECT FROM jobs j JOIN messages asked ON asked.id = cast(j.args ->> 'message_id' AS uuid)
        WHERE j.task = 'ai.reply' AND asked.conversation_id = m.conversation_id AND asked.created_at <= m.created_at
          AND (asked.id = m.id OR coalesce(j.unique_key, j.key_was) IS NOT NULL)
          AND j.state IN ('queued', 'running', 'dead', 'cancelled')
          AND (j.finished_at IS NULL OR j.finished_at >= m.created_at))
      AND NOT EXISTS (
        SELECT FROM consent_events e
        WHERE e.reason = 'keyword' AND NOT e.allowed AND e.evidence ->> 'message_id' = m.id::text)
      AND NOT EXISTS (SELECT FROM contacts p WHERE p.id = m.contact_id AND p.erased_at IS NOT NULL)
"""


def _one_answer_each(session: Session, grace: timedelta) -> list[str]:
    unanswered = rows(session, _UNANSWERED, grace=grace, others=list(ABOUT_OTHERS))
    missing = rows(
        session,
        "SELECT m.id || ' was answered by ' || m.answer_id || ', which is not here' FROM messages m "
        "WHERE m.answer_id IS NOT NULL AND NOT EXISTS (SELECT FROM messages a WHERE a.id = m.answer_id "
        "  AND a.direction = 'out' AND a.conversation_id = m.conversation_id)",
    )
    spare = rows(
        session,
        "SELECT a.id || ' answers nothing' FROM messages a WHERE a.author = 'ai' AND NOT EXISTS ("
        "  SELECT FROM messages m WHERE m.conversation_id = a.conversation_id AND m.answer_id = a.id)",
    )
    return unanswered + missing + spare


def _outbound_is_looked_after(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT m.id || ' is ' || m.state || ' and no job sends it' FROM messages m "
        "WHERE m.state IN ('queued', 'sending') AND m.created_at < crm_now() - cast(:grace AS interval) "
        "  AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = m.job_id AND j.state IN ('queued', 'running'))",
        grace=grace,
    )


def _unknown_is_looked_after(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT m.id || ' may have been sent, and nobody is to find out' FROM messages m "
        "WHERE m.state = 'unknown' AND m.created_at < crm_now() - cast(:grace AS interval) "
        # Jobs that succeeded are kept for days; what was left to a person before that is not asked about again.
        "  AND m.created_at > crm_now() - interval '1 day' AND NOT EXISTS (SELECT FROM jobs j "
        "    WHERE j.task = 'messages.settle' AND j.args ->> 'message_id' = m.id::text)",
        grace=grace,
    )


def _sent_once(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT message_id || ' was accepted ' || count(DISTINCT provider_id) || ' times' FROM status_events "
        "WHERE message_id IS NOT NULL GROUP BY message_id HAVING count(DISTINCT provider_id) > 1",
    )


def _accepted_has_an_id(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT id || ' is ' || state || ' without a provider id' FROM messages WHERE direction = 'out' "
        "AND state IN ('accepted', 'sent', 'delivered', 'read', 'played') AND provider_id IS NULL",
    )


def _states_are_the_furthest(session: Session, _grace: timedelta) -> list[str]:
    ranks = ", ".join(f"('{state}', {rank})" for state, rank in RANK.items())
    return rows(
        session,
        f"WITH rank(name, value) AS (VALUES {ranks}) "  # noqa: S608  our own constants
        "SELECT m.id || ' is ' || m.state || ', but its reports say otherwise' FROM messages m "
        "JOIN (SELECT e.message_id, max(r.value) AS value FROM status_events e JOIN rank r ON r.name = e.status "
        "      WHERE e.message_id IS NOT NULL GROUP BY 1) AS told ON told.message_id = m.id "
        "JOIN rank own ON own.name = m.state WHERE own.value < told.value "
        "UNION ALL "
        "SELECT m.id || ' is ' || m.state || ', but its provider reported ' || e.status FROM messages m "
        "JOIN status_events e ON e.message_id = m.id JOIN rank r ON r.name = e.status "
        "WHERE m.state IN ('queued', 'sending', 'unknown', 'planned')",
    )


def _no_status_is_left_parked(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT e.status || ' of ' || e.provider_id || ' waits for a message that is here' FROM status_events e "
        "JOIN messages m ON m.channel_id = e.channel_id AND m.provider_id = e.provider_id "
        "WHERE e.message_id IS NULL AND m.direction = 'out' AND e.created_at < crm_now() - cast(:grace AS interval)",
        grace=grace,
    )


def _windows_are_right(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT c.id || ' last heard the customer at ' || coalesce(c.last_inbound_at::text, 'no time') "
        "  || ', its messages say ' || coalesce(said.at::text, 'never') "
        "FROM conversations c LEFT JOIN (SELECT conversation_id, max(occurred_at) AS at FROM messages "
        "  WHERE direction = 'in' AND type <> ALL(:others) GROUP BY 1) AS said ON said.conversation_id = c.id "
        "WHERE c.last_inbound_at IS DISTINCT FROM said.at",
        others=list(ABOUT_OTHERS),
    )


def _credentials_open(session: Session, _grace: timedelta) -> Iterable[str]:
    for (channel_id,) in session.execute(sa.select(Channel.id)).all():
        try:
            session.scalar(sa.select(Channel.credentials).where(Channel.id == channel_id))
        except ConfigError:
            yield f"channel {channel_id}: none of ENCRYPTION_KEYS opens its credentials"


INVARIANTS = (
    Invariant("answers", "Every message that asks for an answer has one, and only one.", _one_answer_each),
    Invariant("outbound messages", "Every message to be sent has a job that sends it.", _outbound_is_looked_after),
    Invariant("unknown sends", "Every send of unknown outcome is looked after.", _unknown_is_looked_after),
    Invariant("sent once", "No message was accepted twice by its provider.", _sent_once),
    Invariant("provider ids", "Every accepted message has its provider's id.", _accepted_has_an_id),
    Invariant("statuses", "The state of each message is the furthest that was reported.", _states_are_the_furthest),
    Invariant("parked statuses", "No status waits for a message that is here.", _no_status_is_left_parked),
    Invariant("windows", "Each conversation knows the customer's last message.", _windows_are_right),
    Invariant("credentials", "The credentials of every channel can be read.", _credentials_open),
)
