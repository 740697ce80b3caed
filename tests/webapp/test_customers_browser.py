"""What marketers and agents do with customers, in a real browser: a messy file imported, a conversation answered."""

import csv
import time
from pathlib import Path
from typing import Any

import pytest

from crm_tasks.messages.models import Message
from tests import payloads
from tests.campaigns.audience import person as person_of
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.imports.messy import messy
from tests.messages.apply import hear, one
from tests.outside import Site
from tests.templates.fetched import approved
from tests.webapp.admins import person
from tests.webapp.browsing import EMAIL, MARKS, enter, picture, settled
from tests.webhooks.hooks import work_off

pytestmark = MARKS


@pytest.fixture
def ann(demo: Demo) -> None:
    """Somebody who may do everything."""
    person(EMAIL, operator=True)


@pytest.mark.parametrize("look", ["light", "phone", "dark"])
def test_a_messy_file_is_imported_with_the_wizard(page: Any, web: Site, ann: None, tmp_path: Path, look: str) -> None:
    text, (created, _, skipped, rejected), _ = messy(300, "skip")
    (tmp_path / "people of the fair.csv").write_text(text)
    enter(page, web)
    page.get_by_role("link", name="Imports", exact=True).click()
    page.get_by_role("link", name="Import a file").click()
    page.get_by_label("A CSV or Excel").set_input_files(tmp_path / "people of the fair.csv")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("age", exact=True).select_option(label="age as a number")
    page.get_by_label("since", exact=True).select_option(label="since as a date")
    page.get_by_label("zone", exact=True).select_option(label="Time zone")
    page.get_by_label("Country of numbers").fill("DE")
    page.get_by_text("+49119").first.wait_for()
    page.get_by_label("Country of numbers").fill("BR")
    page.get_by_text("+49119").first.wait_for(state="detached")
    page.get_by_text(f"Of the first 300 rows {300 - rejected} can be kept").wait_for()
    page.get_by_label("Tags for all of them").fill("fair")
    picture(page, f"import-map-{look}")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("Waits for a worker.").wait_for()
    work_off()
    # Without anybody touching it the page comes to the result.
    page.get_by_text("finished").wait_for()
    figures = page.locator(".h1.mb-0").all_inner_texts()
    assert figures == ["300", str(created), "0", str(skipped), str(rejected)]
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download all {rejected}").click()
    lines = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert len(list(csv.DictReader(lines))) == rejected
    page.get_by_role("link", name="Look at them by their tag").click()
    page.get_by_role("heading", name="Contacts").wait_for()
    assert page.locator("tbody tr").count() == 50


@pytest.mark.parametrize("look", ["light", "phone"])
def test_a_segment_counts_while_it_is_built_by_keyboard(page: Any, web: Site, ann: None, demo: Demo, look: str) -> None:
    for n in range(7):
        person_of(demo, n, tags=["vip"] if n < 3 else ["lead"])
    enter(page, web)
    page.goto(f"{web.url}/admin/segments/new")
    count = page.locator("#segment-count")
    page.get_by_label("Value").press_sequentially("vip")
    page.get_by_text("3", exact=True).wait_for()
    # What is typed stays where it is while the count changes.
    assert page.evaluate("document.activeElement.value") == "vip"
    page.get_by_role("button", name="Add a condition").press("Enter")
    assert page.get_by_label("Value").first.input_value() == "vip"
    page.get_by_label("Field").nth(1).select_option(label="name")
    page.get_by_label("Comparison").nth(1).select_option(label="contains")
    page.get_by_label("Value").nth(1).press_sequentially("Person 2")
    page.get_by_text("1", exact=True).wait_for()
    page.get_by_role("button", name="Remove").nth(1).press("Enter")
    page.get_by_text("3", exact=True).wait_for()
    page.get_by_label("Name", exact=True).fill("Very important")
    # Enter keeps it, and removes nothing.
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("heading", name="Very important").wait_for()
    count.wait_for()
    assert count.inner_text() == "3"


@pytest.mark.parametrize("look", ["light", "phone"])
def test_a_conversation_is_answered_while_more_comes_in(page: Any, web: Site, ann: None, demo: Demo, look: str) -> None:
    at = int(time.time())
    hear(demo, payloads.text("Where is my parcel?", at=at - 7_200))
    enter(page, web)
    page.get_by_role("link", name="Conversations", exact=True).click()
    page.get_by_text("needs an answer", exact=True).wait_for()
    page.get_by_role("link", name="Ann", exact=True).click()
    page.get_by_text("Free text may be sent until").wait_for()
    page.get_by_label("Reply", exact=True).press_sequentially("It comes ")
    hear(demo, payloads.text("Hello?", at=at))
    # What comes in is shown without anybody asking, and what is being typed stays.
    page.get_by_text("Hello?", exact=True).wait_for()
    page.get_by_label("Reply", exact=True).press_sequentially("today")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("It comes today", exact=True).wait_for()
    assert page.get_by_label("Reply", exact=True).input_value() == ""
    said = one(Message, Message.direction == "out")
    execute("UPDATE messages SET state = 'read' WHERE id = :id", id=said.id)
    page.locator(".tick-read").wait_for()
    picture(page, f"answered-{look}")


@pytest.mark.parametrize("look", ["light"])
def test_outside_the_window_a_template_takes_the_place_of_words(
    page: Any, web: Site, ann: None, demo: Demo, look: str
) -> None:
    (told,) = hear(demo, payloads.text("Where is my parcel?", at=int(time.time()) - 7_200))
    approved(demo, "parcel_news")
    enter(page, web)
    page.goto(f"{web.url}/admin/conversations/{told.conversation_id}")
    page.get_by_label("Reply", exact=True).fill("Unsent words")
    execute("UPDATE conversations SET last_inbound_at = now() - interval '25 hours'")
    # The window closes while one looks: the words stay, and are not to be sent.
    page.get_by_text("only a template can be sent").wait_for()
    assert not page.get_by_label("Reply", exact=True).is_visible()
    page.get_by_text("Send a template").click()
    page.get_by_label("Template", exact=True).select_option(label="parcel_news · en_US · utility")
    settled(page, "#template-bubble")
    page.get_by_label("Body {{1}}").press_sequentially("Ann")
    page.get_by_text("Hello Ann", exact=True).wait_for()
    assert page.evaluate("document.activeElement.value") == "Ann"
    picture(page, f"template-{look}")
    page.get_by_role("button", name="Send the template").click()
    page.locator(".said-by-us").get_by_text("Hello Ann").wait_for()
    assert one(Message, Message.direction == "out").type == "template"
