"""What must be true of campaigns: everybody in exactly one state, sums that agree, nobody written to twice."""

from datetime import timedelta

from sqlalchemy.orm import Session

from crm_tasks.campaigns.service.progress import OPEN, STATES
from crm_tasks.prove.invariant import Invariant, rows

_STATE = "CASE WHEN m.id IS NULL AND r.message_id IS NOT NULL THEN 'unknown' ELSE coalesce(m.state, r.state) END"
_JOINED = "recipients r LEFT JOIN messages m ON m.id = r.message_id"


def _in_one_state(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        f"SELECT r.contact_id || ' of campaign ' || r.campaign_id || ' is ' || {_STATE} FROM {_JOINED} "  # noqa: S608
        f"WHERE {_STATE} <> ALL(:states) "
        "UNION ALL "
        "SELECT r.contact_id || ' of campaign ' || r.campaign_id || ' is ' || r.state || ' without a reason' "
        "FROM recipients r WHERE r.message_id IS NULL AND r.state IN ('suppressed', 'failed') AND r.reason IS NULL",
        states=list(STATES),
    )


def _sums_agree(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT c.id || ' has ' || count(r.contact_id) || ' recipients and says ' || c.audience_total "
        "FROM campaigns c LEFT JOIN recipients r ON r.campaign_id = c.id "
        "WHERE c.planned_at IS NOT NULL GROUP BY c.id HAVING count(r.contact_id) <> c.audience_total "
        "UNION ALL "
        "SELECT r.campaign_id || ' is no campaign, and has recipients' FROM recipients r "
        "WHERE NOT EXISTS (SELECT FROM campaigns c WHERE c.id = r.campaign_id) GROUP BY r.campaign_id",
    )


def _finished_is_over(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT c.id || ' is finished, and ' || count(*) || ' of its recipients are not' "  # noqa: S608  our own words
        f"FROM campaigns c JOIN {_JOINED} ON r.campaign_id = c.id WHERE c.state = 'finished' "
        f"AND {_STATE} = ANY(:open) GROUP BY c.id "
        "UNION ALL SELECT c.id || ' is finished, and was never planned' FROM campaigns c "
        "WHERE c.state = 'finished' AND c.planned_at IS NULL",
        open=list(OPEN),
    )


def _messages_are_their_own(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT r.message_id || ' of campaign ' || r.campaign_id || ' is for another person' "
        "FROM recipients r JOIN messages m ON m.id = r.message_id "
        "WHERE m.contact_id IS DISTINCT FROM r.contact_id OR m.workspace_id <> r.workspace_id OR m.direction <> 'out' "
        "UNION ALL "
        "SELECT message_id || ' is of ' || count(*) || ' recipients' FROM recipients WHERE message_id IS NOT NULL "
        "GROUP BY message_id HAVING count(*) > 1",
    )


def _nobody_twice(session: Session, _grace: timedelta) -> list[str]:
    """Retried is who has failed before: of the messages of one campaign to one person, one at most was taken."""
    return rows(
        session,
        "SELECT m.contact_id || ' got campaign ' || c.id || ' ' || count(*) || ' times' "
        "FROM campaigns c JOIN messages m ON m.trace_id = c.trace_id AND m.author = 'campaign' "
        "WHERE m.channel_id = c.channel_id AND m.state IN ('accepted', 'sent', 'delivered', 'read', 'played') "
        "GROUP BY c.id, m.contact_id HAVING count(*) > 1",
    )


def _running_is_looked_after(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT c.id || ' runs, and nobody looks after it' FROM campaigns c "
        "WHERE c.state = 'running' AND c.started_at < crm_now() - cast(:grace AS interval) AND NOT EXISTS ("
        "  SELECT FROM jobs j WHERE j.state IN ('queued', 'running') AND j.task IN ('campaigns.supervise', "
        "    'campaigns.pump', 'campaigns.plan') AND j.args ->> 'campaign_id' = c.id::text)",
        grace=grace,
    )


def _stopped_is_held(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT c.id || ' is ' || c.state || ', and its hold is of something else' FROM campaigns c "
        "WHERE c.state IN ('paused', 'halted') AND NOT EXISTS ("
        "  SELECT FROM holds h WHERE h.id = c.hold_id AND h.scope = 'campaign:' || c.id)",
    )


INVARIANTS = (
    Invariant("recipients", "Every recipient is in exactly one state, and has a reason if not sent to.", _in_one_state),
    Invariant("campaign sums", "The recipients of every campaign add up to its audience.", _sums_agree),
    Invariant("finished campaigns", "No finished campaign has anybody under way.", _finished_is_over),
    Invariant("campaign messages", "Every recipient's message is its own.", _messages_are_their_own),
    Invariant("campaigns once", "Nobody got a campaign twice.", _nobody_twice),
    Invariant("running campaigns", "Every running campaign is looked after.", _running_is_looked_after),
    Invariant("stopped campaigns", "Every stopped campaign is held.", _stopped_is_held),
)
