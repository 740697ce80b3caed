"""An export in a real browser: asked for in a form, watched, downloaded."""

from pathlib import Path
from typing import Any

from crm_tasks.exports.models import Export
from tests.campaigns.audience import person as customer
from tests.exports.files import table
from tests.fixtures import Demo
from tests.messages.apply import one
from tests.outside import Site
from tests.webapp import exported
from tests.webapp.admins import person
from tests.webapp.browsing import EMAIL, MARKS, enter

pytestmark = MARKS


def test_contacts_are_asked_for_watched_and_downloaded(page: Any, web: Site, demo: Demo, tmp_path: Path) -> None:
    person(EMAIL, operator=True)
    customer(demo, 1, tags=["vip"], name="Ann")
    customer(demo, 2, name="Bob")
    enter(page, web)
    page.get_by_role("link", name="Exports", exact=True).click()
    page.get_by_text("Nothing was exported yet").wait_for()
    page.get_by_role("link", name="Messages").click()
    page.get_by_label("On the channel").wait_for()
    page.get_by_role("link", name="Contacts", exact=True).last.click()
    page.get_by_label("With any of these tags").fill("vip")
    page.get_by_label("As", exact=True).select_option("csv")
    page.get_by_role("button", name="Export").click()
    page.get_by_text("waits for its turn").wait_for()
    exported.run(one(Export).id)
    page.get_by_text("1 row, ").wait_for()
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download").click()
    caught.value.save_as(tmp_path / "file.csv")
    assert [each["name"] for each in table((tmp_path / "file.csv").read_bytes())] == ["Ann"]
    assert caught.value.suggested_filename.startswith("contacts-")
    page.get_by_role("button", name="Delete the file").click()
    page.get_by_text("The file was deleted by").wait_for()
