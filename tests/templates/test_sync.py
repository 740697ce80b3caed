"""Templates are what the provider lists: fetched whole or not at all, kept when newer words came, never lost."""

from collections.abc import Callable
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages import tasks
from crm_tasks.providers.provider import Action, Refusal
from crm_tasks.providers.whatsapp import templates as lists
from crm_tasks.templates import service
from crm_tasks.templates.models import Template
from tests.fixtures import Demo, make_demo
from tests.harness import Program, beat, eventually, worker
from tests.messages.apply import one, rows
from tests.messages.conftest import QUICK
from tests.outside import Sandbox
from tests.templates.fetched import all_of, ask, fetch, template


def test_every_template_of_the_account_is_fetched_with_what_it_wants(demo: Demo) -> None:
    counts = fetch(demo)
    assert counts == {"listed": len(rows(Template)), "new": counts["listed"], "deleted": 0}
    assert counts["listed"] > 10
    order = template("order_update")
    assert (order.status, order.category, order.quality, order.sendable) == ("APPROVED", "utility", "GREEN", True)
    assert order.parameters["body"] == {"kind": "text", "names": ["1", "2"]}
    assert template("order_photo").parameters["header"] == {"kind": "image"}
    assert template("appointment_reminder", "es").parameters["body"]["names"] == ["first_name", "day", "hour"]


def test_a_second_fetch_changes_nothing_and_one_that_is_gone_is_deleted_but_kept(demo: Demo, sandbox: Sandbox) -> None:
    fetch(demo)
    before = {key: row.id for key, row in all_of(demo.workspace_id).items()}
    answer = sandbox.http.delete(
        f"{sandbox.url}/v26.0/{demo.waba_id}/message_templates",
        params={"name": "spring_sale"},
        headers={"Authorization": f"Bearer {demo.access_token}"},
        timeout=10,
    )
    assert answer.ok, answer.text
    counts = fetch(demo)
    gone = [row for row in rows(Template) if row.status == "DELETED"]
    assert (counts["new"], counts["deleted"], {row.name for row in gone}) == (0, len(gone), {"spring_sale"})
    assert {key: row.id for key, row in all_of(demo.workspace_id).items()} == before
    assert fetch(demo)["deleted"] == 0


def test_a_list_of_many_pages_is_fetched_whole(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fetch(demo)["listed"]
    monkeypatch.setattr(lists, "PAGE", 2)
    assert fetch(demo) == {"listed": whole, "new": 0, "deleted": 0}


def test_a_list_that_breaks_off_deletes_nothing(demo: Demo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(demo)
    monkeypatch.setattr(lists, "PAGE", 2)
    sandbox.faults({"kind": "template", "delay": 0.01, "times": 1}, {"kind": "template", "status": 503})
    assert isinstance(ask(demo), Refusal)


@pytest.mark.parametrize(
    ("fault", "action"),
    [
        ({"status": 503, "body": "<html>"}, Action.RETRY),
        ({"status": 429, "body": "slow down"}, Action.RETRY),
        ({"status": 200, "body": {"data": "none"}}, Action.MESSAGE),
        ({"status": 401, "error_code": 190}, Action.STOP),
        ({"status": 429, "error_code": 80008}, Action.LATER),
        ({"status": 500, "error_code": 131000}, Action.RETRY),
        ({"drop": "before"}, Action.RETRY),
    ],
    ids=str,
)
def test_a_list_that_cannot_be_had_says_what_to_do(
    demo: Demo, sandbox: Sandbox, fault: dict[str, Any], action: Action
) -> None:
    sandbox.faults({"kind": "template", **fault})
    found = ask(demo)
    assert isinstance(found, Refusal)
    assert found.action is action


def test_the_job_fetches_and_the_calendar_asks_for_every_account_once(
    demo: Demo, start: Callable[[Program], Program], tmp_path: Any
) -> None:
    make_demo(number="20002", name="Other")  # its address answers nothing: its job fails, and the other's does not
    start(worker(tmp_path, "messages", **QUICK))
    start(beat(tmp_path, **QUICK))
    tasks.sync_all_templates.delay()
    eventually(lambda: rows(Template), "templates", 30)
    jobs = rows(Job, Job.task == "messages.sync_templates", Job.workspace_id == demo.workspace_id)
    assert len(jobs) == 1
    eventually(lambda: one(Job, Job.id == jobs[0].id).state is JobState.SUCCEEDED, "the job over")


def test_many_askers_make_one_job(demo: Demo) -> None:
    asked = {tuple(db.retrying(service.ask_sync_of, demo.workspace_id)) for _ in range(3)}
    assert len(asked) == 1
    assert [job.task for job in rows(Job)] == ["messages.sync_templates"]
