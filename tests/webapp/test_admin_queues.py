"""The pages of queues with their charts, the search for jobs, and the ways to Flower."""

import uuid

import pytest
from flask import Flask

from crm_tasks.config import settings
from crm_tasks.core import db, overview, rollup
from crm_tasks.core.jobs import search
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.jobs.search import Wanted
from tests.core.ledger import FAIL, execute, new, take
from tests.fixtures import Demo
from tests.messages.outgoing import message, post
from tests.webapp.admins import Browser, browser
from tests.webapp.dead import dead, succeed


@pytest.fixture
def admin(app: Flask, demo: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, demo, "admin")


@pytest.fixture
def root(app: Flask, demo: Demo) -> Browser:
    """An operator who is logged in, with the workspace at hand."""
    who = browser(app, demo, "operator")
    who.post(f"/workspaces/{demo.workspace_id}/switch")
    return who


def ended_at(moment: str, *, ran: str, job_id: uuid.UUID | None = None) -> None:
    """Let jobs that are over have ended at this moment, all in one minute, after having run so long."""
    execute(
        f"UPDATE jobs SET finished_at = {moment}, started_at = {moment} - interval '{ran}' "
        "WHERE finished_at IS NOT NULL AND (CAST(:id AS uuid) IS NULL OR id = :id)",
        id=job_id,
    )


# --- queues ------------------------------------------------------------------------------------------------------


def test_a_queue_says_whether_it_is_late_and_what_stops_it(demo: Demo, admin: Browser, root: Browser) -> None:
    assert "Nothing waits." in admin.text("/queues/messages")
    new(workspace_id=demo.workspace_id)
    assert "which is well" in admin.text("/queues/messages/part")
    execute("UPDATE jobs SET run_at = now() - interval '10 minutes'")
    assert "it should not be more than 5 s" in admin.text("/queues/messages")
    assert root.post("/holds", scope="queue:messages", reason="a repair").status_code == 302
    assert "a repair" in admin.text("/queues/messages") and "Release" not in admin.text("/queues/messages")
    assert "Release" in root.text("/queues/messages")
    assert admin.get("/queues/nonsense").status_code == 404


def test_operators_see_how_much_ended_and_how_fast(demo: Demo, admin: Browser, root: Browser) -> None:
    assert "Nothing has ended in the last hour." in root.text("/queues")
    for _ in range(3):
        succeed(new(workspace_id=demo.workspace_id))
    dead(workspace_id=demo.workspace_id)
    ended_at("date_trunc('minute', now())", ran="150 ms")
    for path in ("/queues", "/queues/part", "/queues/messages", "/queues/messages/part"):
        page = root.text(path)
        assert ": 3, 1, 0</title>" in page, path
        assert "longest 195 ms" in page, path
        assert 'class="chart"' not in admin.text(path)
    assert ": 3, 1, 0</title>" not in root.text("/queues/email")


def test_minutes_are_counted_once_whether_rolled_up_or_not(demo: Demo) -> None:
    for back in (1, 1, 5, 30):
        job_id = new()
        succeed(job_id)
        ended_at(f"date_trunc('minute', now()) - interval '{back} minutes'", ran="20 ms", job_id=job_id)
    with db.transaction() as session:
        before = overview.minutes(session, last=60)
    with db.transaction() as session:
        while rollup.roll_up(session):
            pass
    with db.transaction() as session:
        after = overview.minutes(session, last=60)
        assert [each.succeeded for each in after if each.succeeded] == [1, 1, 2]
        assert [each.run_p95 for each in after] == [each.run_p95 for each in before]
        assert sum(each.succeeded for each in overview.minutes(session, last=60, queue="email")) == 0


def test_flower_is_linked_for_operators_from_queues_and_from_each_job(
    demo: Demo, admin: Browser, root: Browser
) -> None:
    job_id = new(workspace_id=demo.workspace_id)
    address = f"http://localhost:{settings().flower_port}/"
    assert f'href="{address}"' in root.text("/queues")
    assert f'href="{address}task/{job_id}"' in root.text(f"/jobs/{job_id}")
    for path in ("/queues", "/queues/messages", f"/jobs/{job_id}"):
        assert address not in admin.text(path)


# --- jobs --------------------------------------------------------------------------------------------------------


def test_jobs_are_found_by_what_went_wrong(app: Flask, demo: Demo, admin: Browser) -> None:
    found = dead("refused +15550001111", workspace_id=demo.workspace_id)
    other = dead("x", workspace_id=demo.workspace_id)
    ((fingerprint,),) = execute("SELECT fingerprint FROM jobs WHERE id = :id", id=found)
    for error in ("refused", "REFUSED +1555", fingerprint):
        page = admin.text("/jobs?error=" + error.replace("+", "%2B").replace(" ", "%20"))
        assert (str(found) in page, str(other) in page) == (True, False), error
    page = admin.text("/jobs?error=test")  # the code of both
    assert str(found) in page and str(other) in page
    assert str(found) not in admin.text("/jobs?error=100%25_")
    viewer = browser(app, demo, "viewer")
    assert str(found) not in viewer.text("/jobs?error=refused")
    assert str(found) in viewer.text("/jobs?error=test")
    assert "f-contact" not in viewer.text("/jobs")


def test_jobs_are_found_by_the_person_whom_they_are_for(app: Flask, demo: Demo, admin: Browser, other: Demo) -> None:
    ann, bob = post(demo, to="+15550002222"), post(demo, to="+15550003333")
    theirs = post(other, to="+15550002222")
    jobs = {each: str(message(each).job_id) for each in (ann, bob, theirs)}
    for who in ("0002222", "%2B1 555 000 2222", str(message(ann).contact_id)):
        page = admin.text(f"/jobs?contact={who}")
        assert [jobs[each] in page for each in (ann, bob, theirs)] == [True, False, False], who
    assert "No job matches" in admin.text("/jobs?contact=nobody-at-all")
    assert "No job matches" in admin.text(f"/jobs?contact={message(theirs).contact_id}")
    assert jobs[ann] in admin.text("/jobs?contact=0002222&state=queued&task=messages.send")
    assert jobs[bob] in browser(app, demo, "viewer").text("/jobs?contact=0002222")  # not asked of who may not


def test_an_operator_finds_the_jobs_of_one_workspace(demo: Demo, other: Demo, root: Browser, admin: Browser) -> None:
    mine, theirs = new(workspace_id=demo.workspace_id), new(workspace_id=other.workspace_id)
    page = root.text(f"/jobs?scope=all&workspace={other.workspace_id}")
    assert (str(mine) in page, str(theirs) in page) == (False, True)
    page = admin.text(f"/jobs?scope=all&workspace={other.workspace_id}")
    assert (str(mine) in page, str(theirs) in page) == (True, False)
    assert root.get("/jobs?scope=all&workspace=x").status_code == 404


def test_a_search_goes_on_behind_what_it_has_read(demo: Demo, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = new(FAIL, workspace_id=demo.workspace_id)
    for _ in range(9):
        new(workspace_id=demo.workspace_id)
    monkeypatch.setattr(search, "AT_ONCE", 4)
    monkeypatch.setattr(search, "LONGEST", 0)
    page, looks = admin.text(f"/jobs?task={FAIL}"), 1
    while str(wanted) not in page:
        assert "Look further back" in page
        link = page.partition('class="btn" href="/admin/jobs?')[2].partition('"')[0].replace("&amp;", "&")
        page, looks = admin.text(f"/jobs?{link}"), looks + 1
    assert looks == 3
    monkeypatch.setattr(search, "LONGEST", 60)
    page = admin.text(f"/jobs?task={FAIL}")
    assert str(wanted) in page and "Look further back" not in page


def test_every_job_is_found_once_page_by_page(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [new(workspace_id=demo.workspace_id) for _ in range(23)]
    take(ids[0])
    monkeypatch.setattr(search, "AT_ONCE", 5)
    monkeypatch.setattr(search, "LONGEST", 0)
    for wanted in (Wanted(), Wanted(workspace_id=demo.workspace_id), Wanted(state=JobState.QUEUED), Wanted(ids=ids)):
        seen: list[uuid.UUID] = []
        before = None
        while True:
            with db.transaction() as session:
                found = search.search(session, wanted, before=before, limit=7)
            seen += [each.id for each in found.jobs]
            if (before := found.more) is None:
                break
        assert seen == sorted(ids[1:] if wanted.state else ids, reverse=True), wanted
