"""What a worker cannot read or does not know: it lives on, and no job is lost."""

import base64
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from crm_tasks.core import db, overview, sweep
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.model import UNKNOWN_TASK, JobState
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager
from tests.core.conftest import Start
from tests.core.ledger import NOTE, counted_by, job, lines, new, rung, said, unrung, until, update
from tests.harness import Program, beat, eventually, worker


def test_a_job_that_no_worker_knows_waits_is_reported_and_runs_once_one_knows_it(start: Start, tmp_path: Path) -> None:
    old = start(worker(tmp_path, "messages", name="old", LEASE_RENEWAL="1"))
    job_id = new(args={"path": str(tmp_path / "noted")})
    row = eventually(lambda: r if (r := job(job_id)).held_by else None)
    assert (row.state, row.held_by, row.rung_at, row.attempt) == (JobState.QUEUED, UNKNOWN_TASK, None, 0)
    with db.transaction() as session:
        assert overview.unknown_tasks(session) == {NOTE: 1}
        assert next(each for each in overview.queues(session) if each.name == "messages").held == 1
    eventually(lambda: counted_by("old@test", "unknown_tasks") == 1)
    assert said(old.said(), "job.unknown_task")[0]["task"] == NOTE
    # Not rung while nobody knows it …
    assert sweep.free_known() == 0
    sweep.ring_due(Queue.MESSAGES)
    assert rung() == []
    # … and by itself afterwards, though the old worker still takes its share of the rings.
    start(worker(tmp_path, "messages", name="newer", include="tests.tasks"))
    start(beat(tmp_path))
    until(job_id, JobState.SUCCEEDED, 30)
    assert lines(tmp_path / "noted") == ["x"]
    with db.transaction() as session:
        assert overview.unknown_tasks(session) == {}


def test_a_job_is_let_go_only_for_a_worker_of_its_queue_that_lives(empty: None) -> None:
    from tests.core.ledger import execute

    job_id = new()
    sweep.park_unknown(str(job_id), NOTE)
    insert = (
        "INSERT INTO processes (id, kind, name, host, pid, queues, tasks, seen_at, stopped_at) "
        "VALUES (gen_random_uuid(), 'worker', 'w', 'h', 1, :queues, :tasks, now() - cast(:ago AS interval), {})"
    )
    for queues, tasks, ago, stopped in (
        (["flows"], [NOTE], "0 s", "NULL"),
        (["messages"], ["messages.send"], "0 s", "NULL"),
        (["messages"], [NOTE], "60 s", "NULL"),
        (["messages"], [NOTE], "0 s", "now()"),
    ):
        execute(insert.format(stopped), queues=queues, tasks=tasks, ago=ago)
        assert sweep.free_known() == 0
    execute(insert.format("NULL"), queues=["messages"], tasks=[NOTE], ago="0 s")
    assert sweep.free_known() == 1
    assert (job(job_id).held_by, job(job_id).rung_at) == (None, None)


def test_a_ring_of_nobody_for_a_task_of_nobody_parks_nothing(empty: None) -> None:
    for text in ("not an id", str(uuid.uuid4())):
        sweep.park_unknown(text, "nowhere.at_all")


def message(job_id: object, **changes: Any) -> bytes:
    """Return a message as kombu writes it, with changes."""
    made: dict[str, Any] = {
        "body": base64.b64encode(
            b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
        ).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": NOTE, "id": str(job_id), "argsrepr": "", "kwargsrepr": "", "origin": "x"},
        "properties": {
            "correlation_id": str(job_id),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "messages"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    return orjson.dumps({**made, **changes})


GARBAGE = {
    "bytes": b"\x00\xff\xfe",
    "text": b"hello",
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "empty object": b"{}",
    "no tag": b'{"properties": {}}',
    "properties of another kind": message("x", properties=[]),
    "no headers": message("x", headers=None),
    "headers of another kind": message("x", headers="none"),
    "a task that is a list": message("x", headers={"task": [], "id": "x"}),
    "no id": message("x", headers={"task": NOTE}),
    "an id that is a list": message("x", headers={"task": NOTE, "id": []}),
    "pickled": message("x", **{"content-type": "application/x-python-serialize"}),
    "an unknown type": message("x", **{"content-type": "application/nothing"}),
}
BROKEN_BODIES = {
    "no base64": {"body": "%%%"},
    "no JSON": {"body": base64.b64encode(b"\xff{").decode()},
    "of another shape": {"body": base64.b64encode(b'{"a": 1}').decode()},
    "none": {"body": None},
    "a list": {"body": []},
}


def push(item: bytes) -> None:
    client = manager().client("broker")
    client.lpush(ring.broker_keys("messages")[0], item)


def alive(program: Program) -> bool:
    return program.popen is not None and program.popen.poll() is None


def test_garbage_at_the_broker_keeps_no_lost_ring_from_being_rung_again(empty: None) -> None:
    [job_id] = unrung()
    update([job_id], "rung_at = now() - interval '10 minutes'")
    for item in GARBAGE.values():
        push(item)
    assert sweep.ring_lost(Queue.MESSAGES) == 1
    assert job(job_id).rings == 1


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_at_the_broker_ends_no_worker(threads: Program, empty: None, kind: str) -> None:
    push(GARBAGE[kind])
    eventually(lambda: rung_raw() == 0, "the worker takes it")
    until(new(priority=10), JobState.SUCCEEDED)
    assert alive(threads)


def rung_raw() -> int:
    return sum(manager().client("broker").llen(key) for key in ring.broker_keys("messages"))


@pytest.mark.parametrize("kind", BROKEN_BODIES)
def test_a_job_whose_message_is_broken_is_not_lost(threads: Program, empty: None, tmp_path: Path, kind: str) -> None:
    job_id = new(args={"path": str(tmp_path / "noted")}, run_at=datetime.now(UTC) + timedelta(hours=1))
    update([job_id], "rung_at = now(), run_at = now()")
    push(message(job_id, **BROKEN_BODIES[kind]))
    eventually(lambda: rung_raw() == 0, "the worker takes it")
    until(new(priority=10), JobState.SUCCEEDED)
    if job(job_id).state is JobState.QUEUED:
        update([job_id], "rung_at = now() - interval '10 minutes'")
        assert sweep.ring_lost(Queue.MESSAGES) == 1
    until(job_id, JobState.SUCCEEDED)
    assert lines(tmp_path / "noted") == ["x"]
    assert alive(threads)
