"""One dead letter: what was asked, why it failed, what it came from, what a retry would do; many at a rate."""

import uuid

import pytest
from flask import Flask

from crm_tasks.core import db, holds
from crm_tasks.core.jobs.model import JobState
from tests.core.ledger import NOTE, execute, job, many, new, states, take
from tests.fixtures import Demo
from tests.messages.outgoing import message, post
from tests.webapp.admins import Browser, browser
from tests.webapp.dead import dead, die
from tests.webhooks.hooks import run_one


@pytest.fixture
def admin(app: Flask, demo: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, demo, "admin")


def test_all_of_a_cause_go_back_at_a_rate(demo: Demo, admin: Browser) -> None:
    ids = [dead(workspace_id=demo.workspace_id) for _ in range(3)]
    cause = job(ids[0]).fingerprint
    for wrong in ("0", "-1", "many", "9" * 30, "1.5"):
        answer = admin.post(f"/dead-letters/{cause}/retry", per_minute=wrong)
        assert answer.status_code == 422
        assert "A rate is a number" in answer.get_data(as_text=True)
    assert admin.post(f"/dead-letters/{cause}/retry", per_minute="60").status_code == 302
    first, second, third = [job(each).run_at for each in ids]
    assert [round((each - first).total_seconds()) for each in (second, third)] == [1, 2]
    assert "retried with others, at a chosen rate" in admin.text(f"/jobs/{ids[2]}")


def test_one_says_what_was_asked_and_why_each_attempt_failed(app: Flask, demo: Demo, admin: Browser) -> None:
    execute("DELETE FROM processes")
    job_id = dead("no route to +15550001111", workspace_id=demo.workspace_id)
    page = admin.text(f"/dead-letters/job/{job_id}")
    assert "no route to +15550001111" in page
    assert "no worker takes the queue" in page
    viewer = browser(app, demo, "viewer").text(f"/dead-letters/job/{job_id}")
    assert "no route to •••" in viewer
    assert "Show the difference" not in viewer
    assert admin.post(f"/jobs/{job_id}/retry").status_code == 302
    assert admin.get(f"/dead-letters/job/{job_id}").location == f"/admin/jobs/{job_id}"


def test_what_a_retry_would_do_now_is_what_sending_would(demo: Demo, admin: Browser) -> None:
    message_id = post(demo, to="+15550002222")
    job_id = message(message_id).job_id
    assert job_id is not None
    die(job_id, "the provider was away")
    page = admin.text(f"/dead-letters/job/{job_id}")
    assert "window" not in page.partition("What a retry would do now")[2].partition("What was asked")[0]
    execute("UPDATE conversations SET last_inbound_at = now() - interval '25 hours'")
    assert "window closed" in admin.text(f"/dead-letters/job/{job_id}")
    with db.transaction() as session:
        holds.place(
            session, f"channel:{demo.channel_id}", reason="new number", actor="ann", workspace_id=demo.workspace_id
        )
    assert "is held: new number" in admin.text(f"/dead-letters/job/{job_id}")


def test_the_tree_shows_parents_and_children(demo: Demo, other: Demo, admin: Browser) -> None:
    trace = uuid.uuid4()
    root = new(workspace_id=demo.workspace_id, trace=trace)
    job_id = dead(workspace_id=demo.workspace_id, trace=trace)
    child, theirs = new(workspace_id=demo.workspace_id, trace=trace), new(workspace_id=other.workspace_id, trace=trace)
    execute("UPDATE jobs SET parent_id = :p WHERE id = :i", p=root, i=job_id)
    execute("UPDATE jobs SET parent_id = :p WHERE id = ANY(:i)", p=job_id, i=[child, theirs])
    tree = admin.text(f"/dead-letters/job/{job_id}").partition("What it came from")[2]
    assert [depth for depth in range(3) if f"tree-{depth}" in tree] == [0, 1, 2]
    assert tree.index(str(root)) < tree.index(str(job_id)) < tree.index(str(child))
    assert str(theirs) not in tree


def test_arguments_are_changed_once_the_difference_was_seen(demo: Demo, admin: Browser) -> None:
    job_id = dead(args={"kind": "permanent", "message": "old"}, workspace_id=demo.workspace_id)
    path = f"/dead-letters/job/{job_id}/arguments"
    shown = admin.post(path, kind="permanent", message="new").get_data(as_text=True)
    assert '<del class="text-danger">old</del>' in shown
    assert '<ins class="text-success">new</ins>' in shown
    assert job(job_id).args["message"] == "old"
    assert "Nothing would be changed" in admin.post(path, message="old").get_data(as_text=True)
    assert admin.post(path, message="new", sure="change").status_code == 302
    assert (job(job_id).args["message"], job(job_id).state) == ("new", JobState.DEAD)
    assert "message changed (by user:admin@example.test)" in admin.text(f"/dead-letters/job/{job_id}")
    assert admin.post(path, kind="transient", sure="retry").status_code == 302
    assert (job(job_id).args["kind"], job(job_id).state) == ("transient", JobState.QUEUED)
    assert admin.post(path, message="late", sure="change").location == f"/admin/jobs/{job_id}"
    ((detail,), *_) = execute("SELECT detail FROM audit_events WHERE action = 'admin.edit_dead_letter' ORDER BY id")
    assert detail["arguments"] == ["message"]


def test_of_other_tasks_nothing_can_be_changed(demo: Demo, admin: Browser) -> None:
    job_id = new(workspace_id=demo.workspace_id)
    die(job_id)
    assert "Change its arguments" not in admin.text(f"/dead-letters/job/{job_id}")
    form = {"csrf_token": admin.token(), "path": "/etc/passwd", "sure": "change"}
    answer = admin.client.post(f"/admin/dead-letters/job/{job_id}/arguments", data=form)
    assert answer.status_code == 422
    assert "Nothing of this task may be changed" in answer.get_data(as_text=True)
    assert job(job_id).args == {"path": "/dev/null"}


def test_a_list_of_a_real_task_has_a_line_for_each(demo: Demo, admin: Browser) -> None:
    args = {"campaign_id": uuid.uuid4(), "codes": ["131026"], "until": uuid.uuid4()}
    job_id = new("campaigns.retry_failed", args=args, workspace_id=demo.workspace_id)
    take(job_id)
    execute(
        "UPDATE jobs SET state = 'dead', lease_until = NULL, finished_at = now(), fingerprint = 'f', "
        'errors = \'[{"message": "m"}]\' WHERE id = :i',
        i=job_id,
    )
    path = f"/dead-letters/job/{job_id}/arguments"
    assert admin.post(path, codes="131026\n 131047 \n\n", sure="change").status_code == 302
    assert job(job_id).args["codes"] == ["131026", "131047"]


# --- very many ---------------------------------------------------------------------------------------------------


def very_many(demo: Demo, count: int) -> str:
    """Make so many dead letters of one cause, and return it."""
    many(count, workspace_id=demo.workspace_id)
    execute("UPDATE jobs SET state = 'dead', finished_at = crm_now(), fingerprint = 'cause', errors = '[{}]'")
    return "cause"


def test_very_many_go_back_by_a_job_which_shows_how_far_it_is(
    demo: Demo, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr("crm_tasks.analytics.tasks.progress", lambda *far: shown.append(far))
    cause = very_many(demo, 1_001)
    page = admin.post(f"/dead-letters/{cause}/retry", per_minute="60000").location
    job_id = uuid.UUID(page.rpartition("/")[2])
    assert states()["dead"] == 1_001
    assert admin.post(f"/dead-letters/{cause}/retry").location == page
    run_one(job_id, "analytics")
    assert shown == [(500, 1_001), (1_000, 1_001), (1_001, 1_001)]
    assert (job(job_id).state, job(job_id).result) == (JobState.SUCCEEDED, {"jobs": 1_001})
    ((waiting, spread),) = execute(
        "SELECT count(*), extract(epoch FROM max(run_at) - min(run_at)) FROM jobs WHERE task = :t AND state = 'queued'",
        t=NOTE,
    )
    assert waiting == 1_001
    assert 1 <= spread < 30


def test_very_many_are_discarded_by_a_job_that_hands_over_in_time(
    demo: Demo, other: Demo, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = dead(workspace_id=other.workspace_id)
    cause = very_many(demo, 1_001)
    monkeypatch.setattr("crm_tasks.analytics.tasks.SHARE", 0.0)
    page = admin.post(f"/dead-letters/{cause}/discard", reason="too old " * 50).location
    run_one(uuid.UUID(page.rpartition("/")[2]), "analytics")
    assert states()["cancelled"] == 500
    for _ in range(3):
        for (job_id,) in execute("SELECT id FROM jobs WHERE task = 'analytics.settle_dead' AND state = 'queued'"):
            run_one(job_id, "analytics")
    assert states() == {"cancelled": 1_001, "dead": 1, "succeeded": 4}
    assert job(theirs).state is JobState.DEAD
