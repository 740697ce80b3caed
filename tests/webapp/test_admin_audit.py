"""Who changed what: one row for each request that changed something, in the transaction that did; none for others."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from crm_tasks.core import db
from crm_tasks.workspaces import audit
from tests.campaigns.audience import campaign
from tests.core.ledger import execute, job
from tests.fixtures import Demo
from tests.webapp.admins import browser
from tests.webapp.api import Api
from tests.webapp.dead import dead


def recorded() -> list[dict[str, Any]]:
    """Return what was recorded beside logins, the oldest first."""
    columns = ("actor", "action", "workspace_id", "subject", "detail")
    rows = execute(f"SELECT {', '.join(columns)} FROM audit_events WHERE action <> 'login' ORDER BY id")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_a_change_through_the_api_is_recorded_with_its_key(api: Api, demo: Demo) -> None:
    answer = api.post("/holds", {"scope": f"workspace:{demo.workspace_id}", "reason": "a secret reason"})
    assert answer.status_code == 201
    (row,) = recorded()
    assert row["actor"] == f"key:{api.key[:12]}"
    assert (row["action"], row["workspace_id"]) == ("api.holds.place", demo.workspace_id)
    assert "a secret reason" not in str(row)


def test_what_is_about_one_thing_names_it(api: Api, demo: Demo) -> None:
    job_id = dead(workspace_id=demo.workspace_id)
    assert api.post(f"/dlq/{job_id}/retry").status_code == 200
    (row,) = recorded()
    assert (row["action"], row["subject"]) == ("api.dlq.retry_one", str(job_id))


def test_what_changed_nothing_is_not_recorded(api: Api, demo: Demo) -> None:
    assert api.get("/jobs").status_code == 200
    assert api.post(f"/jobs/{uuid.uuid4()}/cancel").status_code == 404
    assert api.post("/holds", {"scope": "nonsense", "reason": "r"}).status_code == 403
    assert api.post("/holds", {}).status_code == 422
    assert api.post("/dlq/retry", {"all": True}).get_json() == {"jobs": 0}
    assert recorded() == []


def test_the_row_and_the_change_are_one_transaction(api: Api, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is there without the other: a row that cannot be written undoes the change."""
    execute("ALTER TABLE audit_events ADD CONSTRAINT none CHECK (false) NOT VALID")
    try:
        answer = api.post("/holds", {"scope": f"workspace:{demo.workspace_id}", "reason": "r"})
        assert answer.status_code == 500
        assert execute("SELECT count(*) FROM holds") == [(0,)]
    finally:
        execute("ALTER TABLE audit_events DROP CONSTRAINT none")


def test_one_request_is_one_row_however_many_transactions(operator: Api, demo: Demo) -> None:
    ids = [dead(workspace_id=demo.workspace_id) for _ in range(3)]
    monkey = pytest.MonkeyPatch()
    monkey.setattr("crm_tasks.core.jobs.dead_letters._BATCH", 1)
    try:
        assert operator.post("/dlq/retry", {"all": True}).get_json() == {"jobs": 3}
    finally:
        monkey.undo()
    assert {job(each).revivals for each in ids} == {1}
    assert len(recorded()) == 1


def test_a_thread_forgets_who_acted(api: Api, demo: Demo) -> None:
    api.post("/holds", {"scope": f"workspace:{demo.workspace_id}", "reason": "r"})
    execute("UPDATE workspaces SET name = 'by nobody'")
    with db.transaction() as session:
        session.execute(sa.text("UPDATE workspaces SET name = 'by nobody'"))
    assert len(recorded()) == 1


def test_a_button_is_recorded_with_who_pressed_it_and_what_it_was(app: Flask, demo: Demo) -> None:
    who, mine = browser(app, demo, "marketer"), campaign(demo)
    assert who.post(f"/campaigns/{mine}/cancel").status_code == 302
    assert who.post(f"/campaigns/{mine}/start").status_code == 409
    (row,) = recorded()
    assert (row["actor"], row["action"]) == ("user:marketer@example.test", "admin.campaign_action")
    assert (row["subject"], row["detail"]["action"]) == (str(mine), "cancel")


def test_a_change_of_roles_says_before_and_after(app: Flask, demo: Demo) -> None:
    owner, agent = browser(app, demo, "owner"), browser(app, demo, "agent")
    ((agent_id,),) = execute("SELECT id FROM users WHERE email = :e", e=agent.email)
    owner.post(f"/people/{agent_id}/role", role="viewer")
    (row,) = recorded()
    assert {name: row["detail"][name] for name in ("before", "after")} == {"before": "agent", "after": "viewer"}


def test_what_concerns_a_workspace_is_recorded_there(app: Flask, demo: Demo, other: Demo) -> None:
    root = browser(app, demo, "operator")
    root.post(f"/workspaces/{other.workspace_id}/suspend", reason="not paid")
    (row,) = recorded()
    assert (row["workspace_id"], row["detail"]["reason"]) == (other.workspace_id, "not paid")


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_is_of_the_workspace_and_filters(app: Flask, demo: Demo, other: Demo) -> None:
    with db.transaction() as session:
        for number in range(55):
            audit.record(session, actor="key:one", action=f"api.n{number:02d}", workspace_id=demo.workspace_id)
        audit.record(session, actor="key:two", action="api.theirs", workspace_id=other.workspace_id)
        audit.record(session, actor="key:100%", action="api.odd", workspace_id=demo.workspace_id, subject="x")
    who = browser(app, demo, "admin")
    first = who.text("/audit")
    assert "api.n54" in first and "api.n05" not in first and "api.theirs" not in first
    older = first.partition('href="/admin/audit?before=')[2].partition('"')[0]
    assert "api.n05" in who.text(f"/audit?before={older.partition('&')[0]}")
    assert "api.odd" not in who.text("/audit?actor=key:one")
    assert "api.odd" in who.text("/audit?actor=key:100%25")
    assert "api.odd" not in who.text("/audit?actor=key:1_0")
    assert "api.odd" in who.text("/audit?subject=x")
    assert "Nothing was changed that matches" in who.text("/audit?action=nothing")
    assert who.get("/audit?before=nonsense").status_code == 404


def test_only_an_operator_sees_all_of_it(app: Flask, demo: Demo, other: Demo) -> None:
    with db.transaction() as session:
        audit.record(session, actor="key:two", action="api.theirs", workspace_id=other.workspace_id)
    assert "api.theirs" not in browser(app, demo, "owner").text("/audit?scope=all")
    assert "api.theirs" in browser(app, demo, "operator").text("/audit?scope=all")
