"""What can go wrong, one row or key at a time, and which invariants must name it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import requests

from crm_tasks.core.jobs import ring
from crm_tasks.core.redis import manager
from crm_tasks.core.types import new_id
from tests.core.ledger import execute
from tests.fixtures import NUMBER
from tests.outside import Sandbox
from tests.prove.healthy import ring_of

OUTSIDE = "received = accepted"
_RUNNING = "UPDATE jobs SET state = 'running', finished_at = NULL, lease_until = now() + interval '1 min'"
_REPLY, _SEND = " WHERE task = 'ai.reply'", " WHERE task = 'messages.send'"
_TICK = "INSERT INTO watermarks (name, at) VALUES ('scheduler', now()) ON CONFLICT (name) DO UPDATE SET at = now()"
_ANOTHER = """
    INSERT INTO messages (id, workspace_id, channel_id, conversation_id, direction, state, type, content, author,
                          occurred_at, created_at)
    SELECT gen_random_uuid(), workspace_id, channel_id, conversation_id, 'out', :state, type, content, :author,
           occurred_at, created_at FROM messages WHERE direction = 'out'
"""
_REPORT = """
    INSERT INTO status_events (id, workspace_id, channel_id, message_id, provider_id, status, recipient, occurred_at,
                               created_at, detail)
    SELECT :id, workspace_id, channel_id, message_id, 'wamid.OTHER', status, recipient, occurred_at, created_at, '{}'
    FROM status_events WHERE status = 'accepted'
"""

_CAMPAIGN = """
    INSERT INTO campaigns (id, workspace_id, name, channel_id, state, hold_id, audience_total, planned_at, started_at,
                           created_by, trace_id)
    SELECT c.workspace_id, c.workspace_id, 'Spring', c.id, 'finished', CASE 'finished' WHEN 'paused' THEN c.id END, 1,
           now() - interval '9 min', now() - interval '9 min', 'a test', c.workspace_id FROM channels c
"""
_RECIPIENT = """
    INSERT INTO recipients (campaign_id, contact_id, workspace_id, position, state, message_id)
    SELECT m.workspace_id, m.contact_id, m.workspace_id, 1, 'delivered', m.id FROM messages m
    WHERE m.direction = 'out'
"""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One thing that went wrong."""

    what: str
    breaks: frozenset[str]
    do: Callable[[Sandbox], Any]


def sql(what: str, breaks: str, *statements: str, **values: Any) -> Corruption:
    """Return a change of rows; `breaks` names invariants, separated by commas."""

    def do(_sandbox: Sandbox) -> None:
        for statement in statements:
            execute(statement, **{name: value for name, value in values.items() if f":{name}" in statement})

    return Corruption(what, frozenset(breaks.split(", ")), do)


def key(what: str, breaks: str, do: Callable[[Any], Any]) -> Corruption:
    """Return a change of Valkey."""
    return Corruption(what, frozenset({breaks}), lambda _sandbox: do(manager().client("broker")))


def outside(what: str, breaks: str, do: Callable[[Sandbox], Any]) -> Corruption:
    """Return a change of what the sandbox has in its log."""
    return Corruption(what, frozenset(breaks.split(", ")), do)


def _push(message: bytes, valkey: Any) -> None:
    valkey.lpush(ring.broker_keys("messages")[0], message)


def _send(callback_data: str | None, sandbox: Sandbox) -> None:
    """Send something past the ledger, by default what was sent already."""
    (sent,) = sandbox.sends()
    body = {**sent["body"], "biz_opaque_callback_data": callback_data or sent["biz_opaque_callback_data"]}
    headers = {"Authorization": f"Bearer token-of-{NUMBER}"}
    assert requests.post(sandbox.url + sent["path"], json=body, headers=headers, timeout=10).ok


CORRUPTIONS = (
    sql(
        "two jobs of one serial key run",
        "serial keys",
        "DROP INDEX uq_jobs_serial_key",
        _RUNNING + ", serial_key = 'one at a time' WHERE task IN ('ai.reply', 'messages.send')",
    ),
    sql(
        "a lease ended and nobody takes the job back",
        "leases",
        _RUNNING.replace("+ interval '1 min'", "- interval '5 min'") + _REPLY,
    ),
    sql("more attempts than allowed", "counters", "UPDATE jobs SET attempt = max_attempts + 1, claim_no = 9" + _REPLY),
    sql("a success without a claim", "counters", "UPDATE jobs SET claim_no = 0" + _REPLY),
    sql("a success that never started", "counters", "UPDATE jobs SET started_at = NULL" + _REPLY),
    sql("a death without a cause", "counters", "UPDATE jobs SET state = 'dead', attempt = 1" + _SEND),
    sql(
        "a job waits for a hold that nobody placed",
        "held jobs",
        "UPDATE jobs SET state = 'queued', finished_at = NULL, held_by = gen_random_uuid()::text" + _REPLY,
    ),
    sql(
        "a held job was started",
        "holds are obeyed",
        "INSERT INTO holds (id, scope, reason, actor, created_at) VALUES "
        "(gen_random_uuid(), 'queue:ai', 'stop', 'ann', now() - interval '1 min')",
        _RUNNING + ", started_at = now()" + _REPLY,
    ),
    sql(
        "an instant has two jobs",
        "calendar fires once",
        "UPDATE jobs SET key_was = 'calendar:clean-up:2026-11-22T03:00:00+00:00' WHERE task <> 'messages.receive'",
    ),
    sql(
        "an instant has a second job, which still waits",
        "calendar fires once",
        "UPDATE jobs SET key_was = 'calendar:x'" + _SEND,
        "UPDATE jobs SET state = 'queued', finished_at = NULL, unique_key = 'calendar:x'" + _REPLY,
    ),
    sql(
        "the calendar stands still",
        "calendar is on time",
        _TICK,
        "INSERT INTO calendar (entry, spec, next_at) VALUES ('clean-up', '0 3 * * * UTC', now() - interval '1 h')",
    ),
    sql("a minute counts too few", "figures", "UPDATE job_minutes SET jobs = jobs - 1 WHERE queue = 'ai'"),
    sql(
        "nothing is counted any more",
        "figures",
        _TICK,
        "UPDATE watermarks SET at = now() - interval '2 h' WHERE name = 'job_minutes'",
    ),
    key("a ring for a job that there is not", "rings", partial(_push, ring_of(str(new_id())))),
    key("a message that is no ring", "rings", partial(_push, b"{}")),
    Corruption(
        "a ring was lost and nobody rings again",
        frozenset({"lost rings"}),
        lambda _sandbox: (
            execute(_TICK),
            execute(
                "UPDATE jobs SET state = 'queued', finished_at = NULL, run_at = now() - interval '1 h', "
                "rung_at = now() - interval '1 h'" + _REPLY
            ),
            manager().client("broker").flushall(),
        ),
    ),
    key("a cached value for ever", "keys", lambda valkey: valkey.set("crm:cache:x", "1")),
    key("a bucket of the pace for ever", "keys", lambda valkey: valkey.set("crm:pace:x", "1")),
    sql("a webhook is not applied", "events", "UPDATE inbound_events SET state = 'received'"),
    sql(
        "a customer's message is gone, and its answer answers nothing",
        "inbound messages, answers, windows",
        "DELETE FROM messages WHERE direction = 'in'",
    ),
    sql("a status is gone", "inbound statuses", "DELETE FROM status_events WHERE status = 'sent'"),
    sql("a message has no answer", "answers", "UPDATE messages SET answer_id = NULL WHERE direction = 'in'"),
    sql(
        "a message has no answer, and the death of another's excuses nothing",
        "answers, counters",
        "UPDATE jobs SET state = 'dead', finished_at = finished_at - interval '1 h'" + _REPLY,
        "UPDATE messages SET answer_id = NULL WHERE direction = 'in'",
    ),
    sql(
        "an answer is gone",
        f"answers, {OUTSIDE}",
        "DELETE FROM messages WHERE direction = 'out'",
    ),
    sql("a second answer", "answers", _ANOTHER, state="cancelled", author="ai"),
    sql("a message that nobody sends", "outbound messages", _ANOTHER, state="queued", author="api"),
    sql("a send that nobody finds out about", "unknown sends", _ANOTHER, state="unknown", author="api"),
    sql("a message has two provider ids", "sent once", _REPORT, id=new_id()),
    sql(
        "an accepted message has no provider id",
        f"provider ids, {OUTSIDE}",
        "UPDATE messages SET provider_id = NULL WHERE direction = 'out'",
    ),
    sql("a state went backwards", "statuses", "UPDATE messages SET state = 'sent' WHERE direction = 'out'"),
    sql(
        "a reported message counts as never sent",
        f"statuses, {OUTSIDE}",
        "UPDATE messages SET state = 'planned' WHERE direction = 'out'",
    ),
    sql(
        "a status waits for a message that is here",
        "parked statuses",
        "UPDATE status_events SET message_id = NULL WHERE status = 'sent'",
    ),
    sql("a window that never opened", "windows", "UPDATE conversations SET last_inbound_at = NULL"),
    sql("credentials that no key opens", "credentials", "UPDATE channels SET credentials = '\\x00'"),
    sql(
        "nobody knows why somebody got nothing",
        "recipients",
        _CAMPAIGN,
        _RECIPIENT.replace("'delivered', m.id", "'failed', NULL"),
    ),
    sql("a campaign that has fewer recipients than it says", "campaign sums", _CAMPAIGN),
    sql("recipients of no campaign", "campaign sums", _RECIPIENT),
    sql(
        "a campaign is finished while somebody waits",
        "finished campaigns",
        _CAMPAIGN,
        _RECIPIENT.replace("'delivered', m.id", "'planned', NULL"),
    ),
    sql(
        "a recipient has another person's message",
        "campaign messages",
        _CAMPAIGN,
        _RECIPIENT.replace("m.contact_id", "gen_random_uuid()"),
    ),
    sql(
        "somebody got a campaign twice",
        "campaigns once, received = accepted",
        _CAMPAIGN,
        _RECIPIENT,
        "UPDATE messages SET author = 'campaign', trace_id = (SELECT id FROM campaigns) WHERE direction = 'out'",
        "INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type, "
        "content, author, occurred_at, created_at, trace_id, provider_id) SELECT gen_random_uuid(), workspace_id, "
        "channel_id, conversation_id, contact_id, 'out', 'delivered', type, content, author, occurred_at, created_at, "
        "trace_id, 'wamid.AGAIN' FROM messages WHERE author = 'campaign'",
    ),
    sql(
        "a campaign runs and nobody looks after it",
        "running campaigns",
        _CAMPAIGN.replace("finished", "running"),
        _RECIPIENT,
    ),
    sql(
        "a campaign is paused and not held",
        "stopped campaigns",
        _CAMPAIGN.replace("finished", "paused"),
        _RECIPIENT,
    ),
    sql("a delivery that no job makes", "webhook deliveries", "UPDATE webhook_deliveries SET state = 'pending'"),
    sql(
        "an event was kept from somebody who wanted it",
        "webhook events",
        "DELETE FROM webhook_deliveries WHERE event_id = (SELECT id FROM webhook_events LIMIT 1)",
    ),
    sql("a webhook secret that no key opens", "webhook secrets", "UPDATE webhook_endpoints SET secret = '\\x00'"),
    outside("the sandbox got nothing", OUTSIDE, lambda sandbox: sandbox.control("DELETE", "state")),
    outside("the sandbox got what is not ours", OUTSIDE, partial(_send, str(new_id()))),
    outside("the sandbox got a message twice", "received once", partial(_send, None)),
)
