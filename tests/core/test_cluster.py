"""pytest-celery's cluster with local processes for nodes: work goes through it, and from a killed node to another."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)

from crm_tasks.celery import app
from crm_tasks.core.jobs.model import JobState
from tests import tasks
from tests.core.conftest import Start
from tests.core.ledger import QUICK, job, lines, new, states, until, update
from tests.core.nodes import LocalBroker, LocalWorker
from tests.harness import beat, eventually

NODES = ("first", "second")


@pytest.fixture
def celery_broker_cluster(empty: None) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(LocalBroker()))


@pytest.fixture
def celery_backend_cluster() -> None:
    """Results are in the ledger."""


@pytest.fixture
def celery_setup_app() -> Celery:
    """The app of this project, which knows its broker from the environment."""
    return app


@pytest.fixture
def node_options() -> dict[str, Any]:
    return {}


@pytest.fixture
def celery_worker_cluster(
    celery_broker_cluster: CeleryBrokerCluster, tmp_path: Path, node_options: dict[str, Any]
) -> Iterator[CeleryWorkerCluster]:
    nodes = [LocalWorker(tmp_path, name, "messages", "imports", **node_options) for name in NODES]
    cluster = CeleryWorkerCluster(*[CeleryTestWorker(node, app) for node in nodes])
    try:
        cluster.ready()
        yield cluster
    finally:
        for node in nodes:
            node.teardown()


def node_of(cluster: CeleryWorkerCluster, worker: str | None) -> CeleryTestWorker:
    """Return the node that a job's row names."""
    return next(node for node in cluster if (worker or "").startswith(node.hostname()))


def test_a_task_runs_on_a_node_of_the_cluster_by_way_of_the_ledger(
    celery_setup: CeleryTestSetup, tmp_path: Path
) -> None:
    assert celery_setup.ready(ping=False, control=True, docker=False)
    result = tasks.note.delay(path=str(tmp_path / "noted"))
    assert result.get(timeout=20) == {"wrote": "x"}
    row = job(uuid.UUID(result.id))
    assert (row.state, row.claim_no) == (JobState.SUCCEEDED, 1)
    node_of(celery_setup.worker_cluster, row.worker).assert_log_exists("job.succeeded")
    for node in celery_setup.worker_cluster:
        node.assert_log_does_not_exist("Traceback", timeout=0)
    assert lines(tmp_path / "noted") == ["x"]


def test_all_nodes_of_the_cluster_answer_and_share_the_work(celery_setup: CeleryTestSetup) -> None:
    answers = eventually(lambda: a if len(a := celery_setup.app.control.ping(timeout=1)) == len(NODES) else None)
    assert {name for answer in answers for name in answer} == {node.hostname() for node in celery_setup.worker_cluster}
    ids = [new("messages.test_nap", args={"seconds": 0.3}) for _ in range(32)]
    eventually(lambda: states(ids) == {"succeeded": 32}, timeout=30)
    assert {(job(each).worker or "").partition("@")[0] for each in ids} == set(NODES)


@pytest.mark.parametrize(
    ("node_options", "queue"),
    [(QUICK, "messages"), ({**QUICK, "pool": "prefork", "concurrency": 1}, "imports")],
    ids=["threads", "prefork"],
)
def test_what_a_killed_node_ran_is_taken_over_by_another(
    celery_setup: CeleryTestSetup, start: Start, tmp_path: Path, queue: str
) -> None:
    start(beat(tmp_path, **QUICK))
    once = tmp_path / "once"
    if queue == "messages":
        job_id = new("messages.test_nap_once", args={"seconds": 60, "path": str(once)})
    else:
        job_id = new("imports.test_nap", args={"seconds": 60, "path": str(once)})
    eventually(lambda: lines(once), "it runs", 30)
    killed = node_of(celery_setup.worker_cluster, job(job_id).worker)
    killed.kill()
    assert killed.container.status == "exited"
    row = eventually(lambda: r if (r := job(job_id)).crashes == 1 else None, "its lease runs out", 60)
    assert row.attempt == 0
    update([job_id], "run_at = crm_now()")
    eventually(lambda: len(lines(once)) == 2, "another takes it over", 60)
    row = job(job_id)
    assert (row.claim_no, row.crashes, row.attempt) == (2, 1, 0)
    assert node_of(celery_setup.worker_cluster, row.worker) is not killed
    if queue == "messages":
        until(job_id, JobState.SUCCEEDED)
    # The killed one comes back and takes work again.
    killed.restart()
    killed.assert_log_exists("worker.started")
