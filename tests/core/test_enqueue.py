"""The way into the ledger: what is accepted, what is refused and with which words."""

import uuid
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import BadArguments, Invalid, UnknownQueue, UnknownTask
from crm_tasks.core.jobs.enqueue import NewJob, enqueue, enqueue_many
from crm_tasks.core.jobs.model import Job
from tests.core.ledger import NAP, NOTE


@pytest.mark.parametrize(
    ("task", "args", "refusal", "words"),
    [
        ("messages.test_mote", {}, UnknownTask, "There is no task 'messages.test_mote'. Did you mean 'messages.test_n"),
        ("nowhere.send", {}, UnknownQueue, "There is no queue 'nowhere'"),
        (NOTE, {}, BadArguments, "missing a required argument: 'path'"),
        (NOTE, {"path": "x", "colour": 1}, BadArguments, "unexpected keyword argument 'colour'"),
        (NOTE, {"path": {"a": 1}}, BadArguments, "'path' must be an id"),
        (NOTE, {"path": ["x", {"a": 1}]}, BadArguments, "not dict"),
        (NOTE, {"path": b"x"}, BadArguments, "not bytes"),
        (NOTE, {"path": "x" * 256}, BadArguments, "Store the data in a row and pass its id."),
        (NOTE, {"path": ["x" * 256]}, BadArguments, "Store the data in a row and pass its id."),
        (NOTE, {"path": "nul\x00"}, BadArguments, "'path'"),
        (NOTE, {"path": "half \ud83d"}, BadArguments, "'path'"),
        (NAP, {"seconds": 2**63}, BadArguments, "'seconds'"),
        (NAP, {"seconds": float("nan")}, BadArguments, "'seconds'"),
    ],
)
def test_a_wrong_name_or_argument_is_refused_at_the_call(
    session: Session, task: str, args: dict, refusal: type[Invalid], words: str
) -> None:
    with pytest.raises(refusal) as refused:
        enqueue(session, task, args=args)
    assert words in refused.value.message
    assert nothing_happened(session)


@pytest.mark.parametrize("priority", [0, 11, -1])
def test_a_priority_that_there_is_not_is_refused_at_the_call(session: Session, priority: int) -> None:
    with pytest.raises(Invalid, match=r"priority is 1 \(first\) to 10 \(last\)") as refused:
        enqueue(session, NOTE, args={"path": "x"}, priority=priority)
    assert refused.value.code == "bad_priority"
    assert nothing_happened(session)


def test_a_moment_without_a_time_zone_is_refused_at_the_call(session: Session) -> None:
    with pytest.raises(Invalid, match="run_at needs a time zone") as refused:
        enqueue(session, NOTE, args={"path": "x"}, run_at=datetime(2030, 1, 1))
    assert refused.value.code == "bad_run_at"
    assert nothing_happened(session)


def test_one_bad_job_among_many_refuses_them_all(session: Session) -> None:
    with pytest.raises(BadArguments):
        enqueue_many(session, [NewJob(task=NOTE, args={"path": "x"}), NewJob(task=NOTE, args={})])
    assert nothing_happened(session)


def test_arguments_are_kept_as_ids_numbers_and_truth_values(session: Session) -> None:
    wanted = uuid.uuid4()
    job_id = enqueue(session, NOTE, args={"path": [wanted, 1, 1.5, True, None, (1, 2)], "text": wanted})
    assert session.get_one(Job, job_id).args == {"path": [str(wanted), 1, 1.5, True, None, [1, 2]], "text": str(wanted)}


def test_ids_come_back_in_the_order_of_the_call(session: Session) -> None:
    wanted = [str(number) for number in range(500)]
    ids = enqueue_many(session, [NewJob(task=NOTE, args={"path": text}) for text in wanted])
    rows = dict(session.execute(sa.select(Job.id, Job.args["path"].astext)).all())
    assert [rows[job_id] for job_id in ids] == wanted
    assert ids == sorted(ids)


def test_no_jobs_are_no_statement(session: Session) -> None:
    assert enqueue_many(session, []) == []


def nothing_happened(session: Session) -> bool:
    """The transaction goes on, without a row and without a ring."""
    return session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0 and "rings" not in session.info


def test_the_counter_of_accepted_jobs_counts_rows(empty: None) -> None:
    from tests.core.ledger import counted, many

    before = counted("enqueued")
    many(3)
    with db.transaction() as session:
        enqueue_many(session, [NewJob(task=NOTE, args={"path": "x"}, unique_key="k") for _ in range(2)])
    assert counted("enqueued") - before == 4
