"""`/api/v1/holds`: place, list, release; a workspace may stop itself and its channels, nothing that others share."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.core.ledger import execute, job, new
from tests.fixtures import Demo
from tests.webapp.api import Api, error, fields

FIELDS = {
    *("id", "scope", "reason", "actor", "workspace_id", "created_at", "expires_at", "released_at", "released_by"),
    "held_jobs",
}


def place(api: Api, scope: str = "all", **more: object) -> dict:
    answer = api.post("/holds", {"scope": scope, "reason": "an incident", **more})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return answer.get_json()


def scopes(api: Api, **query: object) -> list[str]:
    return [each["scope"] for each in api.get("/holds", query_string=query).get_json()["data"]]


def test_a_hold_is_placed_listed_with_what_waits_behind_it_and_released(operator: Api) -> None:
    hold = place(operator, "queue:messages")
    assert set(hold) == FIELDS
    assert (hold["reason"], hold["actor"][:8], hold["released_at"]) == ("an incident", "key:crm_", None)
    job_id = new()
    assert job(job_id).held_by == hold["id"]
    (shown,) = operator.get("/holds").get_json()["data"]
    assert (shown["id"], shown["held_jobs"]) == (hold["id"], 1)

    ended = operator.delete(f"/holds/{hold['id']}")
    assert (ended.status_code, ended.get_json()["released_by"]) == (200, hold["actor"])
    assert (scopes(operator), scopes(operator, ended=True)) == ([], ["queue:messages"])
    again = operator.delete(f"/holds/{hold['id']}")
    assert (again.status_code, error(again)["code"]) == (409, "already_released")


def test_a_hold_may_end_by_itself_but_not_in_the_past(operator: Api) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert datetime.fromisoformat(place(operator, expires_at=soon.isoformat())["expires_at"]) == soon
    past = operator.post("/holds", {"scope": "all", "reason": "r", "expires_at": "2020-01-01T00:00:00Z"})
    assert (past.status_code, error(past)["code"]) == (422, "bad_expiry")
    naive = operator.post("/holds", {"scope": "all", "reason": "r", "expires_at": "2099-01-01T00:00:00"})
    assert list(fields(naive)) == ["expires_at"]


@pytest.mark.parametrize("scope", ["", "everything", "queue:", "queue:nowhere", "planet:earth", "all:x"])
def test_what_is_no_scope_is_refused_with_what_there_is(operator: Api, scope: str) -> None:
    refused = operator.post("/holds", {"scope": scope, "reason": "r"})
    assert refused.status_code == 422
    assert error(refused)["code"] in ("bad_scope", "unknown_queue")
    assert "queue" in str(error(refused))


def test_an_older_name_of_a_queue_holds_the_queue(operator: Api) -> None:
    assert place(operator, "queue:emails")["scope"] == "queue:email"


@pytest.mark.parametrize("body", [{}, {"scope": "all"}, {"reason": "r"}, {"scope": "all", "reason": " "}])
def test_a_hold_needs_scope_and_reason(operator: Api, body: dict) -> None:
    refused = operator.post("/holds", body)
    assert refused.status_code == 422
    assert len(str(error(refused))) > 40
    assert scopes(operator) == []


def test_a_workspace_may_stop_itself_and_its_channels(demo: Demo, api: Api, operator: Api) -> None:
    own = [f"workspace:{demo.workspace_id}", f"channel:{demo.channel_id}"]
    for scope in own:
        assert place(api, scope)["workspace_id"] == str(demo.workspace_id)
    assert scopes(api) == own[::-1]
    assert scopes(operator) == own[::-1]


def test_a_workspace_may_stop_its_own_webhook_endpoints(demo: Demo, api: Api, stranger: Api) -> None:
    body = {"url": "http://127.0.0.1:9/hooks", "events": ["*"]}
    scope = f"endpoint:{api.post('/webhooks', body).get_json()['id']}"
    refused = stranger.post("/holds", {"scope": scope, "reason": "r"})
    assert (refused.status_code, error(refused)["code"]) == (403, "operator_only")
    hold = place(api, scope)
    endpoint_id = scope.removeprefix("endpoint:")
    assert api.post(f"/webhooks/{endpoint_id}/test").status_code == 202
    assert execute("SELECT held_by FROM jobs WHERE task LIKE 'webhooks.%'") == [(hold["id"],)]


def test_a_workspace_may_stop_nothing_else(demo: Demo, other: Demo, api: Api) -> None:
    for scope in (
        *("all", "queue:messages", "task:messages.send", f"contact:{uuid.uuid4()}"),
        *(f"workspace:{other.workspace_id}", f"channel:{other.channel_id}"),
    ):
        refused = api.post("/holds", {"scope": scope, "reason": "r"})
        assert (refused.status_code, error(refused)["code"]) == (403, "operator_only")
        assert error(refused)["hint"]


def test_a_workspace_sees_what_stops_it_and_ends_only_its_own(
    other: Demo, api: Api, operator: Api, stranger: Api
) -> None:
    everything, theirs = place(operator), place(stranger, f"channel:{other.channel_id}")
    assert scopes(api) == ["all"]
    for hold in (everything, theirs):
        assert api.delete(f"/holds/{hold['id']}").status_code == 404
    assert stranger.delete(f"/holds/{theirs['id']}").status_code == 200
