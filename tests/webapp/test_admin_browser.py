"""The admin in a real browser: light, dark and on a phone; by keyboard; without an error or a request elsewhere."""

from typing import Any

import pytest

from tests.campaigns.audience import campaign
from tests.core.ledger import execute, job, new
from tests.fixtures import Demo
from tests.messages.outgoing import post
from tests.outside import Site
from tests.webapp import axe
from tests.webapp.admins import person
from tests.webapp.browsing import EMAIL, LOOKS, MARKS, enter, picture
from tests.webapp.customers import customers
from tests.webapp.dead import dead, succeed
from tests.webapp.exported import exports
from tests.webapp.set_up import set_up, something_later
from tests.webapp.tried import tried

pytestmark = MARKS


@pytest.fixture
def busy(demo: Demo, web: Site) -> dict[str, str]:
    """A workspace in which something happened, and an operator; return the pages that there are."""
    person(EMAIL, operator=True)
    ids = [dead("template spring_sale is paused", workspace_id=demo.workspace_id) for _ in range(7)]
    for _ in range(3):
        succeed(new(workspace_id=demo.workspace_id))
        new(workspace_id=demo.workspace_id)
    execute("UPDATE messages SET state = 'delivered' WHERE id = :id", id=post(demo, to="+15550002222"))
    execute(
        "UPDATE messages SET state = 'unknown', created_at = now() - interval '10 minutes', "
        'error = \'{"title": "no answer within 20 s"}\' WHERE id = :id',
        id=post(demo, "Your parcel comes today"),
    )
    execute(
        "INSERT INTO holds (id, scope, reason, actor) VALUES (gen_random_uuid(), 'queue:email', 'new server', 'ann')"
    )
    written = campaign(demo)
    something_later(demo)
    return {
        "home": "/",
        **customers(demo),
        **exports(demo),
        **tried(demo),
        "campaigns": "/campaigns",
        "campaign": f"/campaigns/{written}",
        "campaign edit": f"/campaigns/{written}/edit",
        "campaign recipients": f"/campaigns/{written}/recipients",
        "new campaign": "/campaigns/new",
        "unknown": "/unknown",
        "dead letters": "/dead-letters",
        "dead group": f"/dead-letters/{job(ids[0]).fingerprint}",
        "dead letter": f"/dead-letters/job/{ids[0]}",
        "calendar": "/calendar",
        "queues": "/queues",
        "queue": "/queues/messages",
        "jobs": "/jobs",
        "job": f"/jobs/{ids[0]}",
        **set_up(demo),
        "people": "/people",
        "audit": "/audit",
        "workspaces": "/workspaces",
        "events": "/events",
        "system": "/system",
        "notifications": "/notifications",
        "me": "/me",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_shown_without_an_error_or_barrier_and_fits(
    page: Any, web: Site, busy: dict[str, str], look: str
) -> None:
    enter(page, web)
    wrong: list[str] = []
    for name, path in busy.items():
        page.goto(f"{web.url}/admin{path}")
        assert page.locator("h1").count() == 1, name
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{name} is {wider} px wider than the screen"
        wrong += [f"{name}: {fault}" for fault in axe.faults(page)]
        picture(page, f"{name}-{look}")
    assert not wrong, "\n".join(wrong)


def test_a_canary_is_tried_by_keyboard(page: Any, web: Site, busy: dict[str, str]) -> None:
    enter(page, web)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_role("link", name="7 dead letters").focus()
    page.keyboard.press("Enter")
    page.locator("table a").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Retry five").focus()
    page.keyboard.press("Enter")
    page.get_by_text("5 were sent back to their queues; 0 have ended.").wait_for()
    page.get_by_text("Discard all").first.focus()
    page.keyboard.press("Enter")
    page.get_by_label("Why will they never run?").fill("the sale is over")
    page.keyboard.press("Enter")
    page.get_by_text("0 wait for a decision, 5 are being retried").wait_for()
    assert [state for (state,) in execute("SELECT state FROM jobs WHERE reason LIKE 'the sale is over%'")] == [
        "cancelled",
        "cancelled",
    ]
