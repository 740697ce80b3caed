"""The admin in a real browser: light, dark and on a phone; by keyboard; without an error or a request elsewhere."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import AttributeType, SuppressionScope
from crm_tasks.core import db
from tests import payloads
from tests.campaigns.audience import attribute, campaign
from tests.core.ledger import execute, job, new
from tests.fixtures import Demo
from tests.messages.apply import hear
from tests.messages.outgoing import post
from tests.outside import Site
from tests.webapp.admins import PASSWORD, person
from tests.webapp.dead import dead

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]
EMAIL = "ann@example.test"
# Where pictures of every page are kept, if somebody wants to look at them.
PICTURES = os.environ.get("ADMIN_PICTURES")
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def busy(demo: Demo, web: Site) -> dict[str, str]:
    """A workspace in which something happened, and an operator; return the pages that there are."""
    person(EMAIL, operator=True)
    ids = [dead("template spring_sale is paused", workspace_id=demo.workspace_id) for _ in range(7)]
    for _ in range(3):
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
    contact_id = known(demo)
    return {
        "home": "/",
        "contacts": "/contacts",
        "contact": f"/contacts/{contact_id}",
        "contact form": f"/contacts/{contact_id}/edit",
        "campaigns": "/campaigns",
        "campaign": f"/campaigns/{campaign(demo)}",
        "new campaign": "/campaigns/new",
        "unknown": "/unknown",
        "dead letters": "/dead-letters",
        "dead group": f"/dead-letters/{job(ids[0]).fingerprint}",
        "dead letter": f"/dead-letters/job/{ids[0]}",
        "queues": "/queues",
        "jobs": "/jobs",
        "job": f"/jobs/{ids[0]}",
        "people": "/people",
        "audit": "/audit",
        "workspaces": "/workspaces",
        "events": "/events",
        "system": "/system",
        "notifications": "/notifications",
        "me": "/me",
    }


def known(demo: Demo) -> uuid.UUID:
    """Make a contact of whom much is known."""
    (told,) = hear(demo, payloads.text("Where is my parcel?"))
    contact_id = told.contact_id
    attribute(demo, "city")
    attribute(demo, "orders", AttributeType.NUMBER)
    kept = '{"city": "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch", "orders": 12}'
    execute("UPDATE contacts SET attributes = :kept, tags = '{spring,vip}' WHERE id = :id", kept=kept, id=contact_id)
    with db.transaction() as session:
        said = {"scope": SuppressionScope.MARKETING, "reason": "keyword", "actor": "customer"}
        proof = {"message_id": str(told.id), "text": "STOP"}
        suppression.suppress_contact(session, demo.workspace_id, contact_id, medium="whatsapp", evidence=proof, **said)
    return contact_id


@pytest.fixture
def page(chromium: Any, web: Site, look: str) -> Iterator[Any]:
    """A page that fails the test for any error on its console or any request elsewhere."""
    problems: list[str] = []
    opened = chromium.new_page(**LOOKS[look])
    opened.set_default_timeout(20_000)
    opened.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith(web.url) else None)
    yield opened
    opened.close()
    assert not problems


def enter(page: Any, web: Site) -> None:
    page.goto(f"{web.url}/admin/")
    page.get_by_label("Email Address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Today", exact=True).wait_for()


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_shown_without_an_error_and_fits(page: Any, web: Site, busy: dict[str, str], look: str) -> None:
    enter(page, web)
    for name, path in busy.items():
        page.goto(f"{web.url}/admin{path}")
        assert page.locator("h1").count() == 1, name
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{name} is {wider} px wider than the screen"
        if PICTURES:
            page.wait_for_load_state("networkidle")
            page.screenshot(path=f"{PICTURES}/{name.replace(' ', '-')}-{look}.png", full_page=True)


@pytest.mark.parametrize("look", ["light"])
def test_a_canary_is_tried_by_keyboard(page: Any, web: Site, busy: dict[str, str], look: str) -> None:
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
