"""Workspaces by the API and the command line: an operator gives each its share of the workers."""

from crm_tasks.workspaces.models import Workspace
from tests.cli.terminal import complaint, data, said
from tests.fixtures import Demo
from tests.messages.apply import one
from tests.webapp.api import Api, error, fields


def weight(shop: Demo) -> int:
    return one(Workspace, Workspace.id == shop.workspace_id).weight


def test_an_operator_sees_all_and_changes_a_weight(demo: Demo, other: Demo, operator: Api) -> None:
    shown = operator.get("/workspaces").get_json()["data"]
    assert {(each["id"], each["weight"]) for each in shown} == {(str(d.workspace_id), 1) for d in (demo, other)}
    answer = operator.patch(f"/workspaces/{other.workspace_id}", {"weight": 4})
    assert (answer.status_code, answer.get_json()["weight"]) == (200, 4)
    assert (weight(demo), weight(other)) == (1, 4)


def test_pages_follow_each_other(demo: Demo, other: Demo, operator: Api) -> None:
    first = operator.get("/workspaces?limit=1").get_json()
    second = operator.get(f"/workspaces?limit=1&cursor={first['next']}").get_json()
    assert [each["id"] for each in first["data"] + second["data"]] == [str(demo.workspace_id), str(other.workspace_id)]
    assert second["next"] is None


def test_nobody_else_may(demo: Demo, api: Api) -> None:
    assert api.get("/workspaces").status_code == 403
    assert api.patch(f"/workspaces/{demo.workspace_id}", {"weight": 9}).status_code == 403
    assert weight(demo) == 1


def test_a_weight_is_1_to_100(demo: Demo, operator: Api) -> None:
    for wrong in (0, 101, -1, "2", 1.5, None):
        refused = operator.patch(f"/workspaces/{demo.workspace_id}", {"weight": wrong})
        assert (refused.status_code, list(fields(refused))) == (422, ["weight"]), wrong
    unknown = operator.patch("/workspaces/01a220d6-1087-76da-b586-79286a7e7922", {"weight": 2})
    assert (unknown.status_code, bool(error(unknown)["message"])) == (404, True)


def test_by_hand(demo: Demo) -> None:
    assert said("workspace", "weight", 3) == "Demo has the weight 3.\n"
    assert [each["weight"] for each in data("workspace", "list")] == [3]
    assert "from 1 to 100" in complaint("workspace", "weight", 0)
