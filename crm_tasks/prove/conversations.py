"""What must be true of what customers and businesses said to each other."""

import uuid
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import ConfigError
from crm_tasks.messages.models import RANK, EventState, InboundEvent, Message
from crm_tasks.messages.service.receive import ABOUT_OTHERS
from crm_tasks.prove.invariant import SETTLED, Invariant, rows
from crm_tasks.providers.whatsapp import webhook
from crm_tasks.providers.whatsapp.webhook import InboundMessage
from crm_tasks.workspaces.models import Channel

_AT_ONCE = 1_000


def _events_are_looked_after(session: Session) -> list[str]:
    return rows(
        session,
        "SELECT id || ' was stored at ' || received_at || ' and nobody applies it' FROM inbound_events e "
        "WHERE state = 'received' AND received_at < crm_now() - cast(:grace AS interval) AND NOT EXISTS ("
        "  SELECT FROM jobs j WHERE j.task = 'messages.receive' AND j.state IN ('queued', 'running', 'dead') "
        "    AND j.args -> 'event_ids' ? e.id::text)",
        grace=SETTLED,
    )


def _events_have_their_messages(session: Session) -> Iterator[str]:
    after = uuid.UUID(int=0)
    channels = {row.phone_number_id: row.id for row in session.execute(sa.select(Channel.phone_number_id, Channel.id))}
    while True:
        query = sa.select(InboundEvent.id, InboundEvent.body).where(
            InboundEvent.id > after, InboundEvent.state == EventState.DONE
        )
        page = session.execute(query.order_by(InboundEvent.id).limit(_AT_ONCE)).all()
        if not page:
            return
        after = page[-1].id
        yield from _missing(session, _told(page, channels))


def _told(page: Iterable[sa.Row], channels: dict[str, uuid.UUID]) -> dict[tuple[uuid.UUID, str], uuid.UUID]:
    """Return the messages that events tell of, and which event told."""
    told = {}
    for event_id, body in page:
        for update in webhook.parse(bytes(body)).updates:
            channel_id = channels.get(update.phone_number_id or "")
            if isinstance(update, InboundMessage) and channel_id:
                told[channel_id, update.id] = event_id
    return told


def _missing(session: Session, told: dict[tuple[uuid.UUID, str], uuid.UUID]) -> Iterator[str]:
    if not told:
        return
    ids = {provider_id for _, provider_id in told}
    query = sa.select(Message.channel_id, Message.provider_id).where(Message.provider_id.in_(ids))
    here = {(channel_id, provider_id) for channel_id, provider_id in session.execute(query)}
    for key in told.keys() - here:
        yield f"event {told[key]}: its message {key[1]} is not here"


def _one_answer_each(session: Session) -> list[str]:
    unanswered = rows(
        session,
        "SELECT m.id || ' of ' || m.occurred_at || ' has no answer and nobody works on one' FROM messages m "
        "JOIN workspaces w ON w.id = m.workspace_id JOIN conversations c ON c.id = m.conversation_id "
        "WHERE m.direction = 'in' AND m.answer_id IS NULL AND m.created_at >= w.auto_reply_since "
        "  AND m.created_at < crm_now() - cast(:grace AS interval) AND c.group_id IS NULL AND m.type <> ALL(:others) "
        "  AND NOT EXISTS (SELECT FROM jobs j WHERE j.task = 'ai.reply' AND j.state IN ('queued', 'running', 'dead', "
        "    'cancelled') AND j.serial_key = 'reply:' || m.conversation_id)",
        grace=SETTLED,
        others=list(ABOUT_OTHERS),
    )
    spare = rows(
        session,
        "SELECT a.id || ' answers nothing' FROM messages a WHERE a.author = 'ai' AND NOT EXISTS ("
        "  SELECT FROM messages m WHERE m.conversation_id = a.conversation_id AND m.answer_id = a.id)",
    )
    return unanswered + spare


def _outbound_is_looked_after(session: Session) -> list[str]:
    return rows(
        session,
        "SELECT m.id || ' is ' || m.state || ' and no job sends it' FROM messages m "
        "WHERE m.state IN ('queued', 'sending') AND m.created_at < crm_now() - cast(:grace AS interval) "
        "  AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = m.job_id AND j.state IN ('queued', 'running'))",
        grace=SETTLED,
    )


def _sent_once(session: Session) -> list[str]:
    return rows(
        session,
        "SELECT message_id || ' was accepted ' || count(DISTINCT provider_id) || ' times' FROM status_events "
        "WHERE message_id IS NOT NULL GROUP BY message_id HAVING count(DISTINCT provider_id) > 1",
    )


def _accepted_has_an_id(session: Session) -> list[str]:
    return rows(
        session,
        "SELECT id || ' is ' || state || ' without a provider id' FROM messages WHERE direction = 'out' "
        "AND state IN ('accepted', 'sent', 'delivered', 'read', 'played') AND provider_id IS NULL",
    )


def _states_are_the_furthest(session: Session) -> list[str]:
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


def _no_status_is_left_parked(session: Session) -> list[str]:
    return rows(
        session,
        "SELECT e.status || ' of ' || e.provider_id || ' waits for a message that is here' FROM status_events e "
        "JOIN messages m ON m.channel_id = e.channel_id AND m.provider_id = e.provider_id "
        "WHERE e.message_id IS NULL AND m.direction = 'out' AND e.created_at < crm_now() - cast(:grace AS interval)",
        grace=SETTLED,
    )


def _windows_are_right(session: Session) -> list[str]:
    return rows(
        session,
        "SELECT c.id || ' last heard the customer at ' || coalesce(c.last_inbound_at::text, 'no time') "
        "  || ', its messages say ' || coalesce(said.at::text, 'never') "
        "FROM conversations c LEFT JOIN (SELECT conversation_id, max(occurred_at) AS at FROM messages "
        "  WHERE direction = 'in' AND type <> ALL(:others) GROUP BY 1) AS said ON said.conversation_id = c.id "
        "WHERE c.last_inbound_at IS DISTINCT FROM said.at",
        others=list(ABOUT_OTHERS),
    )


def _credentials_open(session: Session) -> Iterable[str]:
    for (channel_id,) in session.execute(sa.select(Channel.id)).all():
        try:
            session.scalar(sa.select(Channel.credentials).where(Channel.id == channel_id))
        except ConfigError:
            yield f"channel {channel_id}: none of ENCRYPTION_KEYS opens its credentials"


INVARIANTS = (
    Invariant("events", "Every stored webhook is applied, put aside, or has a job.", _events_are_looked_after),
    Invariant("inbound messages", "Every message of an applied webhook is here.", _events_have_their_messages),
    Invariant("answers", "Every message that asks for an answer has one, and only one.", _one_answer_each),
    Invariant("outbound messages", "Every message to be sent has a job that sends it.", _outbound_is_looked_after),
    Invariant("sent once", "No message was accepted twice by its provider.", _sent_once),
    Invariant("provider ids", "Every accepted message has its provider's id.", _accepted_has_an_id),
    Invariant("statuses", "The state of each message is the furthest that was reported.", _states_are_the_furthest),
    Invariant("parked statuses", "No status waits for a message that is here.", _no_status_is_left_parked),
    Invariant("windows", "Each conversation knows the customer's last message.", _windows_are_right),
    Invariant("credentials", "The credentials of every channel can be read.", _credentials_open),
)
