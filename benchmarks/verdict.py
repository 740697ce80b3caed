"""What must be true when all is quiet again. Each check returns a line for everything that contradicts it.

It looks at three witnesses that know nothing of each other: what the customers' provider saw acknowledged, what the
ledger and the conversations say, and what the sandbox received.
"""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from benchmarks.customers import Customers
from benchmarks.kills import System
from tests.harness import ROOT

_QUESTION = re.compile(r"Question (\d+):")
_SENT = ("accepted", "sent", "delivered", "read", "played")
_PAGE = 1_000
_REST = """
    SELECT count(*) FROM jobs WHERE state = 'running' OR (state = 'queued' AND task <> 'messages.settle')
"""
_EVENTS = "SELECT count(*) FROM inbound_events WHERE state = 'received'"
_MESSAGES = """
    SELECT q.provider_id AS wamid, q.id, q.answer_id, i.value AS wa_id, a.state, a.provider_id AS accepted_as, a.text
    FROM messages q JOIN identities i ON i.contact_id = q.contact_id AND i.kind = 'wa_id'
    LEFT JOIN messages a ON a.id = q.answer_id AND a.direction = 'out' AND a.conversation_id = q.conversation_id
    WHERE q.direction = 'in'
"""


class Witnesses:
    """Everything that was seen, read once."""

    def __init__(self, system: System, customers: Customers) -> None:
        self.customers = customers
        self.messages = rows(_MESSAGES)
        self.answers = {str(row.id) for row in rows("SELECT id FROM messages WHERE direction = 'out'")}
        self.received = received(system)
        self.by_id: dict[str, list[dict[str, Any]]] = {}
        for entry in self.received:
            self.by_id.setdefault(entry["biz_opaque_callback_data"], []).append(entry)

    def unknown(self) -> list[Any]:
        """Return the questions whose answer left nobody knows how."""
        return [row for row in self.messages if row.state == "unknown"]


def rows(statement: str) -> list[Any]:
    """Return the rows of a query."""
    from crm_tasks.core import db

    with db.transaction() as session:
        return list(session.execute(sa.text(statement)))


def received(system: System) -> list[dict[str, Any]]:
    """Return every message that the sandbox accepted, the oldest first."""
    found: list[dict[str, Any]] = []
    since = 0
    while True:
        page = system.outside.control("GET", f"log?kind=message&since={since}&limit={_PAGE}")
        found += [entry for entry in page["data"] if entry["message_id"]]
        if not page["data"]:
            return found
        since = page["next"]


def quiet(system: System) -> bool:
    """Say whether nothing is under way: no job, no event, no webhook; an unknown send may wait for its decision."""
    from crm_tasks.core import db

    with db.transaction() as session:
        if session.scalar(sa.text(_REST)) or session.scalar(sa.text(_EVENTS)):
            return False
    return system.outside.control("GET", "stats")["webhooks"]["pending"] == 0


def until_quiet(system: System, patience: float) -> list[str]:
    """Wait until nothing is under way, seen twice; return a complaint if that never was."""
    deadline = time.monotonic() + patience
    still = 0
    while still < 2 and time.monotonic() < deadline:
        still = still + 1 if quiet(system) else 0
        time.sleep(0.5)
    return [] if still == 2 else [f"something was still under way after {patience:g} s"]


def answered_at(seen: Witnesses) -> dict[str, float]:
    """Return when the sandbox received the answer to each question, by wamid."""
    found = {}
    for row in seen.messages:
        for entry in seen.by_id.get(str(row.answer_id), [])[:1]:
            found[row.wamid] = datetime.fromisoformat(entry["time"]).timestamp()
    return found


# --- the checks --------------------------------------------------------------------------------------------------


def every_message_is_here(seen: Witnesses) -> Iterator[str]:
    """Every acknowledged webhook has its message, once, and there is no other."""
    here = Counter(row.wamid for row in seen.messages)
    told = {said.wamid for said in seen.customers.said}
    for wamid in seen.customers.door.acknowledged:
        if here[wamid] != 1:
            yield f"{wamid} was acknowledged and is here {here[wamid]} times"
    yield from (f"{wamid} is here and nobody sent it" for wamid in here.keys() - told)
    yield from (f"{wamid} was never acknowledged" for wamid in told - seen.customers.door.acknowledged.keys())


def each_has_one_answer(seen: Witnesses) -> Iterator[str]:
    """Each message has exactly one answer of its own, in its conversation; and there is no other message of ours."""
    given = Counter(str(row.answer_id) for row in seen.messages)
    for row in seen.messages:
        if row.answer_id is None:
            yield f"{row.wamid} has no answer"
        elif row.state is None:
            yield f"{row.wamid} is answered by {row.answer_id}, which is not in its conversation"
        elif given[str(row.answer_id)] > 1:
            yield f"{row.answer_id} answers {given[str(row.answer_id)]} messages"
    yield from (f"{answer} answers nothing" for answer in seen.answers - given.keys())


def nothing_came_twice(seen: Witnesses) -> Iterator[str]:
    """The sandbox received no answer twice: not by its id, not by what it says to whom."""
    for answer, entries in seen.by_id.items():
        if len(entries) > 1:
            yield f"{answer} was received {len(entries)} times"
    for (to, question), times in _said(seen).items():
        if times > 1:
            yield f"+{to} got {times} answers to question {question}"


def received_is_accepted(seen: Witnesses) -> Iterator[str]:
    """What the sandbox received is what we say was accepted, under the same ids; unknown is what it never got."""
    for row in seen.messages:
        entries = seen.by_id.get(str(row.answer_id), [])
        if row.state in _SENT and row.accepted_as not in {entry["message_id"] for entry in entries}:
            yield f"{row.answer_id} is {row.state}, but the sandbox never gave it {row.accepted_as}"
        elif row.state not in _SENT and entries:
            yield f"{row.answer_id} is {row.state}, but the sandbox received it and told us so"
        elif row.state not in (*_SENT, "unknown", None):
            yield f"{row.answer_id} is {row.state}"
    yield from (f"the sandbox received {answer}, which is not ours" for answer in seen.by_id.keys() - seen.answers)


def each_got_the_right_answer(seen: Witnesses) -> Iterator[str]:
    """Each customer got the answers to what that customer asked, save those that are unknown."""
    unknown = {row.wamid for row in seen.unknown()}
    asked = Counter((said.wa_id, said.number) for said in seen.customers.said if said.wamid not in unknown)
    got = _said(seen)
    yield from (f"+{to} got no answer to question {number}" for to, number in asked.keys() - got.keys())
    yield from (f"+{to} got an answer to question {number}, not asked by them" for to, number in got.keys() - asked)


def nothing_is_dead(_seen: Witnesses) -> Iterator[str]:
    """No job died, and no event was put aside."""
    for row in rows(
        "SELECT id, task, errors -> -1 ->> 'message' AS why FROM jobs WHERE state IN ('dead', 'cancelled')"
    ):
        yield f"{row.task} {row.id}: {row.why}"
    for row in rows("SELECT id, problem FROM inbound_events WHERE state = 'quarantined'"):
        yield f"event {row.id} was put aside: {row.problem}"


def _said(seen: Witnesses) -> Counter[tuple[str, int]]:
    """Return how many answers each customer got to each question; the sandbox's model quotes what it was asked."""
    found: Counter[tuple[str, int]] = Counter()
    for entry in seen.received:
        quoted = _QUESTION.findall(entry["body"]["text"]["body"])
        found[entry["to"].lstrip("+"), int(quoted[-1]) if quoted else -1] += 1
    return found


CHECKS: tuple[Callable[[Witnesses], Iterator[str]], ...] = (
    every_message_is_here,
    each_has_one_answer,
    nothing_came_twice,
    received_is_accepted,
    each_got_the_right_answer,
    nothing_is_dead,
)


def check(seen: Witnesses) -> dict[str, list[str]]:
    """Return what contradicts each sentence."""
    return {str(each.__doc__): list(each(seen)) for each in CHECKS}


def crm_prove(system: System) -> tuple[bool, str]:
    """Run `crm prove` with nothing excused as under way; return whether it exits with 0, and what it says."""
    command = [sys.executable, "-m", "crm_tasks.cli", "prove", "--sandbox", system.outside.url, "--grace", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode == 0, done.stdout + done.stderr
