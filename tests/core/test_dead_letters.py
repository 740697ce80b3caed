"""Dead letters: grouped by cause, counted, retried and discarded by the many; nothing of them is lost between."""

import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crm_tasks.core import db, overview, sweep
from crm_tasks.core.errors import Conflict, Invalid, NotFound, Permanent
from crm_tasks.core.jobs import dead_letters, repair
from crm_tasks.core.jobs.claim import finish
from crm_tasks.core.jobs.dead_letters import Which
from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.task import give_back
from tests.core.causes import CAUSES, failure
from tests.core.conftest import Start
from tests.core.ledger import NAP, execute, job, jobs, many, new, rung, states, take, update
from tests.harness import beat, eventually, worker

CAUSE = "messages.test_cause"
WORKSPACE = uuid.UUID(int=1)


def die(job_id: uuid.UUID, message: str = "it broke", code: str = "broken") -> uuid.UUID:
    assert give_back(take(job_id), Permanent(message, code=code)) is JobState.DEAD
    return job_id


def dead(count: int = 1, code: str = "broken", **options: Any) -> list[uuid.UUID]:
    return [die(job_id, code=code) for job_id in many(count, **options)]


def retry(which: Which = Which(), **options: Any) -> list[uuid.UUID]:
    return db.retrying(dead_letters.retry_batch, which, actor="ann", **options)


def discard(which: Which = Which(), reason: str = "not needed") -> list[uuid.UUID]:
    return db.retrying(dead_letters.discard_batch, which, actor="ann", reason=reason)


def groups(which: Which = Which()) -> list[dead_letters.Group]:
    return db.retrying(dead_letters.groups, which)


def stats(workspace_id: uuid.UUID | None = None) -> tuple[int, ...]:
    return tuple(db.retrying(dead_letters.stats, workspace_id).values())


# --- groups ------------------------------------------------------------------------------------------------------


def test_five_hundred_dead_letters_of_seven_causes_are_seven_groups(empty: None) -> None:
    drawn = random.Random(11)
    numbers = [drawn.randrange(7) for _ in range(500)]
    for number, job_id in zip(numbers, many(500, max_attempts=1), strict=True):
        assert give_back(take(job_id), failure(number, drawn)) is JobState.DEAD
    found = groups()
    assert [group.jobs for group in found] == sorted(Counter(numbers).values(), reverse=True)
    assert len({group.fingerprint for group in found}) == 7
    assert len({row.errors[0]["message"] for row in jobs()}) > 490
    for group in found:
        assert (group.tasks, group.queues) == (["messages.test_note"], ["messages"])
        example = job(group.example_id)
        assert (example.fingerprint, example.errors[-1]) == (group.fingerprint, group.error)
        assert group.first_at < group.last_at


def test_in_a_real_worker_too_each_cause_is_one_group(start: Start, tmp_path: Path) -> None:
    start(worker(tmp_path, "messages", include="tests.core.causes"))
    start(beat(tmp_path))
    wanted = [
        NewJob(task=CAUSE, args={"number": number, "seed": seed}, max_attempts=1)
        for number in range(7)
        for seed in range(10)
    ]
    db.retrying(enqueue_many, wanted)
    eventually(lambda: states() == {"dead": 70}, "all die", 30)
    assert [group.jobs for group in groups()] == [10] * 7
    assert {group.error["class"] for group in groups()} == {kind.__name__ for kind, _, _ in CAUSES}
    assert {row.errors[0]["traceback"][-1].partition(" in ")[2] for row in jobs(Job.task == CAUSE)} == {"cause"}


def test_groups_and_lists_show_what_was_asked_for(empty: None) -> None:
    mine = dead(3, "one", workspace_id=WORKSPACE)
    others = dead(2, "two", workspace_id=uuid.UUID(int=2))
    naps = dead(1, "one", task=NAP, args={"seconds": 1}, workspace_id=WORKSPACE)
    first, second = groups()
    assert ((first.jobs, first.tasks), (second.jobs, second.tasks)) == (
        (4, ["messages.test_nap", "messages.test_note"]),
        (2, ["messages.test_note"]),
    )
    assert [group.jobs for group in groups(Which(workspace_id=WORKSPACE))] == [4]
    assert [group.jobs for group in groups(Which(task=NAP))] == [1]
    listed = db.retrying(dead_letters.listed, Which(fingerprint=second.fingerprint))
    assert [row.id for row in listed] == others[::-1]
    page = db.retrying(dead_letters.listed, Which(workspace_id=WORKSPACE), limit=3)
    assert [row.id for row in page] == [*naps, *mine[:0:-1]]
    rest = db.retrying(dead_letters.listed, Which(workspace_id=WORKSPACE), before=page[-1].id)
    assert [row.id for row in rest] == [mine[0]]


# --- many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["ids", "fingerprint", "task", "queue", "workspace_id", "all"])
@pytest.mark.parametrize("act", ["retry", "discard"])
def test_dead_letters_are_dealt_with_by_id_cause_task_queue_workspace_or_all(empty: None, act: str, by: str) -> None:
    one = dead(2, "one", workspace_id=WORKSPACE)
    other = dead(2, "two", task="imports.test_nap", args={"seconds": 1})
    alive = new()
    which = {
        "ids": Which(ids=one),
        "fingerprint": Which(fingerprint=job(one[0]).fingerprint),
        "task": Which(task="messages.test_note"),
        "queue": Which(queue="messages"),
        "workspace_id": Which(workspace_id=WORKSPACE),
        "all": Which(),
    }[by]
    meant = [*one, *other] if by == "all" else one
    before = job(alive).run_at
    assert (retry if act == "retry" else discard)(which) == meant
    expected = JobState.QUEUED if act == "retry" else JobState.CANCELLED
    assert {job(job_id).state for job_id in meant} == {expected}
    assert {job(job_id).state for job_id in other} == {expected if by == "all" else JobState.DEAD}
    assert (job(alive).state, job(alive).run_at, job(alive).revivals) == (JobState.QUEUED, before, 0)


def test_discarding_needs_a_reason(empty: None) -> None:
    dead()
    with pytest.raises(Invalid, match="reason"):
        discard(reason=" ")
    assert states() == {"dead": 1}


def test_retrying_what_dies_again_at_once_comes_to_an_end(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    ids = dead(5)
    done, after = [], None
    while batch := retry(after=after):
        done, after = done + batch, batch[-1]
        for job_id in batch:
            die(job_id)
        assert len(done) <= len(ids)
    assert done == ids
    assert {row.revivals for row in jobs()} == {1}


@pytest.mark.parametrize("taken", [[0], [0, 1], [2]])
def test_what_somebody_else_deals_with_meanwhile_stops_nobody(
    empty: None, monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    """Two people press the button: the second one's batch was read before the first one's commit."""
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    ids = dead(4)
    read = dead_letters._batch

    def read_early(*args: Any) -> list[uuid.UUID]:
        found = read(*args)
        for position in taken:
            if job(ids[position]).state is JobState.DEAD:
                db.retrying(repair.discard, ids[position], actor="bob", reason="not needed")
        return found

    monkeypatch.setattr(dead_letters, "_batch", read_early)
    done, after = [], None
    while batch := retry(after=after):
        done, after = done + batch, batch[-1]
    left = [job_id for position, job_id in enumerate(ids) if position not in taken]
    assert done == left
    assert states(left) == {"queued": len(left)}
    assert states(set(ids) - set(left)) == {"cancelled": len(taken)}
    assert {row.revivals for row in jobs(Job.state == JobState.CANCELLED)} == {0}
    assert set(rung()) >= set(map(str, left))


# --- figures -----------------------------------------------------------------------------------------------------


def test_the_figures_tell_waiting_active_failed_and_completed_apart(empty: None) -> None:
    assert stats() == (0, 0, 0, 0)
    ids = dead(6, workspace_id=WORKSPACE)
    dead(1)
    assert (stats(), stats(WORKSPACE)) == ((7, 0, 0, 0), (6, 0, 0, 0))
    retry(Which(ids=ids[:4]))
    assert stats() == (3, 4, 0, 0)
    running = take(ids[0])
    with db.transaction() as session:
        assert finish(session, take(ids[1]))
    die(ids[2])
    assert running.claim_no == 2
    assert (stats(), stats(WORKSPACE)) == ((4, 2, 1, 1), (3, 2, 1, 1))
    discard()
    assert stats() == (0, 2, 0, 1)
    with db.transaction() as session:
        [row] = [each for each in overview.queues(session) if each.name == "messages"]
    assert (row.failed, row.active, row.waiting, row.completed) == (0, 1, 1, 1)


def test_what_is_not_dead_is_no_dead_letter(empty: None) -> None:
    job_id = new()
    with db.transaction() as session, pytest.raises(Conflict, match="is queued, not dead"):
        dead_letters.require_dead(session, job_id)
    with db.transaction() as session, pytest.raises(NotFound):
        dead_letters.require_dead(session, die(job_id), WORKSPACE)
    assert retry(Which(ids=[new()])) == []


def test_poison_is_one_group_of_dead_letters_and_may_be_retried(empty: None) -> None:
    ids = many(3, "imports.test_nap", args={"seconds": 1})
    for job_id in ids:
        for _ in range(3):
            update([job_id], "run_at = crm_now()")
            take(job_id)
            update([job_id], "lease_until = now() - interval '1 s'")
            sweep.expire_leases()
    [group] = groups()
    assert (group.jobs, group.error["code"], group.error["class"]) == (3, "poison", "LostLease")
    assert retry() == ids
    row = job(ids[0])
    assert (row.state, row.crashes, row.attempt, len(row.errors)) == (JobState.QUEUED, 0, 0, 3)
    assert take(ids[0]).claim_no == 4


def test_a_dead_letter_stays_until_a_person_decides(empty: None) -> None:
    """However old it is: cleaning up takes the others of its queue."""
    from crm_tasks.analytics import service

    kept, gone = dead(2), new()
    with db.transaction() as session:
        assert finish(session, take(gone))
    execute(
        "UPDATE jobs SET created_at = now() - interval '3 years', finished_at = now() - interval '3 years', "
        "keep = interval '1 day'"
    )
    for what in service.clean_ups():
        db.retrying(service.step, what)
    assert [row.id for row in jobs()] == kept
