"""The way into the ledger."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import BadArguments, UnknownTask
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import Job, JobState
from tests.harness import Program, eventually


def test_a_job_runs(running: tuple[Program, Program], tmp_path: Path) -> None:
    from tests.tasks import note

    job_id = db.retrying(enqueue, "messages.test_note", args={"path": str(tmp_path / "noted")})
    eventually(lambda: (tmp_path / "noted").exists())
    eventually(lambda: state_of(job_id) is JobState.SUCCEEDED)
    result = note.delay(str(tmp_path / "noted"), text="again")
    assert result.get(timeout=10) == {"wrote": "again"}


def state_of(job_id: object) -> JobState:
    with db.transaction() as session:
        return session.get_one(Job, job_id).state


def test_a_rolled_back_transaction_leaves_no_job_and_rings_nobody(empty: None) -> None:
    with pytest.raises(RuntimeError), db.transaction() as session:
        enqueue(session, "analytics.clean_up", args={})
        raise RuntimeError
    assert ring.flush()
    assert ring.broker_length("analytics") == 0
    with db.transaction() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0
