"""`python -m benchmarks.prove_load --campaign N --stops M`: M of those who wait for a running campaign write STOP.

Five seconds after the last of them has written, none of them gets it any more. In the end what the sandbox received and
what we say are held against each other, person by person.
"""

import argparse
import random
import time

from benchmarks import broadcast, lab, measure, verdict
from benchmarks.kills import System
from benchmarks.prove_campaign import FINISHED, MESSAGES, STATES, Journal, balance
from benchmarks.report import Report

# So long after a STOP nothing may arrive.
WITHIN = 5.0
_AT_ONCE = 100
# When, in seconds since the epoch, the last STOP was acknowledged, and when the last of them was in force.
_ACKNOWLEDGED = "SELECT extract(epoch FROM max(received_at)) FROM inbound_events WHERE provider = 'whatsapp'"
_IN_FORCE = "SELECT extract(epoch FROM max(created_at)) FROM suppressions"
_NUMBERS = """
    SELECT ltrim(i.value, '+') AS number, r.position, r.state, r.reason
    FROM recipients r JOIN identities i ON i.contact_id = r.contact_id AND i.kind = 'phone' ORDER BY r.position
"""


def write_stop(system: System, asked: argparse.Namespace, report: Report) -> None:
    """Send a campaign in whose middle people write STOP."""
    system.outside.faults({"kind": "message", "statuses": "none"})
    broadcast.people(system.demo.workspace_id, asked.campaign)
    campaign_id, _ = broadcast.plan(
        system.demo, asked.campaign, per_second=asked.per_second, template=broadcast.MARKETING
    )
    journal = Journal(system)
    begun = time.monotonic()
    broadcast.start(system.demo.workspace_id, campaign_id)
    measure.until(lambda: journal.count >= asked.campaign / 3, asked.patience)
    tired = _tired(journal, asked.stops, random.Random(asked.seed))
    reached_before, wrote = journal.count, time.time()
    for first in range(0, len(tired), _AT_ONCE):
        said = [{"from": to, "type": "text", "text": {"body": "STOP"}} for to in tired[first : first + _AT_ONCE]]
        system.outside.control("POST", "inbound", said)
    written = time.time()
    measure.until(lambda: lab.scalar(FINISHED), max(asked.patience, asked.campaign / 100))
    took = time.monotonic() - begun
    restless = verdict.until_quiet(system, asked.patience)
    journal.close()
    states = {row.state: row[1] for row in verdict.rows(STATES)}
    got = {to: journal.got_at[to] - written for to in tired if to in journal.got_at}
    report.first = {
        f"Nobody who wrote STOP got it {WITHIN:g} s later.": [
            f"{to} got it after {after:.1f} s" for to, after in got.items() if after > WITHIN
        ],
        "Who is left out wrote STOP, and all others have it.": _left_out(asked.campaign, states, set(tired) - set(got)),
        "Nobody got it twice.": [f"{to} got it {times} times" for to, times in journal.people.items() if times > 1],
        "What the sandbox received is what we say was accepted.": list(balance(verdict.rows(MESSAGES), journal)),
        "All became quiet.": restless,
    }
    report.figures = {
        "recipients": asked.campaign,
        **states,
        "had it when the first wrote STOP": reached_before,
        "wrote STOP within, s": round(written - wrote, 2),
        "all acknowledged after, s": round(lab.scalar(_ACKNOWLEDGED) - written, 2),
        "all in force after, s": round(lab.scalar(_IN_FORCE) - written, 2),
        "got it after the last STOP": len(got),
        "the last of them after, s": round(max(got.values(), default=0.0), 2),
        "seconds": round(took, 1),
        "recipients a second": round(asked.campaign / took, 1),
    }


def _tired(journal: Journal, count: int, some: random.Random) -> list[str]:
    """Choose who writes STOP: of those who do not have it, from the next ones to the last."""
    waiting = [row.number for row in verdict.rows(_NUMBERS) if row.number not in journal.people]
    return some.sample(waiting, count)


def _left_out(audience: int, states: dict[str, int], stopped: set[str]) -> list[str]:
    if states != {"accepted": audience - len(stopped), "suppressed": len(stopped)}:
        return [f"{states}, and {len(stopped)} of {audience} stopped before it came to them"]
    left_out = {row.number for row in verdict.rows(_NUMBERS) if row.state == "suppressed"}
    return [f"{to} was left out and did not write" for to in left_out - stopped]
