"""`/api/v1/notifications` and the bell of the admin."""

import re
import uuid
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from crm_tasks.core import db
from crm_tasks.notifications import service
from crm_tasks.notifications.models import Severity
from tests.fixtures import Demo
from tests.webapp.api import Api, error, fields
from tests.webapp.test_admin import log_in, token, user  # noqa: F401  a fixture

HOOK = {"kind": "webhook", "address": "https://hooks.example.com/crm"}


def tell(workspace_id: uuid.UUID | None, kind: str = "channel.stopped") -> str:
    made = db.retrying(
        service.notify,
        workspace_id,
        kind,
        title=f"<b>{kind}</b>",
        text="Do it.",
        severity=Severity.ERROR,
        link="/admin/",
    )
    return str(made)


def test_notifications_are_listed_counted_and_read(demo: Demo, api: Api) -> None:
    first, second, third = (tell(demo.workspace_id, kind) for kind in "abc")
    page = api.get("/notifications", query_string={"limit": 2}).get_json()
    assert ([each["id"] for each in page["data"]], page["unread"]) == ([third, second], 3)
    rest = api.get("/notifications", query_string={"cursor": page["next"]}).get_json()
    assert [each["id"] for each in rest["data"]] == [first]
    assert api.post(f"/notifications/{second}/read").get_json()["read_at"]
    unread = api.get("/notifications", query_string={"unread": True}).get_json()
    assert ([each["id"] for each in unread["data"]], unread["unread"]) == ([third, first], 2)
    assert api.post("/notifications/read", {"up_to": first}).get_json() == {"read": 1}
    assert api.post("/notifications/read").get_json() == {"read": 1}


def test_a_workspace_sees_and_reads_only_its_own(demo: Demo, other: Demo, api: Api, operator: Api) -> None:
    theirs, operators = tell(other.workspace_id), tell(None)
    assert api.get("/notifications").get_json()["data"] == []
    for each in (theirs, operators):
        refused = api.post(f"/notifications/{each}/read")
        assert (refused.status_code, error(refused)["code"]) == (404, "notification_not_found")
    assert api.post("/notifications/read").get_json() == {"read": 0}
    assert operator.get("/notifications").get_json()["unread"] == 2


def test_a_target_is_made_with_a_secret_that_is_shown_once(api: Api, stranger: Api) -> None:
    made = api.post("/notifications/targets", HOOK)
    assert (made.status_code, made.get_json()["secret"][:6]) == (201, "whsec_")
    (listed,) = api.get("/notifications/targets").get_json()["data"]
    assert listed == {key: value for key, value in made.get_json().items() if key != "secret"}
    path = f"/notifications/targets/{listed['id']}"
    changed = api._call("PATCH", path, {"json": {"enabled": False, "minimum_severity": "info"}}).get_json()
    assert (changed["enabled"], changed["minimum_severity"]) == (False, "info")
    assert api.get(path).get_json() == changed
    for answer in (stranger.get(path), stranger.delete(path)):
        assert (answer.status_code, error(answer)["code"]) == (404, "target_not_found")
    again = api.post("/notifications/targets", HOOK)
    assert (again.status_code, error(again)["code"]) == (409, "target_exists")
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    "address",
    ["", "x", "ftp://example.com", "https://", "https://ann:pw@example.com/", "https://a b/", "https://ex.com:99999/"],
)
def test_what_is_no_address_is_refused_by_field(api: Api, address: str) -> None:
    refused = api.post("/notifications/targets", {**HOOK, "address": address})
    assert refused.status_code == 422
    assert list(fields(refused)) == ["address"]


def test_mail_needs_a_mail_server(api: Api) -> None:
    refused = api.post("/notifications/targets", {"kind": "email", "address": "ann@example.test"})
    assert (refused.status_code, error(refused)["code"]) == (422, "no_mail_server")


def test_there_are_only_so_many_targets(api: Api) -> None:
    for n in range(20):
        assert api.post("/notifications/targets", {**HOOK, "address": f"https://e.com/{n}"}).status_code == 201
    assert error(api.post("/notifications/targets", HOOK))["code"] == "too_many_targets"


def test_what_the_operators_hear_of_is_for_operators_to_say(api: Api, operator: Api) -> None:
    assert api.post("/notifications/targets", {**HOOK, "operators": True}).status_code == 403
    assert api.get("/notifications/targets", query_string={"operators": True}).status_code == 403
    made = operator.post("/notifications/targets", {**HOOK, "operators": True}).get_json()
    assert made["workspace_id"] is None
    assert operator.get("/notifications/targets").get_json()["data"] == []
    assert operator.delete(f"/notifications/targets/{made['id']}").status_code == 204


# --- the bell ----------------------------------------------------------------------------------------------------


def test_the_bell_counts_and_the_page_marks_as_read(client: FlaskClient, demo: Demo, user: str) -> None:  # noqa: F811
    ids = [tell(demo.workspace_id, kind) for kind in ("a", "b")]
    tell(demo.workspace_id, "b")
    log_in(client)
    bell = client.get("/admin/bell").get_data(as_text=True)
    assert re.search(r"badge[^>]*>2<", bell)
    assert "&lt;b&gt;a&lt;/b&gt;" in bell
    page = client.get("/admin/notifications").get_data(as_text=True)
    assert "2 times" in page and "<b>a" not in page

    def post(path: str, **form: str) -> int:
        form["csrf_token"] = token(client, "/admin/notifications")
        answer = client.post(path, data=form)
        assert urlsplit(answer.location).path == "/admin/notifications"
        return db.retrying(service.unread_count)

    assert post(f"/admin/notifications/{ids[0]}/read") == 1
    assert post("/admin/notifications/read", up_to=ids[0]) == 1
    assert post("/admin/notifications/read", up_to=ids[1]) == 0
    assert "badge" not in client.get("/admin/bell").get_data(as_text=True)


def test_another_sites_form_marks_nothing_as_read(client: FlaskClient, demo: Demo, user: str) -> None:  # noqa: F811
    made = tell(demo.workspace_id)
    for path in (f"/admin/notifications/{made}/read", "/admin/notifications/read"):
        client.post(path, data={"up_to": made})  # not logged in
    log_in(client)
    for path in (f"/admin/notifications/{made}/read", "/admin/notifications/read"):
        client.post(path, data={"up_to": made, "csrf_token": "wrong"})
    assert db.retrying(service.unread_count) == 1


@pytest.mark.parametrize("path", ["/admin/bell", "/admin/notifications", "/admin/notifications/list"])
def test_the_bell_is_for_people_who_are_logged_in(client: FlaskClient, demo: Demo, path: str) -> None:
    assert client.get(path).status_code == 302


def test_reading_what_is_not_there_is_no_error_of_ours(client: FlaskClient, user: str) -> None:  # noqa: F811
    log_in(client)
    form = {"csrf_token": token(client, "/admin/"), "up_to": "x"}
    assert client.post("/admin/notifications/read", data=form).status_code == 404
    assert client.post(f"/admin/notifications/{uuid.uuid4()}/read", data=form).status_code == 404
