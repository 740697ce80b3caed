"""Holds: what they stop, whom they bind, how they end, and that what they hold costs the scheduler nothing."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_tasks.core import db, holds, sweep
from crm_tasks.core.errors import Conflict, Invalid, NotFound, Transient
from crm_tasks.core.jobs.claim import claim, finish
from crm_tasks.core.jobs.model import Hold, JobState
from crm_tasks.core.queues import Queue
from crm_tasks.core.task import give_back
from tests.core.ledger import NAP, NOTE, execute, job, many, new, rung, take, unrung, update

Clock = Callable[[str], None]
WORKSPACE = uuid.UUID("0190a000-0000-7000-8000-00000000000a")
# Each scope with what it stops and what it leaves alone.
SCOPES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "all": ({}, None),
    "queue:messages": ({}, {"task": "imports.test_nap", "args": {"seconds": 1}}),
    f"task:{NOTE}": ({}, {"task": NAP, "args": {"seconds": 1}}),
    f"workspace:{WORKSPACE}": ({"workspace_id": WORKSPACE}, {"workspace_id": uuid.UUID(int=2)}),
    "channel:7": ({"scopes": ["contact:1", "channel:7"]}, {"scopes": ["channel:70"]}),
    "campaign:7": ({"scopes": ["campaign:7"]}, {}),
    "contact:7": ({"scopes": ["contact:7"]}, {"scopes": ["channel:7"]}),
    "conversation:7": ({"scopes": ["conversation:7"]}, {}),
}
both_ways = pytest.mark.parametrize(("scope", "stopped", "free"), [(s, *kinds) for s, kinds in SCOPES.items()])


def place(scope: str, **options: Any) -> Hold:
    return db.retrying(holds.place, scope, **{"reason": "testing", "actor": "ann", **options})


def release(hold: Hold) -> Hold:
    return db.retrying(holds.release, hold.id, actor="bob")


def claimed(job_id: uuid.UUID) -> bool:
    return claim(job_id, queue=job(job_id).queue, worker="w") is not None


def tick() -> None:
    """Do what the scheduler does about holds and rings."""
    db.retrying(holds.let_go)
    for queue in Queue:
        sweep.ring_due(queue)


# --- what is stopped ---------------------------------------------------------------------------------------------


@both_ways
def test_what_is_already_rung_is_not_claimed_while_it_is_held(
    empty: None, scope: str, stopped: dict[str, Any], free: dict[str, Any] | None
) -> None:
    wanted, other = new(**stopped), new(**free) if free is not None else None
    hold = place(scope)
    assert not claimed(wanted)
    row = job(wanted)
    assert (row.state, row.held_by, row.rung_at, row.attempt, row.claim_no) == (
        JobState.QUEUED,
        str(hold.id),
        None,
        0,
        0,
    )
    assert other is None or claimed(other)


@both_ways
def test_what_is_due_is_not_rung_while_it_is_held(
    empty: None, scope: str, stopped: dict[str, Any], free: dict[str, Any] | None
) -> None:
    [wanted] = unrung(**stopped)
    others = unrung(**free) if free is not None else []
    hold = place(scope)
    tick()
    assert [rung(queue) for queue in ("messages", "imports") if rung(queue)] == [[str(each)] for each in others]
    assert (job(wanted).held_by, job(wanted).rung_at) == (str(hold.id), None)


@both_ways
def test_what_is_enqueued_under_a_hold_waits_from_the_start_and_runs_after_its_release(
    empty: None, scope: str, stopped: dict[str, Any], free: dict[str, Any] | None
) -> None:
    hold = place(scope)
    wanted = new(**stopped)
    assert (job(wanted).held_by, rung()) == (str(hold.id), [])
    release(hold)
    tick()
    assert (job(wanted).held_by, rung()) == (None, [str(wanted)])
    assert claimed(wanted)


def test_what_runs_when_a_hold_begins_finishes_and_what_it_becomes_is_held(empty: None) -> None:
    ends, fails = new(), new()
    first, second = take(ends), take(fails)
    place("all")
    with db.transaction() as session:
        assert finish(session, first)
    assert give_back(second, Transient("no")) is JobState.QUEUED
    update([fails], "run_at = crm_now()")
    tick()
    assert (job(ends).state, job(fails).held_by is not None, rung()) == (
        JobState.SUCCEEDED,
        True,
        [str(ends), str(fails)],
    )
    assert not claimed(fails)


@pytest.mark.parametrize("written", [f"workspace:{str(WORKSPACE).upper()}", f" workspace:{{{WORKSPACE}}} "])
def test_an_id_holds_however_it_is_written(empty: None, written: str) -> None:
    """Else a person would believe that work has stopped which goes on."""
    assert place(written).scope == f"workspace:{WORKSPACE}"
    assert not claimed(new(workspace_id=WORKSPACE))


def test_older_names_of_queues_hold_too(empty: None) -> None:
    assert place("queue:send-sms-queue").scope == "queue:messages"


@pytest.mark.parametrize(
    ("scope", "options", "code"),
    [
        ("everything", {}, "bad_scope"),
        ("queue:", {}, "bad_scope"),
        ("planet:earth", {}, "bad_scope"),
        ("queue:mesages", {}, "unknown_queue"),
        ("workspace:acme", {}, "bad_scope"),
        ("all", {"reason": "  "}, "reason_missing"),
        ("all", {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "bad_expiry"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(empty: None, scope: str, options: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        place(scope, **options)
    assert refused.value.code == code
    assert execute("SELECT count(*) FROM holds") == [(0,)]


# --- how it ends -------------------------------------------------------------------------------------------------


def test_a_hold_remembers_who_why_and_how_it_ended(empty: None) -> None:
    hold = place("channel:7", reason=" number flagged ", workspace_id=WORKSPACE)
    many(3, scopes=["channel:7"])
    with db.transaction() as session:
        assert [each.id for each in holds.listed(session)] == [hold.id]
        assert holds.held_counts(session) == {str(hold.id): 3}
    assert (hold.reason, hold.actor, hold.workspace_id, hold.released_at) == ("number flagged", "ann", WORKSPACE, None)
    ended = release(hold)
    assert (ended.released_by, ended.released_at is not None) == ("bob", True)
    with db.transaction() as session:
        assert holds.listed(session) == []
        assert [each.id for each in holds.listed(session, ended=True)] == [hold.id]


def test_releasing_what_has_ended_or_is_anothers_is_refused(empty: None) -> None:
    hold = place("channel:7", workspace_id=WORKSPACE)
    with pytest.raises(NotFound):
        db.retrying(holds.release, hold.id, actor="eve", workspace_id=uuid.UUID(int=2))
    with pytest.raises(NotFound):
        db.retrying(holds.release, uuid.UUID(int=9), actor="eve")
    release(hold)
    with pytest.raises(Conflict, match="released by bob"):
        release(hold)


def test_a_workspace_sees_its_own_holds_and_those_of_the_operators(empty: None) -> None:
    mine, everybodys = place("channel:1", workspace_id=WORKSPACE), place("all")
    place("channel:2", workspace_id=uuid.UUID(int=2))
    with db.transaction() as session:
        seen = {each.id for each in holds.listed(session, workspace_id=WORKSPACE)}
    assert seen == {mine.id, everybodys.id}


def test_a_hold_expires_by_the_clock_and_lets_its_jobs_go(empty: None, clock: Clock) -> None:
    hold = place("queue:messages", expires_at=datetime.now(UTC) + timedelta(hours=1))
    waits = new()
    clock("now() + interval '59 minutes'")
    tick()
    assert not claimed(waits) and job(waits).held_by == str(hold.id)
    clock("now() + interval '61 minutes'")
    tick()
    assert rung() == [str(waits)] and claimed(waits)
    assert hold.released_at is None  # nobody did it


def test_of_two_holds_over_one_job_both_have_to_end(empty: None) -> None:
    first, second = place("queue:messages"), place("campaign:1")
    both, one = new(scopes=["campaign:1"]), new()
    release(first)
    tick()
    assert rung() == [str(one)]
    assert job(both).held_by == str(second.id)
    assert not claimed(both)
    release(second)
    tick()
    assert sorted(rung()) == sorted([str(one), str(both)])
    assert claimed(both)


def test_two_holds_of_one_scope_are_released_together_by_its_name(empty: None) -> None:
    place("channel:7")
    place("channel:7")
    place("channel:70")
    assert db.retrying(holds.release_scope, "channel:7", actor="bob") == 2
    assert db.retrying(holds.release_scope, "channel:7", actor="bob") == 0
    assert claimed(new(scopes=["channel:7"])) and not claimed(new(scopes=["channel:70"]))


def test_a_hold_ended_leaves_jobs_alone_that_no_worker_knows(empty: None) -> None:
    unknown = new()
    sweep.park_unknown(str(unknown), NOTE)
    release(place("all"))
    tick()
    assert job(unknown).held_by == "unknown task"


# --- what it costs -----------------------------------------------------------------------------------------------

HELD = 100_000


@pytest.fixture
def hundred_thousand(empty: None) -> Hold:
    """Give a hold and 100,000 jobs that are due, not rung, not yet seen to be held."""
    execute(
        """
        INSERT INTO jobs (id, task, queue, args, workspace_id, scopes, priority, max_attempts, run_at)
        SELECT gen_random_uuid(), :task, 'messages', '{"path": "/dev/null"}', NULL, ARRAY['campaign:1'], 3, 3,
               now() - n * interval '1 ms'
        FROM generate_series(1, :count) AS n
        """,
        task=NOTE,
        count=HELD,
    )
    execute("ANALYZE jobs")
    return place("campaign:1")


def work() -> tuple[int, int]:
    """Return the rows and the pages that all statements of this database have touched so far."""
    [(rows, pages)] = execute(
        """
        SELECT sum(rows)::bigint, sum(shared_blks_hit + shared_blks_read)::bigint FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND query LIKE '%jobs%' AND query NOT LIKE '%pg_stat_statements%'
        """
    )
    return rows, pages


def held() -> int:
    return execute("SELECT count(*) FROM jobs WHERE held_by IS NOT NULL")[0][0]


def round_of_chores() -> tuple[int, int]:
    """Do once all that a scheduler does again and again; return the rows and pages it took."""
    rows, pages = work()
    tick()
    for queue in Queue:
        sweep.ring_lost(queue)
    sweep.expire_leases()
    sweep.free_known()
    after = work()
    return after[0] - rows, after[1] - pages


def test_a_hundred_thousand_held_jobs_cost_the_scheduler_nothing(hundred_thousand: Hold) -> None:
    rounds = 0
    while held() < HELD:
        sweep.ring_due(Queue.MESSAGES)
        rounds += 1
        assert rounds <= 5
    assert rung() == []
    round_of_chores()
    rows, pages = round_of_chores()
    assert (rows < 50, pages < 2_000) == (True, True), (rows, pages)
    # What is left are the dead entries of the index, which autovacuum takes away.
    with db.autocommit() as connection:
        connection.execute("VACUUM jobs")
    rows, pages = round_of_chores()
    assert (rows < 50, pages < 200) == (True, True), (rows, pages)
    # Work behind them is rung at once, though its priority is lower.
    [urgent] = unrung(priority=9)
    tick()
    assert rung() == [str(urgent)]
    release(hundred_thousand)
    for left in range(HELD - holds.BATCH, -1, -holds.BATCH):
        db.retrying(holds.let_go)
        assert held() == left
    tick()
    assert 0 < len(rung()) <= sweep.RUNG_AT_ONCE
