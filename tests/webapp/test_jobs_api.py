"""`/api/v1/jobs`: list, look, cancel, retry, run now; each workspace its own, operators all."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from tests.core.ledger import FAIL, NOTE, job, new, rung, take
from tests.fixtures import Demo
from tests.webapp.api import Api, error
from tests.webapp.dead import dead, die, succeed

FIELDS = {
    *("id", "task", "queue", "args", "workspace_id", "scopes", "priority", "state", "attempt", "max_attempts"),
    *("crashes", "run_at", "held_by", "worker", "created_at", "started_at", "finished_at", "parent_id", "trace_id"),
    *("progress", "result", "errors", "fingerprint", "revivals", "reason"),
}


def later(**more: object) -> uuid.UUID:
    """Make a job of tomorrow."""
    with db.transaction() as session:
        tomorrow = session.scalar(sa.select(db.now() + timedelta(days=1)))
    return new(run_at=tomorrow, **more)


def listed(api: Api, **query: object) -> list[str]:
    answer = api.get("/jobs", query_string=query)
    assert answer.status_code == 200
    return [each["id"] for each in answer.get_json()["data"]]


def test_a_job_is_shown_whole(demo: Demo, api: Api) -> None:
    job_id = new(workspace_id=demo.workspace_id, scopes=["channel:x"], priority=2)
    take(job_id)
    shown = api.get(f"/jobs/{job_id}").get_json()
    assert set(shown) == FIELDS
    assert (shown["id"], shown["task"], shown["queue"], shown["state"]) == (str(job_id), NOTE, "messages", "running")
    assert (shown["worker"], shown["priority"], shown["scopes"]) == ("a worker", 2, ["channel:x"])


def test_a_dead_job_shows_the_error_of_each_attempt(demo: Demo, api: Api) -> None:
    shown = api.get(f"/jobs/{dead('no route', workspace_id=demo.workspace_id)}").get_json()
    (attempt,) = shown["errors"]
    assert (shown["state"], shown["attempt"]) == ("dead", 1)
    assert (attempt["class"], attempt["message"], attempt["code"]) == ("Permanent", "no route", "test")


def test_jobs_are_listed_the_newest_first_and_paged(demo: Demo, api: Api) -> None:
    made = [str(new(workspace_id=demo.workspace_id)) for _ in range(7)]
    assert listed(api) == made[::-1]
    first = api.get("/jobs", query_string={"limit": 4}).get_json()
    new(workspace_id=demo.workspace_id)
    second = api.get("/jobs", query_string={"limit": 4, "cursor": first["next"]}).get_json()
    assert [each["id"] for each in first["data"] + second["data"]] == made[::-1]
    assert second["next"] is None


def test_jobs_are_found_by_state_queue_and_task(operator: Api) -> None:
    waits, ran, failed = new(), new(), dead()
    naps = new("notifications.test_nap", args={"seconds": 0})
    succeed(ran)
    assert listed(operator, state="queued") == [str(naps), str(waits)]
    assert listed(operator, state="succeeded") == [str(ran)]
    assert listed(operator, state="dead", task=FAIL) == [str(failed)]
    assert listed(operator, queue="notifications") == [str(naps)]
    assert listed(operator, queue="send-sms-queue", state="dead") == [str(failed)]  # an older name of `messages`


def test_an_unknown_queue_is_answered_with_those_there_are(operator: Api) -> None:
    refused = operator.get("/jobs", query_string={"queue": "mesages"})
    assert (refused.status_code, error(refused)["code"]) == (422, "unknown_queue")
    assert "Did you mean 'messages'?" in error(refused)["message"]


def test_a_workspace_sees_and_touches_its_own_jobs_only(demo: Demo, other: Demo, api: Api, operator: Api) -> None:
    mine, theirs, nobodys = new(workspace_id=demo.workspace_id), new(workspace_id=other.workspace_id), new()
    assert listed(api) == [str(mine)]
    assert set(listed(operator)) == {str(mine), str(theirs), str(nobodys)}
    for job_id in (theirs, nobodys, uuid.uuid4()):
        for answer in (
            api.get(f"/jobs/{job_id}"),
            api.post(f"/jobs/{job_id}/cancel", {}),
            api.post(f"/jobs/{job_id}/retry"),
            api.post(f"/jobs/{job_id}/run-now"),
        ):
            assert (answer.status_code, error(answer)["code"]) == (404, "not_found")
    assert {job(theirs).state, job(nobodys).state} == {JobState.QUEUED}


@pytest.mark.parametrize("body", [None, {}, {"reason": "a mistake"}])
def test_a_waiting_job_can_be_cancelled(operator: Api, body: dict | None) -> None:
    job_id = later()
    shown = operator.post(f"/jobs/{job_id}/cancel", body)
    assert (shown.status_code, shown.get_json()["state"]) == (200, "cancelled")
    assert shown.get_json()["reason"].startswith("a mistake (by key:" if body else "cancelled (by key:")
    again = operator.post(f"/jobs/{job_id}/cancel", body)
    assert (again.status_code, error(again)["code"]) == (409, "job_over")


def test_only_the_dead_can_be_retried(operator: Api) -> None:
    waits, ran = new(), new()
    succeed(ran)
    for job_id in (waits, ran):
        refused = operator.post(f"/jobs/{job_id}/retry")
        assert (refused.status_code, error(refused)["code"]) == (409, "not_dead")
        assert job(job_id).state in error(refused)["message"]


def test_a_retried_job_is_queued_and_rung_with_its_history(operator: Api) -> None:
    job_id = dead("no route")
    shown = operator.post(f"/jobs/{job_id}/retry")
    assert shown.status_code == 200
    assert (shown.get_json()["state"], shown.get_json()["attempt"], shown.get_json()["revivals"]) == ("queued", 0, 1)
    assert len(shown.get_json()["errors"]) == 1
    assert str(job_id) in rung()
    assert operator.post(f"/jobs/{job_id}/retry").status_code == 409


def test_a_delayed_job_can_be_brought_forward(operator: Api) -> None:
    job_id = later()
    assert str(job_id) not in rung()
    assert operator.post(f"/jobs/{job_id}/run-now").status_code == 200
    assert str(job_id) in rung()
    die(job_id)
    refused = operator.post(f"/jobs/{job_id}/run-now")
    assert (refused.status_code, error(refused)["code"]) == (409, "not_queued")
