"""One action on many contacts in the admin: asked about once more, watched, stopped."""

import re
import uuid

import pytest
from flask import Flask

from crm_tasks.contacts import segments
from crm_tasks.contacts.models import Contact
from crm_tasks.core import db
from crm_tasks.imports.bulk_models import BulkAction
from tests.campaigns.audience import person
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import one, rows
from tests.webapp.admins import Browser, browser
from tests.webhooks.hooks import work_off


@pytest.fixture
def mia(app: Flask, demo: Demo) -> Browser:
    """A marketer."""
    return browser(app, demo, "marketer")


@pytest.fixture
def guests(demo: Demo) -> str:
    """Five people of whom three are guests; return the segment of these."""
    for n in range(5):
        person(demo, n, tags=["guest"] if n < 3 else [])
    with db.transaction() as session:
        wanted = {"field": "tags", "op": "has", "value": "guest"}
        return str(segments.create(session, demo.workspace_id, name="Guests", conditions=wanted).id)


def figures(page: str) -> list[str]:
    return re.findall(r'<div class="h1[^>]*>([^<]*)<', page)


def test_all_of_a_segment_are_tagged_and_one_sees_how_far_it_is(mia: Browser, guests: str) -> None:
    assert "Nothing was done to many at once." in mia.text("/bulk")
    assert f"/bulk/new?segment_id={guests}" in mia.text(f"/segments/{guests}")
    form = mia.text(f"/bulk/new?segment_id={guests}")
    assert re.search(r"<strong>3</strong>\s+contacts\s+in the segment\s+<strong>Guests</strong>", form)
    answer = mia.post("/bulk/new", segment_id=guests, action="tag", tags="Spring, fair")
    assert answer.status_code == 302, answer.get_data(as_text=True)
    place = answer.location.removeprefix("/admin")
    assert "Waits for a worker." in mia.text(place)
    assert "hx-get" in mia.text(f"{place}/part")
    work_off()
    part = mia.text(f"{place}/part")
    assert (figures(part), "hx-get" in part) == (["3", "3", "3", "0"], False)
    assert sum(each.tags == ["fair", "guest", "spring"] for each in rows(Contact)) == 3
    assert one(BulkAction).actor == "user:marketer@example.test"
    assert "tag with fair, spring" in mia.text("/bulk")
    assert "segment Guests" in mia.text("/bulk")


def test_all_of_a_tag_lose_it_and_everybody_gets_somebody(mia: Browser, guests: str, demo: Demo) -> None:
    assert "/bulk/new?tag=guest" in mia.text("/contacts?tag=guest")
    assert mia.post("/bulk/new", tag="guest", action="untag", tags="guest").status_code == 302
    ((mine,),) = execute("SELECT id FROM users")
    assert mia.post("/bulk/new", action="assign", user_id=str(mine)).status_code == 302
    work_off()
    assert [each.tags for each in rows(Contact)] == [[]] * 5
    assert {each.assigned_to for each in rows(Contact)} == {mine}
    assert "have marketer@example.test look after them" in mia.text("/bulk")
    assert "everybody" in mia.text("/bulk")


def test_many_are_deleted_by_an_admin_who_has_typed_the_word(app: Flask, demo: Demo, guests: str) -> None:
    mia, who = browser(app, demo, "marketer"), browser(app, demo, "admin")
    assert "Delete them" not in mia.text("/bulk/new?tag=guest")
    assert mia.post("/bulk/new", tag="guest", action="delete", confirm="delete").status_code == 403
    refused = who.post("/bulk/new", tag="guest", action="delete", confirm="yes")
    assert refused.status_code == 422
    assert "Type delete to say that you mean it" in refused.get_data(as_text=True)
    assert rows(BulkAction) == []
    assert who.post("/bulk/new", tag="guest", action="delete", confirm="delete").status_code == 302
    work_off()
    assert len(rows(Contact)) == 2


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 422),
        ({"action": "boom"}, 422),
        ({"action": "tag"}, 422),
        ({"action": "tag", "tags": "x" * 65}, 422),
        ({"action": "tag", "tags": "\x00"}, 302),
        ({"action": "assign", "user_id": str(uuid.UUID(int=1))}, 422),
        ({"action": "assign", "user_id": "x"}, 422),
        ({"action": "tag", "tags": "a", "segment_id": str(uuid.UUID(int=1))}, 404),
        ({"action": "tag", "tags": "a", "segment_id": "x"}, 404),
    ],
    ids=["nothing", "no action", "no tag", "long tag", "nul", "nobody", "no id", "no segment", "odd segment"],
)
def test_what_cannot_be_done_is_refused_in_words(mia: Browser, guests: str, given: dict[str, str], status: int) -> None:
    assert mia.post("/bulk/new", **given).status_code == status
    assert len(rows(BulkAction)) == (status == 302)


def test_one_is_stopped(mia: Browser, guests: str) -> None:
    place = mia.post("/bulk/new", action="tag", tags="a").location.removeprefix("/admin")
    assert mia.post(f"{place}/cancel").status_code == 302
    assert mia.post(f"{place}/cancel").status_code == 409
    work_off()
    assert all("a" not in each.tags for each in rows(Contact))
    assert mia.get(f"/bulk/{uuid.uuid4()}").status_code == 404
