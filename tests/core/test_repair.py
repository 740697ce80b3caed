"""What a person may do to one job: cancel, retry, discard, bring forward. Each is refused in the wrong state."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, DomainError, Invalid, NotFound, Permanent
from crm_tasks.core.jobs import registry, repair
from crm_tasks.core.jobs.claim import Claim, finish
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.task import give_back
from tests.core.ledger import execute, in_threads, job, jobs, new, rung, take, update

WORKSPACE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def cancel(job_id: uuid.UUID, **options: Any) -> Job:
    return db.retrying(repair.cancel, job_id, actor="ann", **options)


def retry(job_id: uuid.UUID, **options: Any) -> Job:
    return db.retrying(repair.retry, job_id, actor="ann", **options)


def discard(job_id: uuid.UUID, reason: str = "not needed", **options: Any) -> Job:
    return db.retrying(repair.discard, job_id, actor="ann", reason=reason, **options)


def run_now(job_id: uuid.UUID, **options: Any) -> Job:
    return db.retrying(repair.run_now, job_id, actor="ann", **options)


ACTS: dict[str, Callable[..., Job]] = {"cancel": cancel, "retry": retry, "discard": discard, "run_now": run_now}
ALLOWED = {
    "cancel": {JobState.QUEUED, JobState.RUNNING},
    "retry": {JobState.DEAD},
    "discard": {JobState.DEAD},
    "run_now": {JobState.QUEUED},
}
CODES = {"cancel": "job_over", "retry": "not_dead", "discard": "not_dead", "run_now": "not_queued"}


def done(taken: Claim) -> bool:
    with db.transaction() as session:
        return finish(session, taken)


def dead(**options: Any) -> uuid.UUID:
    job_id = new(**options)
    assert give_back(take(job_id), Permanent("it broke", code="broken")) is JobState.DEAD
    return job_id


def in_state(state: JobState, **options: Any) -> uuid.UUID:
    """Make a job and bring it to a state as the ledger does."""
    if state is JobState.DEAD:
        return dead(**options)
    job_id = new(**options)
    if state in (JobState.RUNNING, JobState.SUCCEEDED):
        taken = take(job_id)
        if state is JobState.SUCCEEDED:
            assert done(taken)
    if state is JobState.CANCELLED:
        cancel(job_id)
    return job_id


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_done_in_its_states_and_refused_in_all_others(empty: None, act: str, state: JobState) -> None:
    job_id = in_state(state)
    if state in ALLOWED[act]:
        ACTS[act](job_id)
        return
    before = [repr(value) for value in execute("SELECT * FROM jobs")[0]]
    with pytest.raises(Conflict, match=state) as refused:
        ACTS[act](job_id)
    assert refused.value.code == CODES[act]
    assert [repr(value) for value in execute("SELECT * FROM jobs")[0]] == before


@pytest.mark.parametrize(("act", "state"), [(act, min(states)) for act, states in ALLOWED.items()])
def test_nobody_reaches_the_jobs_of_another_workspace(empty: None, act: str, state: JobState) -> None:
    job_id = in_state(state, workspace_id=WORKSPACE)
    for wrong, workspace in ((job_id, OTHER), (uuid.UUID(int=9), WORKSPACE)):
        with pytest.raises(NotFound):
            ACTS[act](wrong, workspace_id=workspace)
    assert job(job_id).state is state
    ACTS[act](job_id, workspace_id=WORKSPACE)


def test_a_retried_job_has_all_its_attempts_and_its_whole_history(empty: None) -> None:
    job_id = dead(max_attempts=1)
    update([job_id], "crashes = 2, rings = 4")
    before = job(job_id)
    row = retry(job_id)
    assert (row.state, row.attempt, row.crashes, row.rings, row.revivals) == (JobState.QUEUED, 0, 0, 0, 1)
    assert (row.errors, row.fingerprint, row.claim_no) == (before.errors, before.fingerprint, before.claim_no)
    assert (row.finished_at, row.lease_until, row.max_attempts) == (None, None, 1)
    assert row.run_at <= datetime.now(UTC)
    assert rung()[-1] == str(job_id)
    assert give_back(take(job_id), Permanent("again", code="broken")) is JobState.DEAD
    assert [error["message"] for error in job(job_id).errors] == ["it broke", "again"]


def test_a_discarded_job_says_who_and_why_and_keeps_its_history(empty: None) -> None:
    row = discard(dead(), " number is gone ")
    assert (row.state, row.reason, row.errors[0]["message"]) == (
        JobState.CANCELLED,
        "number is gone (by ann)",
        "it broke",
    )
    with pytest.raises(Invalid, match="reason"):
        discard(dead(), "  ")


def test_a_retry_wakes_one_worker_however_often_it_is_asked_for_at_once(empty: None) -> None:
    job_id = dead()
    answers = in_threads(*[lambda: retry(job_id)] * 6)
    assert sum(isinstance(answer, Job) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 5
    assert job(job_id).revivals == 1


def test_a_delayed_job_brought_forward_is_rung_now(empty: None) -> None:
    job_id = new(run_at=FAR)
    assert rung() == []
    assert run_now(job_id).run_at <= datetime.now(UTC)
    assert rung() == [str(job_id)]
    assert run_now(new(run_at=datetime.now(UTC) - timedelta(hours=1))).run_at < datetime.now(UTC) - timedelta(
        minutes=59
    )


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen in another transaction just after a person's act has looked at the job."""

    def set_up(happens: Callable[[], object]) -> None:
        happened: list[bool] = []

        def follow(*_: Any) -> None:
            if not happened:
                happened.append(True)
                happens()

        monkeypatch.setattr(registry, "follow", follow)

    return set_up


def refused(act: Callable[..., Job], job_id: uuid.UUID) -> bool:
    try:
        act(job_id)
    except DomainError:
        return True
    return False


def test_a_job_that_succeeds_while_it_is_being_cancelled_has_succeeded(
    empty: None, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    taken = take(new())
    meanwhile(lambda: done(taken))
    assert refused(cancel, taken.id)
    assert (job(taken.id).state, job(taken.id).reason) == (JobState.SUCCEEDED, None)


def test_a_job_that_is_retried_while_it_is_being_discarded_runs(
    empty: None, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    job_id = dead()
    meanwhile(lambda: retry(job_id))
    assert refused(discard, job_id)
    assert (job(job_id).state, job(job_id).reason) == (JobState.QUEUED, None)


def test_a_job_that_is_discarded_while_it_is_being_retried_is_gone(
    empty: None, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    job_id = dead()
    meanwhile(lambda: discard(job_id))
    assert refused(retry, job_id)
    assert job(job_id).state is JobState.CANCELLED
    assert rung() == [str(job_id)]  # the ring of its first life


def test_a_domain_row_follows_what_a_person_does_and_never_a_refusal(rows: None) -> None:
    job_id = new("messages.test_followed", args={"row": 1}, max_attempts=1)
    give_back(take(job_id), Permanent("it broke"))
    seen = [execute("SELECT state FROM test_rows")[0][0]]
    for act in (retry, cancel):
        act(job_id)
        seen.append(execute("SELECT state FROM test_rows")[0][0])
    assert seen == ["dead", "queued", "cancelled"]
    with pytest.raises(Conflict):
        retry(job_id)
    assert execute("SELECT state FROM test_rows") == [("cancelled",)]
    assert [row.task for row in jobs()] == ["messages.test_followed"]
