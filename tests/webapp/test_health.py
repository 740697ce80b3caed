"""For machines: `/health`, `/live`, `/metrics` and `/api/v1/queues/…`, from the ledger and its roll-ups."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from crm_tasks.core import db, rollup
from crm_tasks.core.jobs.model import JobMinute
from crm_tasks.core.queues import Queue
from tests import harness
from tests.core.ledger import execute, new, stopped, take, valkey_pid
from tests.fixtures import Demo
from tests.harness import Program, eventually, free_ports
from tests.messages.apply import wrote
from tests.outside import Site
from tests.webapp.api import Api, error
from tests.webapp.dead import dead, succeed
from tests.wire import Wire


def tick() -> None:
    """Leave the mark that a scheduler leaves every second."""
    execute(
        "INSERT INTO watermarks (name, at) VALUES ('scheduler', clock_timestamp()) "
        "ON CONFLICT (name) DO UPDATE SET at = excluded.at"
    )


# --- /live and /health -------------------------------------------------------------------------------------------


def test_live_asks_nobody(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(db, "engine", lambda: pytest.fail("it asked Postgres"))
        answer = client.get("/live")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "ok")


def test_health_is_ok_with_all_there_is_to_know(client: FlaskClient) -> None:
    tick()
    dead()
    new()
    answer = client.get("/health")
    found = answer.get_json()
    assert (answer.status_code, found["status"], found["environment"]) == (200, "ok", "test")
    assert found["redis"] == {"connected": True}
    assert found["postgres"]["connected"]
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None
    assert found["uptime"] >= 0
    assert found["queues"]["messages"] == {"waiting": 1, "active": 0, "failed": 1, "delayed": 0}
    assert set(found["queues"]) == set(map(str, Queue))
    assert found["scheduler"]["late"] is False


def test_without_a_scheduler_work_is_accepted_and_waits(client: FlaskClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")
    assert answer.get_json()["scheduler"] == {"age": None, "late": True}
    tick()
    execute("UPDATE watermarks SET at = at - interval '1 minute' WHERE name = 'scheduler'")
    assert client.get("/health").get_json()["status"] == "degraded"


def test_with_redis_hanging_work_is_accepted(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp import health

    tick()
    monkeypatch.setattr(health.manager(), "ping", lambda *_: False)
    answer = client.get("/health")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")
    assert answer.get_json()["redis"] == {"connected": False}


def test_tables_of_another_version_accept_no_work(client: FlaskClient) -> None:
    ((version,),) = execute("SELECT version_num FROM alembic_version")
    execute("UPDATE alembic_version SET version_num = 'older'")
    try:
        answer = client.get("/health")
        assert (answer.status_code, answer.get_json()["status"]) == (503, "unavailable")
        assert "crm migrate" in answer.get_json()["postgres"]["problem"]
    finally:
        execute("UPDATE alembic_version SET version_num = :version", version=version)


@pytest.fixture
def behind(stores: None, tmp_path: Path, empty: None) -> Any:
    """A web app whose way to Postgres can be cut, with the wire."""
    wire = Wire(int(re.search(r":(\d+)/", db.psycopg_url())[1]))  # type: ignore[index]
    (port,) = free_ports(1)
    url = re.sub(r":\d+/", f":{wire.port}/", db.psycopg_url())
    program: Program = harness.web(tmp_path, port, DATABASE_URL=url, LOG_LEVEL="INFO")
    site = Site(program, port)
    site.start("/live")
    yield site, wire
    program.stop()
    wire.close()


def test_with_postgres_away_no_work_is_accepted_and_with_it_back_it_is(behind: tuple[Site, Wire], demo: Demo) -> None:
    site, wire = behind
    with db.transaction() as session:
        wrote(session, demo, "+15550001111")
    new_message = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "text", "text": {"body": "x"}}
    headers = {"Authorization": f"Bearer {demo.api_key}"}

    def post() -> Any:
        return site.http.post(f"{site.url}/api/v1/messages", json=new_message, headers=headers, timeout=60)

    eventually(lambda: site.http.get(f"{site.url}/health", timeout=60).status_code == 200, "health", 60)
    assert post().status_code == 202
    wire.cut()
    health = site.http.get(f"{site.url}/health", timeout=60)
    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    assert health.json()["postgres"]["connected"] is False
    assert health.json()["postgres"]["problem"]
    assert "password" not in health.text and "of-the-tests" not in health.text
    refused = post()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_away")
    assert refused.headers["Retry-After"]
    assert site.http.get(f"{site.url}/metrics", timeout=60).status_code == 503
    assert site.http.get(f"{site.url}/live", timeout=60).status_code == 200
    wire.mend()
    eventually(lambda: site.http.get(f"{site.url}/health", timeout=60).status_code == 200, "health again", 60)
    assert post().status_code == 202

    # Asked every few seconds, these would hide every other line.
    lines = [line for line in site.program.said().splitlines() if "http.request" in line]
    assert any("/api/v1/messages" in line for line in lines)
    assert not [line for line in lines if "/health" in line or "/live" in line or "/metrics" in line]


def test_with_valkey_stopped_health_answers_all_the_same(client: FlaskClient) -> None:
    tick()
    with stopped(valkey_pid()):
        answer = client.get("/health")
    assert (answer.status_code, answer.get_json()["redis"]) == (200, {"connected": False})


def test_a_database_that_refuses_is_a_503_in_the_shape_of_the_api(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp.api import jobs

    def away(*_: Any) -> Any:
        raise OperationalError(
            "SELECT", {}, psycopg.OperationalError("connection refused"), connection_invalidated=True
        )

    monkeypatch.setattr(jobs, "transaction", away)
    answer = api.get("/jobs")
    assert (answer.status_code, error(answer)["code"]) == (503, "database_away")
    assert answer.headers["Retry-After"] == "2"


# --- /api/v1/queues ----------------------------------------------------------------------------------------------


def test_queues_health_has_the_shape_that_monitoring_knows(operator: Api) -> None:
    tick()
    execute("INSERT INTO holds (id, scope, reason, actor) VALUES (gen_random_uuid(), 'queue:email', 'r', 'test')")
    new()
    take(new())
    succeed(new())
    dead()
    found = operator.get("/queues/health").get_json()
    assert (found["success"], found["status"], found["redis"]) == (True, "ok", {"connected": True})
    by_name = {queue["name"]: queue for queue in found["queues"]}
    assert set(by_name) == set(map(str, Queue))
    messages = by_name["messages"]
    counts = {"waiting": 1, "active": 1, "completed": 1, "failed": 1, "delayed": 0}
    assert {name: messages[name] for name in counts} == counts
    assert found["totals"] == counts
    assert (messages["isPaused"], by_name["email"]["isPaused"]) == (False, True)
    assert messages["oldestAge"] >= 0
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None


def test_metrics_measure_the_last_minutes(operator: Api) -> None:
    for _ in range(4):
        succeed(new())
    dead()
    found = operator.get("/queues/metrics", query_string={"minutes": 5}).get_json()
    (messages,) = [queue for queue in found["queues"] if queue["name"] == "messages"]
    assert (messages["finished"], messages["failed"], messages["perMinute"]) == (5, 1, 1.0)
    assert 0 <= messages["run"]["p50"] <= messages["run"]["p95"]
    assert 0 <= messages["wait"]["p50"] <= messages["wait"]["p95"]
    (idle,) = [queue for queue in found["queues"] if queue["name"] == "exports"]
    assert (idle["finished"], idle["run"], idle["oldestAge"]) == (0, {"p50": None, "p95": None}, None)


def test_statistics_total_by_state_queue_and_day(operator: Api) -> None:
    succeed(new())
    dead()
    today = datetime.now(UTC).date().isoformat()
    found = operator.get("/queues/statistics", query_string={"days": 1}).get_json()
    assert found["totals"] == {"succeeded": 1, "dead": 1, "cancelled": 0}
    (day,) = found["days"]
    assert (day["queue"], day["succeeded"], day["dead"], day["cancelled"]) == ("messages", 1, 1, 0)
    assert day["day"] == today


def test_figures_stay_when_minutes_are_rolled_up_and_jobs_are_gone(operator: Api, clock: Callable[[str], None]) -> None:
    clock("now() - interval '2 hours'")
    for _ in range(3):
        succeed(new())
    dead()

    def figures() -> Any:
        statistics = operator.get("/queues/statistics").get_json()["totals"]
        health = operator.get("/queues/health").get_json()["totals"]["completed"]
        finished = [q["finished"] for q in operator.get("/queues/metrics?minutes=1440").get_json()["queues"]]
        return statistics, health, sum(finished)

    assert figures() == ({"succeeded": 3, "dead": 1, "cancelled": 0}, 3, 4)
    clock("now()")
    while db.retrying(rollup.roll_up):
        pass
    assert sum(minute.jobs for minute in rows_of_minutes()) == 4
    assert figures() == ({"succeeded": 3, "dead": 1, "cancelled": 0}, 3, 4)
    execute("DELETE FROM jobs")
    assert figures() == ({"succeeded": 3, "dead": 1, "cancelled": 0}, 3, 4)


def rows_of_minutes() -> list[JobMinute]:
    with db.transaction() as session:
        return list(session.scalars(sa.select(JobMinute)))


def test_figures_need_a_key(client: FlaskClient, demo: Demo) -> None:
    for path in ("health", "metrics", "statistics"):
        assert client.get(f"/api/v1/queues/{path}").status_code == 401


# --- /metrics ----------------------------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads(client: FlaskClient) -> None:
    tick()
    new()
    succeed(new())
    dead()
    execute(
        "INSERT INTO processes (id, kind, name, host, pid, queues, tasks, version, counters, seen_at) VALUES "
        "(gen_random_uuid(), 'worker', 'w@a:1', 'a', 1, '{}', '{}', '0', '{\"sends_accepted\": 7}', now())"
    )
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.get_data(as_text=True))}
    jobs = {(s.labels["queue"], s.labels["state"]): s.value for s in families["crm_jobs"].samples}
    assert (jobs["messages", "waiting"], jobs["messages", "failed"], jobs["messages", "active"]) == (1, 1, 0)
    done = {s.labels["queue"]: s.value for s in families["crm_jobs_completed"].samples}
    assert done["messages"] == 1
    sent = [(s.labels["process"], s.value) for s in families["crm_sends_accepted"].samples]
    assert sent == [("w@a:1", 7)]
    assert families["crm_processes"].samples[0].labels == {"kind": "worker"}
    assert 0 <= families["crm_scheduler_age_seconds"].samples[0].value < 60
    assert all(family.documentation for family in families.values())
