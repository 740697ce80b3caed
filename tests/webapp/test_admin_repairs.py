"""The pages of who repairs: home, dead letters, queues, holds, jobs, unknown sends, requests put aside."""

import uuid

import pytest
from flask import Flask

from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import InboundEvent, MessageState
from tests.campaigns.audience import campaign
from tests.core.ledger import FAIL, execute, job, new, take
from tests.fixtures import Demo
from tests.messages.outgoing import message, post
from tests.webapp.admins import Browser, browser
from tests.webapp.dead import dead, die, succeed


@pytest.fixture
def admin(app: Flask, demo: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, demo, "admin")


@pytest.fixture
def viewer(app: Flask, demo: Demo) -> Browser:
    """A viewer who is logged in."""
    return browser(app, demo, "viewer")


def unknown_message(demo: Demo, text: str = "Hello Ann") -> uuid.UUID:
    message_id = post(demo, text)
    execute(
        "UPDATE messages SET state = 'unknown', created_at = now() - interval '1 hour', "
        'error = \'{"title": "no answer"}\' WHERE id = :id',
        id=message_id,
    )
    return message_id


def put_aside() -> uuid.UUID:
    event_id = new_id()
    with db.transaction() as session:
        session.add(
            InboundEvent(
                id=event_id, provider="whatsapp", body=b'{"odd": 1}', state="quarantined", problem="not understood"
            )
        )
    return event_id


# --- home --------------------------------------------------------------------------------------------------------


def test_home_says_what_happened_and_what_needs_a_person(app: Flask, demo: Demo, other: Demo, admin: Browser) -> None:
    assert "Nothing waits for you." in admin.text("/")
    dead(workspace_id=demo.workspace_id)
    dead(workspace_id=other.workspace_id)
    unknown_message(demo)
    sent = post(demo, to="+15550002222")
    execute("UPDATE messages SET state = 'delivered' WHERE id = :id", id=sent)
    received = post(demo, to="+15550002222")
    execute("UPDATE messages SET direction = 'in', state = 'received' WHERE id = :id", id=received)
    yesterday = post(demo, to="+15550002222")
    execute("UPDATE messages SET id = '01000000-0000-7000-8000-000000000000' WHERE id = :id", id=yesterday)
    halted = campaign(demo)
    execute(
        "UPDATE campaigns SET state = 'halted', hold_id = gen_random_uuid(), halted_by = '{}' WHERE id = :i", i=halted
    )
    put_aside()
    for path in ("/", "/today"):
        page = admin.text(path)
        for link, words in (
            ("dead-letters", "<strong>1</strong> dead letter:"),
            ("unknown", "<strong>1</strong> message that may"),
            ("campaigns", "<strong>1</strong> campaign halted"),
        ):
            assert words in page
            assert f'href="/admin/{link}"' in page
        assert figures(page) == {"Received": "1", "Sent": "1", "Delivered": "1", "Failed": "0", "Waiting": "0"}
        assert "put aside" not in page
    assert "<strong>1</strong> webhook request put aside" in browser(app, demo, "operator").text("/")


def figures(page: str) -> dict[str, str]:
    cards = page.split('class="text-secondary">')[1:]
    found = {}
    for card in cards:
        name, _, rest = card.partition("</div>")
        if "h1 mb-0" in rest[:40]:
            found[name] = rest.partition(">")[2].partition("<")[0]
    return found


# --- dead letters ------------------------------------------------------------------------------------------------


def test_dead_letters_are_grouped_and_five_are_tried_before_all(demo: Demo, admin: Browser) -> None:
    ids = [dead("one cause", workspace_id=demo.workspace_id) for _ in range(7)]
    dead("another cause entirely", workspace_id=demo.workspace_id)
    cause = job(ids[0]).fingerprint
    page = admin.text("/dead-letters")
    assert page.count('href="/admin/dead-letters/') == 2
    assert "8 wait for a decision" in page
    answer = admin.post(f"/dead-letters/{cause}/canary")
    assert answer.status_code == 302
    tried = answer.location.partition("canary=")[2].replace("%2C", ",").split(",")
    assert tried == [str(each) for each in ids[:5]]
    assert [job(each).state for each in ids] == [JobState.QUEUED] * 5 + [JobState.DEAD] * 2
    part = f"/dead-letters/{cause}/canary?canary={','.join(tried)}"
    assert "0 have ended" in admin.text(part)
    for each in ids[:4]:
        succeed(each)
    die(ids[4])
    assert "Some died again" in admin.text(part)
    admin.post(f"/jobs/{ids[4]}/retry")
    succeed(ids[4])
    assert "All came right: retry the rest." in admin.text(answer.location.removeprefix("/admin"))
    assert admin.post(f"/dead-letters/{cause}/retry").status_code == 302
    assert [job(each).state for each in ids[5:]] == [JobState.QUEUED] * 2


def test_a_cause_is_discarded_with_a_reason(demo: Demo, admin: Browser) -> None:
    ids = [dead(workspace_id=demo.workspace_id) for _ in range(2)]
    cause = job(ids[0]).fingerprint
    assert admin.post(f"/dead-letters/{cause}/discard", reason=" ").status_code == 422
    assert admin.post(f"/dead-letters/{cause}/discard", reason="too old").status_code == 302
    assert {job(each).state for each in ids} == {JobState.CANCELLED}
    assert job(ids[0]).reason == "too old (by user:admin@example.test)"
    assert admin.get(f"/dead-letters/{cause}").status_code == 404
    assert admin.get(f"/dead-letters/{cause}?canary=nonsense").status_code == 404


def test_a_viewer_sees_the_cause_and_nothing_about_a_customer(demo: Demo, admin: Browser, viewer: Browser) -> None:
    job_id = dead("refused +1 (555) 000-1111 and ann@example.com", workspace_id=demo.workspace_id)
    execute('UPDATE jobs SET args = \'{"to": "+15550001111", "message_id": "' + str(job_id) + "\"}'")
    for path in ("/dead-letters", f"/dead-letters/{job(job_id).fingerprint}"):
        assert "refused +1 (555) 000-1111 and ann@example.com" in admin.text(path)
        assert "refused ••• and •••" in viewer.text(path)
    for secret in ("000-1111", "+15550001111", "ann@example.com"):
        assert secret in admin.text(f"/jobs/{job_id}")
        assert secret not in viewer.text(f"/jobs/{job_id}")
    assert str(job_id) in viewer.text(f"/jobs/{job_id}")
    assert "refused" in viewer.text(f"/jobs/{job_id}")
    assert 'action="/admin/jobs' not in viewer.text(f"/jobs/{job_id}")


# --- jobs --------------------------------------------------------------------------------------------------------


def test_a_job_is_found_explained_and_dealt_with(demo: Demo, admin: Browser) -> None:
    job_id = new(workspace_id=demo.workspace_id)
    execute("UPDATE jobs SET run_at = now() + interval '1 hour'")
    assert admin.get(f"/jobs?id={job_id}").location == f"/admin/jobs/{job_id}"
    assert admin.get("/jobs?id=nonsense").status_code == 404
    assert str(job_id) in admin.text("/jobs?queue=messages&state=queued&task=messages.test_note")
    assert str(job_id) not in admin.text("/jobs?state=dead")
    assert str(job_id) in admin.text("/jobs?state=nonsense")
    assert "it was asked for at this time" in admin.text(f"/jobs/{job_id}")
    assert admin.post(f"/jobs/{job_id}/run-now").status_code == 302
    assert admin.post(f"/jobs/{job_id}/retry").status_code == 409
    assert admin.post(f"/jobs/{job_id}/explode").status_code == 404
    assert admin.post(f"/jobs/{job_id}/cancel", reason="not needed").status_code == 302
    assert job(job_id).reason == "not needed (by user:admin@example.test)"


def test_one_that_is_dead_is_discarded(demo: Demo, admin: Browser) -> None:
    job_id = dead(workspace_id=demo.workspace_id)
    assert admin.post(f"/jobs/{job_id}/discard").status_code == 409
    assert admin.post(f"/jobs/{job_id}/discard", reason="too old").status_code == 302
    assert job(job_id).state is JobState.CANCELLED


def test_a_list_goes_on_where_it_ended(demo: Demo, admin: Browser) -> None:
    ids = [new(workspace_id=demo.workspace_id) for _ in range(52)]
    first = admin.text("/jobs?state=queued")
    link = first.partition('class="btn" href="/admin/jobs?')[2].partition('"')[0].replace("&amp;", "&")
    second = admin.text(f"/jobs?{link}")
    assert [str(each) in first for each in ids] == [False] * 2 + [True] * 50
    assert [str(each) in second for each in ids] == [True] * 2 + [False] * 50


# --- queues and holds --------------------------------------------------------------------------------------------


def test_queues_count_the_workspace_at_hand_or_all(app: Flask, demo: Demo, other: Demo, admin: Browser) -> None:
    for _ in range(2):
        new(workspace_id=demo.workspace_id)
    for _ in range(3):
        new(workspace_id=other.workspace_id)
    take(new(FAIL, workspace_id=demo.workspace_id))
    dead(workspace_id=other.workspace_id)
    root = browser(app, demo, "operator")
    root.post(f"/workspaces/{demo.workspace_id}/switch")
    for path in ("/queues", "/queues/part"):
        assert row(admin.text(path)) == [2, 0, 0, 1, 0]
        assert row(admin.text(f"{path}?scope=all")) == [2, 0, 0, 1, 0]
        assert row(root.text(path)) == [2, 0, 0, 1, 0]
        assert row(root.text(f"{path}?scope=all")) == [5, 0, 0, 1, 1]


def row(page: str, queue: str = "messages") -> list[int]:
    cells = page.partition(f">{queue}</a>")[2].partition("</tr>")[0].split("<td")[1:6]
    return [
        int(cell.rpartition("</a>")[0].rpartition(">")[2] or cell.partition(">")[2].partition("<")[0]) for cell in cells
    ]


def test_a_workspace_holds_what_is_its_own_and_lets_it_go(demo: Demo, other: Demo, admin: Browser) -> None:
    for scope in ("all", "queue:messages", f"workspace:{other.workspace_id}", f"channel:{other.channel_id}", ""):
        assert admin.post("/holds", scope=scope, reason="r").status_code == 422
    mine = f"channel:{demo.channel_id}"
    for minutes in ("0", "-1", "x", "9" * 30, "1.5"):
        assert admin.post("/holds", scope=mine, reason="r", minutes=minutes).status_code == 422
    assert admin.post("/holds", scope=mine, reason=" ").status_code == 422
    assert admin.post("/holds", scope=mine, reason="looking", minutes="30").status_code == 302
    ((hold_id, scope, left),) = execute("SELECT id, scope, expires_at - created_at FROM holds")
    assert (scope, round(left.total_seconds() / 60)) == (mine, 30)
    assert "looking" in admin.text("/queues")
    assert admin.post(f"/holds/{hold_id}/release").status_code == 302
    assert "Nothing is held." in admin.text("/queues/part")


def test_an_operator_holds_a_queue(app: Flask, demo: Demo, admin: Browser) -> None:
    root = browser(app, demo, "operator")
    assert root.post("/holds", scope="queue:messages", reason="repair").status_code == 302
    page = admin.text("/queues")
    assert "repair" in page
    assert "release" not in page.partition("queue:messages")[2].partition("</tr>")[0].replace("released", "")
    assert "release" in root.text("/queues").partition("queue:messages")[2].partition("</tr>")[0].lower()


# --- unknown sends, put-aside requests ---------------------------------------------------------------------------


def test_unknown_sends_are_settled_by_a_person(app: Flask, demo: Demo, viewer: Browser) -> None:
    first, second = unknown_message(demo, "first words"), unknown_message(demo, "second words")
    agent = browser(app, demo, "agent")
    assert "first words" in agent.text("/unknown")
    assert "first words" not in viewer.text("/unknown")
    assert "no answer" in viewer.text("/unknown")
    assert agent.post(f"/unknown/{first}/explode").status_code == 404
    assert agent.post(f"/unknown/{first}/resend").status_code == 302
    assert agent.post(f"/unknown/{second}/failed").status_code == 302
    assert agent.post(f"/unknown/{second}/failed").status_code == 409
    assert [message(each).state for each in (first, second)] == [MessageState.QUEUED, MessageState.FAILED]


def test_requests_that_were_put_aside_are_applied_again(app: Flask, demo: Demo) -> None:
    event_id, root = put_aside(), browser(app, demo, "operator")
    page = root.text("/events")
    assert "not understood" in page and "{&#34;odd&#34;: 1}" in page
    assert root.post(f"/events/{event_id}/replay").status_code == 302
    assert execute("SELECT state FROM inbound_events") == [("received",)]
    assert root.post(f"/events/{event_id}/replay").status_code == 409


def test_what_is_wrong_is_told_on_a_page(admin: Browser) -> None:
    answer = admin.get(f"/jobs/{uuid.uuid4()}")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "There is no job" in answer.get_data(as_text=True)
    missing = admin.get("/nothing-is-here")
    assert (missing.status_code, missing.mimetype) == (404, "text/html")
