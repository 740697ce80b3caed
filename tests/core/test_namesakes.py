"""A worker started again gives back what its dead predecessor ran, and nothing else."""

import os
import subprocess
import uuid

import pytest

from crm_tasks.core import sweep
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.namesakes import forsake
from crm_tasks.core.pulse import machine
from tests.core.ledger import execute, job, new, take

NODE, BEFORE, AFTER = "w@here", "w@here:aaaaaa", "w@here:bbbbbb"


def dead_pid() -> int:
    """Return the pid of a process that was."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def running(name: str, *, pid: int, on: str | None = None, seen: str = "now()") -> uuid.UUID:
    """Return a job that a process of this name runs."""
    execute(
        "INSERT INTO processes (id, kind, name, host, machine, pid, queues, tasks, counters, seen_at) "
        f"VALUES (gen_random_uuid(), 'worker', :name, 'here', :machine, :pid, '{{}}', '{{}}', '{{}}', {seen})",
        name=name,
        machine=on or machine(),
        pid=pid,
    )
    job_id = new()
    take(job_id, name)
    return job_id


def test_what_a_dead_predecessor_ran_comes_back_at_once(empty: None) -> None:
    job_id = running(BEFORE, pid=dead_pid())
    assert sweep.expire_leases() == 0
    assert forsake(NODE, AFTER) == 1
    assert sweep.expire_leases() == 1
    assert (job(job_id).state, job(job_id).crashes, job(job_id).attempt) == (JobState.QUEUED, 1, 0)


def test_my_own_pid_was_my_predecessors(empty: None) -> None:
    running(BEFORE, pid=os.getpid())
    assert forsake(NODE, AFTER) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (BEFORE, {"pid": os.getppid()}),
        (AFTER, {}),
        ("w@here2:aaaaaa", {}),
        (BEFORE, {"on": "another boot"}),
        (BEFORE, {"seen": "now() - interval '1 day'"}),
    ],
    ids=["it lives", "it is I", "another node", "another machine", "long ago"],
)
def test_whose_lease_is_left_alone(empty: None, name: str, options: dict) -> None:
    job_id = running(name, **{"pid": dead_pid(), **options})
    assert forsake(NODE, AFTER) == 0
    assert job(job_id).state is JobState.RUNNING
