"""`/api/v1/dlq`: count, group, list, show, retry and discard the dead letters; each workspace its own."""

import uuid
from typing import Any

import pytest

from crm_tasks.core.jobs import dead_letters
from crm_tasks.core.jobs.model import JobState
from tests.core.ledger import FAIL, NOTE, job, new, states
from tests.fixtures import Demo
from tests.webapp.api import Api, error, fields
from tests.webapp.dead import dead, die, succeed


def stats(api: Api) -> dict[str, int]:
    answer = api.get("/dlq/stats")
    assert answer.status_code == 200
    return answer.get_json()


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [each["id"] for each in answer.get_json()["data"]]


def test_the_counts_follow_a_dead_letter_through_its_life(operator: Api) -> None:
    assert stats(operator) == {"waiting": 0, "active": 0, "failed": 0, "completed": 0}
    well, again = dead(), dead()
    assert stats(operator) == {"waiting": 2, "active": 0, "failed": 0, "completed": 0}
    assert operator.post("/dlq/retry", {"all": True}).get_json() == {"jobs": 2}
    assert stats(operator) == {"waiting": 0, "active": 2, "failed": 0, "completed": 0}
    succeed(well)
    die(again)
    assert stats(operator) == {"waiting": 1, "active": 0, "failed": 1, "completed": 1}


def test_causes_are_listed_the_most_frequent_first(operator: Api) -> None:
    for n in range(5):
        dead(f"order {n} has no route to 10.0.0.{n}") if n < 3 else dead("no money", NOTE)
    first, second = operator.get("/dlq/groups").get_json()["data"]
    assert (first["jobs"], first["tasks"], first["queues"]) == (3, [FAIL], ["messages"])
    assert (second["jobs"], second["tasks"], second["error"]["message"]) == (2, [NOTE], "no money")
    assert set(first) == {*("fingerprint", "jobs", "tasks", "queues", "first_at", "last_at", "error", "example_id")}
    assert len(ids(operator.get("/dlq", query_string={"fingerprint": first["fingerprint"]}))) == 3


def test_dead_letters_are_listed_by_page_and_condition(operator: Api) -> None:
    new()
    made = [str(dead()) for _ in range(5)]
    note = str(dead(task=NOTE))
    first = operator.get("/dlq", query_string={"limit": 4}).get_json()
    rest = operator.get("/dlq", query_string={"limit": 4, "cursor": first["next"]}).get_json()
    assert [each["id"] for each in first["data"] + rest["data"]] == [note, *made[::-1]]
    assert ids(operator.get("/dlq", query_string={"task": NOTE})) == [note]
    assert ids(operator.get("/dlq", query_string={"queue": "ai"})) == []


def test_one_is_shown_and_what_is_not_dead_is_refused(operator: Api) -> None:
    job_id, waits = dead(), new()
    assert operator.get(f"/dlq/{job_id}").get_json()["id"] == str(job_id)
    for answer in (
        operator.get(f"/dlq/{waits}"),
        operator.post(f"/dlq/{waits}/retry"),
        operator.post(f"/dlq/{waits}/discard", {"reason": "r"}),
    ):
        assert (answer.status_code, error(answer)["code"]) == (409, "not_dead")
        assert "queued" in error(answer)["message"]
    assert operator.get(f"/dlq/{uuid.uuid4()}").status_code == 404


def test_one_is_retried_or_discarded(operator: Api) -> None:
    first, second = dead(), dead()
    assert operator.post(f"/dlq/{first}/retry").get_json()["state"] == "queued"
    gone = operator.post(f"/dlq/{second}/discard", {"reason": "nobody wants it"}).get_json()
    assert (gone["state"], gone["reason"].startswith("nobody wants it (by key:")) == ("cancelled", True)
    assert stats(operator)["waiting"] == 0


@pytest.mark.parametrize("condition", ["ids", "fingerprint", "task", "queue", "all"])
@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_many_are_acted_on_by_condition_and_others_are_not(operator: Api, condition: str, verb: str) -> None:
    meant = [dead("no route") for _ in range(3)]
    others = [] if condition == "all" else [dead("no money", "notifications.test_nap", args={"seconds": 0})]
    value = {
        "ids": [str(each) for each in meant],
        "fingerprint": job(meant[0]).fingerprint,
        "task": FAIL,
        "queue": "messages",
        "all": True,
    }[condition]
    body = {condition: value} | ({"reason": "r"} if verb == "discard" else {})
    assert operator.post(f"/dlq/{verb}", body).get_json() == {"jobs": 3}
    assert states(meant) == {JobState.QUEUED if verb == "retry" else JobState.CANCELLED: 3}
    assert states(others) == ({JobState.DEAD: 1} if others else {})


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_nobody_acts_on_everything_by_leaving_conditions_out(operator: Api, verb: str) -> None:
    job_id = dead()
    refused = operator.post(f"/dlq/{verb}", {"reason": "r"} if verb == "discard" else {})
    assert refused.status_code == 422
    assert error(refused)["hint"] == "Give ids, fingerprint, task or queue, or all: true."
    assert job(job_id).state is JobState.DEAD


@pytest.mark.parametrize("path", ["/dlq/discard", "/dlq/JOB/discard"])
def test_discarding_needs_a_reason(operator: Api, path: str) -> None:
    job_id = dead()
    missing = operator.post(path.replace("JOB", str(job_id)), {"all": True} if path == "/dlq/discard" else {})
    assert fields(missing) == {"reason": "Say why it will never run."}
    blank = {"reason": " "} | ({"all": True} if path == "/dlq/discard" else {})
    answer = operator.post(path.replace("JOB", str(job_id)), blank)
    assert (answer.status_code, error(answer)["code"]) == (422, "reason_missing")
    assert job(job_id).state is JobState.DEAD


def test_what_dies_again_at_once_does_not_keep_a_retry_busy_for_ever(
    operator: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is as quick as the request: each retried job is dead again before the next batch is read."""
    made = [dead() for _ in range(5)]
    original, rounds = dead_letters.retry_batch, 0

    def retry_batch(session: Any, which: Any, **options: Any) -> list[uuid.UUID]:
        nonlocal rounds
        rounds += 1
        assert rounds < 10, "it never ends"
        for job_id in made:
            if job(job_id).state is JobState.QUEUED:
                die(job_id)
        return original(session, which, **options)

    monkeypatch.setattr(dead_letters, "retry_batch", retry_batch)
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    assert operator.post("/dlq/retry", {"all": True}).get_json() == {"jobs": 5}
    assert {job(job_id).revivals for job_id in made} == {1}


def test_a_workspace_sees_and_acts_on_its_own_only(demo: Demo, other: Demo, api: Api, operator: Api) -> None:
    mine, theirs = dead(workspace_id=demo.workspace_id), dead(workspace_id=other.workspace_id)
    assert stats(api)["waiting"] == 1
    assert ids(api.get("/dlq")) == [str(mine)]
    assert [each["jobs"] for each in api.get("/dlq/groups").get_json()["data"]] == [1]
    assert api.get(f"/dlq/{theirs}").status_code == 404
    assert api.post(f"/dlq/{theirs}/retry").status_code == 404
    assert api.post(f"/dlq/{theirs}/discard", {"reason": "r"}).status_code == 404
    assert api.post("/dlq/discard", {"ids": [str(theirs)], "reason": "r"}).get_json() == {"jobs": 0}
    assert api.post("/dlq/retry", {"all": True}).get_json() == {"jobs": 1}
    assert job(theirs).state is JobState.DEAD
    assert stats(operator) == {"waiting": 1, "active": 1, "failed": 0, "completed": 0}


# --- at a rate, with other arguments -----------------------------------------------------------------------------


def test_many_go_back_at_a_chosen_rate(operator: Api) -> None:
    made = [dead() for _ in range(4)]
    assert operator.post("/dlq/retry", {"all": True, "per_minute": 30}).get_json() == {"jobs": 4}
    first, *rest = [job(each) for each in made]
    assert first.rung_at is not None
    assert [each.rung_at for each in rest] == [None] * 3
    waits = [round((each.run_at - first.run_at).total_seconds()) for each in rest]
    assert waits == [2, 4, 6]
    explained = operator.get(f"/jobs/{rest[2].id}/explain").get_json()
    assert explained["reasons"][0]["gate"] == "rate"


@pytest.mark.parametrize("wrong", [0, -1, 60_001, "many", 1.5])
def test_a_rate_that_is_none_is_refused(operator: Api, wrong: object) -> None:
    made = dead()
    assert operator.post("/dlq/retry", {"all": True, "per_minute": wrong}).status_code == 422
    assert job(made).state is JobState.DEAD


def test_arguments_are_changed_where_the_task_allows_it(operator: Api) -> None:
    made = dead(args={"kind": "permanent", "message": "old"})
    answer = operator.patch(f"/dlq/{made}", {"args": {"message": "new"}})
    assert (answer.status_code, answer.get_json()["state"]) == (200, "dead")
    assert job(made).args == {"kind": "permanent", "message": "new"}
    for changes in ({"code": "x"}, {"nonsense": 1}, {"message": 3}, {"message": None}, {"message": "x" * 300}):
        assert operator.patch(f"/dlq/{made}", {"args": changes}).status_code == 422, changes
    assert operator.patch(f"/dlq/{made}", {"args": {}}).status_code == 422
    assert operator.patch(f"/dlq/{dead(task=NOTE)}", {"args": {"text": "y"}}).status_code == 422
    assert operator.patch(f"/dlq/{new()}", {"args": {"path": "y"}}).status_code == 409
    assert operator.patch(f"/dlq/{uuid.uuid4()}", {"args": {"message": "y"}}).status_code == 404
    assert job(made).args == {"kind": "permanent", "message": "new"}


def test_another_workspace_changes_nothing(api: Api, other: Demo) -> None:
    theirs = dead(args={"message": "old"}, workspace_id=other.workspace_id)
    assert api.patch(f"/dlq/{theirs}", {"args": {"message": "new"}}).status_code == 404
    assert job(theirs).args == {"message": "old"}
