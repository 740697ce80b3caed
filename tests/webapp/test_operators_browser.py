"""What operators do, in a real browser: log in and be locked out, hold a queue and let it go on."""

from collections.abc import Callable
from typing import Any

import pytest

from crm_tasks.core import db, holds
from crm_tasks.core.jobs.claim import claim
from crm_tasks.core.jobs.model import JobState
from crm_tasks.workspaces import lockout
from tests.core.ledger import job, new
from tests.fixtures import Demo
from tests.outside import Site
from tests.webapp import axe
from tests.webapp.admins import person
from tests.webapp.browsing import EMAIL, MARKS, enter, fill_login, picture, watched
from tests.webapp.dead import succeed

pytestmark = MARKS


@pytest.fixture
def ann(demo: Demo) -> None:
    """Somebody who runs the system."""
    person(EMAIL, operator=True)


def test_too_many_wrong_passwords_lock_the_door_for_a_while(
    chromium: Any, web: Site, ann: None, clock: Callable[[str], None]
) -> None:
    with watched(chromium, web, but="status of 429") as page:
        for _ in range(lockout.MOST_ACCOUNT):
            fill_login(page, web, "a wrong password")
            page.locator(".invalid-feedback, [role=alert]").first.wait_for()
        assert axe.faults(page) == []
        fill_login(page, web)
        page.get_by_text("Too many attempts. Try again in").wait_for()
        picture(page, "locked")
        assert axe.faults(page) == []
        page.goto(f"{web.url}/admin/queues")
        page.get_by_role("heading", name="Log in").wait_for()
        clock("now() + interval '16 minutes'")
        enter(page, web)
        page.get_by_label(f"{EMAIL}: settings and log out").click()
        page.get_by_role("button", name="Log out").click()

        page.goto(f"{web.url}/admin/queues")
        page.get_by_role("heading", name="Log in").wait_for()


@pytest.mark.parametrize("look", ["light", "phone"])
def test_a_queue_is_held_and_let_go_on(page: Any, web: Site, ann: None, demo: Demo, look: str) -> None:
    job_id = new(workspace_id=demo.workspace_id)
    enter(page, web)
    page.get_by_role("link", name="Queues", exact=True).click()
    page.get_by_label("What").fill("queue:messages")
    page.get_by_label("Why").fill("the provider repairs something")
    page.get_by_label("For how many minutes").fill("30")
    page.get_by_role("button", name="Hold", exact=True).click()
    page.get_by_text("the provider repairs something").wait_for()
    assert claim(job_id, queue="messages", worker="a test") is None
    page.get_by_role("link", name="messages", exact=True).click()
    page.get_by_text(f"Held by user:{EMAIL}").wait_for()
    picture(page, f"held-{look}")
    # The job's own page says what holds it.
    page.get_by_role("link", name="Waiting jobs").click()
    page.locator("table a").first.click()
    page.get_by_text("the provider repairs something").first.wait_for()
    page.go_back()
    page.go_back()
    page.get_by_role("button", name="Release").click()
    page.get_by_text("Nothing is held.").wait_for()
    with db.transaction() as session:
        holds.let_go(session)
    succeed(job_id)
    assert job(job_id).state is JobState.SUCCEEDED
