"""Contacts in the admin: found, shown with all that is known, made, changed, erased; refused in words."""

import uuid

import pytest
from flask import Flask

from crm_tasks.contacts.models import AttributeType, ConsentEvent, Contact, Identity, Suppression
from crm_tasks.imports.bulk_models import Erasure
from tests import payloads
from tests.campaigns.audience import attribute, person
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import hear, one, rows
from tests.webapp.admins import Browser, browser


@pytest.fixture
def ann(app: Flask, demo: Demo) -> Browser:
    """Somebody who looks after customers."""
    return browser(app, demo, "agent")


def contact(contact_id: uuid.UUID) -> Contact:
    return one(Contact, Contact.id == contact_id)


def names(contact_id: uuid.UUID) -> set[str]:
    kept = rows(Identity, Identity.contact_id == contact_id, Identity.retired_at.is_(None), Identity.kind != "wa_id")
    return {each.value for each in kept}


def test_without_a_contact_the_page_says_what_to_do(ann: Browser) -> None:
    assert "No contact yet. Make one, or import a file" in ann.text("/contacts")


def test_contacts_are_found_by_name_number_address_and_tag(ann: Browser, demo: Demo) -> None:
    person(demo, 1, name="Zoe Berg", tags=["vip"])
    person(demo, 2, name="Ben")
    assert all(name in ann.text("/contacts") for name in ("Zoe Berg", "Ben", "+14155550001"))
    for query in ("q=zoe", "q=555-0001", "tag=VIP", "q=berg&tag=vip"):
        page = ann.text(f"/contacts?{query}")
        assert ("Zoe Berg" in page, ">Ben<" in page) == (True, False), query
    assert "Nobody matches." in ann.text("/contacts?q=nobody")


def test_a_long_list_has_pages_that_show_everybody_once(ann: Browser, demo: Demo) -> None:
    ids = {str(person(demo, number)) for number in range(60)}
    first = ann.text("/contacts?q=person")
    more = first[first.index("before=") :].partition('"')[0].replace("&amp;", "&")
    second = ann.text(f"/contacts?{more}")
    seen = [{each for each in ids if f"/contacts/{each}" in page} for page in (first, second)]
    assert (len(seen[0]), len(seen[1]), seen[0] | seen[1]) == (50, 10, ids)


@pytest.mark.parametrize(
    "query",
    ["q=%00", "q=%ed%a0%80", "tag=%00", "segment_id=x", "before=x", f"q={'x' * 3000}"],
    ids=lambda text: text[:12],
)
def test_nothing_that_is_asked_for_breaks_the_list(ann: Browser, query: str) -> None:
    assert ann.get(f"/contacts?{query}").status_code in (200, 404)


def test_one_is_shown_with_history_and_consent(ann: Browser, demo: Demo) -> None:
    (told,) = hear(demo, payloads.text("Where is my parcel?"))
    attribute(demo, "city")
    contact_id = told.contact_id
    execute("UPDATE contacts SET attributes = '{\"city\": \"Lyon\"}', tags = '{vip}' WHERE id = :id", id=contact_id)
    page = ann.text(f"/contacts/{contact_id}")
    for shown in ("Ann", "+15550001111", "Lyon", ">vip<", "Where is my parcel?", "Nothing is refused."):
        assert shown in page, shown


def test_what_a_person_said_is_written_down_with_its_proof(ann: Browser, demo: Demo) -> None:
    contact_id = person(demo, 1)
    path = f"/contacts/{contact_id}"
    said = {"allowed": "no", "scope": "marketing", "medium": "*", "note": "by phone on Monday"}
    assert ann.post(f"{path}/consent", **said).status_code == 302
    page = ann.text(path)
    assert "no marketing" in page
    assert "by phone on Monday" in page
    assert ann.post(f"{path}/consent", **{**said, "allowed": "yes", "note": "asked for it"}).status_code == 302
    assert "Nothing is refused." in ann.text(path)
    assert [each.actor for each in rows(ConsentEvent)] == ["user:agent@example.test"] * 2


@pytest.mark.parametrize(("field", "value"), [("note", ""), ("medium", "pigeon"), ("scope", "some")])
def test_words_without_a_proof_or_a_place_are_refused(ann: Browser, demo: Demo, field: str, value: str) -> None:
    said = {"allowed": "no", "scope": "all", "medium": "*", "note": "by phone", field: value}
    assert ann.post(f"/contacts/{person(demo, 1)}/consent", **said).status_code == 422
    assert rows(Suppression) == []


# --- the form ----------------------------------------------------------------------------------------------------


def test_a_contact_is_made_with_the_form(ann: Browser, demo: Demo) -> None:
    attribute(demo, "age", AttributeType.NUMBER)
    answer = ann.post(
        "/contacts/new",
        **{"name": "Zoe", "phone": "(415) 555-0123", "tags": "VIP, lead", "attribute.age": "41", "new_name": "city"},
        new_value="Lyon",
    )
    assert answer.status_code == 302, answer.get_data(as_text=True)
    made = one(Contact)
    assert (made.name, made.tags, made.attributes) == ("Zoe", ["lead", "vip"], {"age": 41, "city": "Lyon"})
    assert names(made.id) == {"+14155550123"}
    assert answer.location == f"/admin/contacts/{made.id}"


def test_only_what_was_changed_is_written(ann: Browser, demo: Demo) -> None:
    contact_id = person(demo, 1, name="Zoe", tags=["vip"])
    execute(
        "INSERT INTO identities (id, workspace_id, contact_id, kind, value) "
        "VALUES (gen_random_uuid(), :w, :c, 'phone', '+14155559999')",
        w=demo.workspace_id,
        c=contact_id,
    )
    form = ann.text(f"/contacts/{contact_id}/edit")
    assert 'value="+14155550001"' in form
    given = {"name": "Zoe Berg", "phone": "+14155550001", "tags": "vip", "email": "zoe@example.com"}
    assert ann.post(f"/contacts/{contact_id}/edit", **given).status_code == 302
    assert (contact(contact_id).name, contact(contact_id).tags) == ("Zoe Berg", ["vip"])
    # The second number, which the form does not show, stays.
    assert names(contact_id) == {"+14155550001", "+14155559999", "zoe@example.com"}


def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(ann: Browser, demo: Demo) -> None:
    attribute(demo, "age", AttributeType.NUMBER)
    person(demo, 1, name="Zoe")
    given = {"name": "Double", "phone": "+14155550001"}
    taken = ann.post("/contacts/new", **given)
    text = taken.get_data(as_text=True)
    assert taken.status_code == 422
    assert "It belongs to contact" in text
    assert 'value="Double"' in text
    old = ann.post("/contacts/new", **{"name": "A", "attribute.age": "old"}).get_data(as_text=True)
    assert "age is a number, and &#39;old&#39; is none" in old
    for wrong in ({"phone": "12"}, {"time_zone": "Mars"}, {"assigned_to": str(uuid.uuid4())}, {}, {"tags": "x" * 99}):
        assert ann.post("/contacts/new", **wrong).status_code == 422, wrong
    assert len(rows(Contact)) == 1


def test_a_person_is_looked_after_by_somebody_of_the_workspace_only(ann: Browser, demo: Demo, other: Demo) -> None:
    from crm_tasks.workspaces.roles import MemberRole
    from tests.webapp.admins import person as user

    contact_id = person(demo, 1)
    stranger = user("eve@example.test", (other.workspace_id, MemberRole.AGENT))
    mine = user("bea@example.test", (demo.workspace_id, MemberRole.AGENT))
    assert ann.post(f"/contacts/{contact_id}/edit", assigned_to=str(stranger)).status_code == 422
    assert "eve@example.test" not in ann.text(f"/contacts/{contact_id}/edit")
    given = {"name": "Person 1", "phone": "+14155550001", "assigned_to": str(mine)}
    assert ann.post(f"/contacts/{contact_id}/edit", **given).status_code == 302
    assert contact(contact_id).assigned_to == mine


# --- erased ------------------------------------------------------------------------------------------------------


def test_a_person_is_erased_once_the_word_was_typed(app: Flask, demo: Demo) -> None:
    who, contact_id = browser(app, demo, "admin"), person(demo, 1, name="Zoe")
    refused = who.post(f"/contacts/{contact_id}/erase", confirm="yes")
    assert refused.status_code == 422
    assert "Type erase" in refused.get_data(as_text=True)
    assert contact(contact_id).erased_at is None
    assert who.post(f"/contacts/{contact_id}/erase", confirm="erase").status_code == 302
    page = who.text(f"/contacts/{contact_id}")
    assert "Erased contact" in page
    assert "Zoe" not in page
    assert one(Erasure).actor == "user:admin@example.test"
    assert who.get(f"/contacts/{contact_id}/edit").status_code == 409
    said = {"allowed": "no", "scope": "all", "medium": "*", "note": "by phone"}
    assert who.post(f"/contacts/{contact_id}/consent", **said).status_code == 422
    assert execute("SELECT action, subject FROM audit_events WHERE action = 'admin.erase'") == [
        ("admin.erase", str(contact_id))
    ]


def test_an_agent_cannot_erase(ann: Browser, demo: Demo) -> None:
    contact_id = person(demo, 1)
    assert ann.post(f"/contacts/{contact_id}/erase", confirm="erase").status_code == 403
    assert contact(contact_id).erased_at is None
    assert "Erase this person" not in ann.text(f"/contacts/{contact_id}")
