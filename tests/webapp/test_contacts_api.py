"""Contacts over the API: kept, found, refused with the reason, removed."""

from typing import Any

import pytest

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Contact, Identity, IdentityKind, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import Conversation, Message, MessageState
from tests.fixtures import Demo
from tests.messages.apply import accepted, one, ours, rows
from tests.webapp.api import Api, error, fields

ANN = {"name": "Ann Lee", "phone": "+1 (555) 000-1111", "email": "Ann@Example.com", "tags": ["VIP", "new ", "vip"]}


def make(api: Api, **values: Any) -> dict[str, Any]:
    answer = api.post("/contacts", values)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return answer.get_json()


def names(api: Api, **query: Any) -> list[str | None]:
    return [each["name"] for each in api.get("/contacts", query_string=query).get_json()["data"]]


def test_a_contact_is_kept_as_it_is_known_by(api: Api) -> None:
    made = make(api, **ANN, external_id="c-7", time_zone="Europe/Berlin", locale="pt_BR", attributes={"points": 7})
    assert made == api.get(f"/contacts/{made['id']}").get_json()
    assert (made["phone"], made["email"], made["tags"]) == ("+15550001111", "ann@example.com", ["new", "vip"])
    assert (made["external_id"], made["time_zone"], made["locale"]) == ("c-7", "Europe/Berlin", "pt-BR")
    assert made["attributes"] == {"points": 7}
    assert sorted(each["kind"] for each in made["identities"]) == ["email", "phone", "wa_id"]


def test_what_another_has_is_refused_and_the_other_named(api: Api, stranger: Api) -> None:
    ann = make(api, **ANN, external_id="c-7")
    for field, value in (("phone", "0015550001111"), ("email", "ann@EXAMPLE.com"), ("external_id", "c-7")):
        for answer in (api.post("/contacts", {field: value}), api.patch(f"/contacts/{_bob(api)}", {field: value})):
            assert (answer.status_code, error(answer)["code"]) == (409, "identity_taken")
            assert ann["id"] in error(answer)["message"]
            assert "Ann Lee" in fields(answer)[field]
    make(stranger, **ANN, external_id="c-7")


def _bob(api: Api) -> str:
    found = api.get("/contacts", query_string={"q": "Bob"}).get_json()["data"]
    return found[0]["id"] if found else make(api, name="Bob")["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "phone"),
        ({"phone": "9.19E+11"}, "phone"),
        ({"email": "nobody"}, "email"),
        ({"name": "x", "time_zone": "Berlin"}, "time_zone"),
        ({"name": "x", "time_zone": "../etc/passwd"}, "time_zone"),
        ({"name": "x", "locale": "German!"}, "locale"),
        ({"name": "x", "assigned_to": "0b0f3a52-0000-4000-8000-000000000000"}, "assigned_to"),
        ({"name": "x", "tags": [" "]}, "tags"),
        ({"name": "x", "tags": [f"t{n}" for n in range(51)]}, "tags"),
        ({"name": "x", "attributes": {"": 1}}, "attributes."),
        ({"name": "x", "attributes": {"a": [1]}}, "attributes.a"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused_by_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api.post("/contacts", body)
    assert answer.status_code == 422
    assert list(fields(answer)) == [field]
    assert rows(Contact) == []


def test_an_attribute_has_the_type_of_its_first_value(api: Api) -> None:
    ann = make(api, name="Ann", attributes={"points": 7, "city": "Lyon", "vip": True, "born": "1990-02-28"})
    types = {each["name"]: each["type"] for each in api.get("/attributes").get_json()["data"]}
    assert types == {"points": "number", "city": "text", "vip": "boolean", "born": "date"}
    answer = api.patch(
        f"/contacts/{ann['id']}", {"attributes": {"points": "many", "vip": 1, "born": "1990-02-30", "city": "Paris"}}
    )
    wrong = fields(answer)
    assert answer.status_code == 422
    assert sorted(wrong) == ["attributes.born", "attributes.points", "attributes.vip"]
    assert "points is a number, and 'many' is none" in wrong["attributes.points"]
    assert "'1990-02-30'" in wrong["attributes.born"]
    changed = api.patch(f"/contacts/{ann['id']}", {"attributes": {"points": None, "city": "Paris"}}).get_json()
    assert changed["attributes"] == {"city": "Paris", "vip": True, "born": "1990-02-28"}


def test_an_attribute_can_be_defined_before_and_changed_while_nobody_has_it(api: Api) -> None:
    assert api._call("PUT", "/attributes", {"json": {"name": "zip", "type": "text"}}).status_code == 200
    assert make(api, name="Ann", attributes={"zip": "2026-11-21"})["attributes"] == {"zip": "2026-11-21"}
    answer = api._call("PUT", "/attributes", {"json": {"name": "zip", "type": "number"}})
    assert (answer.status_code, error(answer)["code"]) == (409, "attribute_used")
    api._call("PUT", "/attributes", {"json": {"name": "size", "type": "text"}})
    changed = api._call("PUT", "/attributes", {"json": {"name": "size", "type": "number"}})
    assert changed.get_json()["type"] == "number"


def test_a_new_number_takes_the_place_of_the_old_one(api: Api) -> None:
    ann = make(api, **ANN)
    changed = api.patch(f"/contacts/{ann['id']}", {"phone": "+15550002222", "email": None}).get_json()
    assert (changed["phone"], changed["email"]) == ("+15550002222", None)
    used = {each["value"]: each["retired_at"] is None for each in changed["identities"]}
    assert used == {
        "+15550002222": True,
        "15550002222": True,
        "+15550001111": False,
        "15550001111": False,
        "ann@example.com": False,
    }
    make(api, name="Next", phone="+15550001111")


def test_people_are_found_by_a_part_of_what_is_known(api: Api, stranger: Api) -> None:
    make(api, **ANN)
    make(api, name="Bob O'Lee", phone="+49 1511 2345678", tags=["old"])
    make(api, name="100%_sure")
    make(stranger, **ANN)
    assert names(api) == ["100%_sure", "Bob O'Lee", "Ann Lee"]
    for q, expected in {
        "lee": ["Bob O'Lee", "Ann Lee"],
        "NN LEE": ["Ann Lee"],
        "o'lee": ["Bob O'Lee"],
        "an": ["Ann Lee"],
        "le": [],
        "100%_": ["100%_sure"],
        "100__": [],
        "%%%": [],
        "555 000": ["Ann Lee"],
        "(555) 000-1111": ["Ann Lee"],
        "0049 1511": ["Bob O'Lee"],
        "01511 2345": ["Bob O'Lee"],
        "@example": ["Ann Lee"],
        "nobody": [],
    }.items():
        assert names(api, q=q) == expected, q
    assert names(api, tag="VIP") == ["Ann Lee"]
    assert names(api, tag="old", q="lee") == ["Bob O'Lee"]


def test_what_is_common_is_found_among_the_newest_and_then_among_all(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        make(api, name=f"Person {n}", phone=f"+1555000{2000 + n}" if n % 3 else None, email=f"{n}@example.com")
        for n in range(12)
    ]
    api.patch(f"/contacts/{made[0]['id']}", {"phone": "+15550003000"})  # the youngest number, and yet the oldest person
    with db.transaction() as session:
        newest = session.get_one(Contact, made[-1]["id"])
        second = {"contact_id": newest.id, "kind": IdentityKind.PHONE, "value": "+15550003001"}
        session.add(Identity(workspace_id=newest.workspace_id, **second))
    asked = [{"q": q, "limit": 3} for q in ("person", "555000", "@example", "0@exa")]
    expected = [api.get("/contacts", query_string=each).get_json() for each in asked]
    assert [each["name"] for each in expected[1]["data"]] == ["Person 11", "Person 10", "Person 8"]
    monkeypatch.setattr("crm_tasks.contacts.search.FEW", 2)
    for looked_at in (20, 5, 1):  # all of it, a page of it, nothing of it
        monkeypatch.setattr("crm_tasks.contacts.search.NEWEST", looked_at)
        assert [api.get("/contacts", query_string=each).get_json() for each in asked] == expected


@pytest.mark.parametrize("few", [100, 2])
@pytest.mark.parametrize("by", ["tag", "segment_id"])
@pytest.mark.parametrize("new", [10, None])
def test_those_with_a_tag_are_found_page_by_page_however_old_they_are(
    api: Api, monkeypatch: pytest.MonkeyPatch, few: int, by: str, new: int | None
) -> None:
    monkeypatch.setattr("crm_tasks.contacts.search.FEW", few)
    monkeypatch.setattr("crm_tasks.contacts.search.NEWEST", 3)
    for n in range(12):
        make(api, name=f"Person {n}", email=f"{n}@example.com", tags=["vip"] if n < 6 or n == new else [])
    has_it = {"field": "tags", "op": "has", "value": "vip"}
    segment = api.post("/segments", {"name": "Old", "conditions": has_it}).get_json()
    asked = {by: "vip" if by == "tag" else segment["id"], "limit": 4}
    first = api.get("/contacts", query_string=asked).get_json()
    second = api.get("/contacts", query_string={**asked, "cursor": first["next"]}).get_json()
    found = [each["name"] for each in (*first["data"], *second["data"])]
    assert found == [f"Person {n}" for n in (*([new] if new else []), 5, 4, 3, 2, 1, 0)]
    assert (len(first["data"]), second["next"]) == (4, None)


def test_lists_go_on_where_the_page_before_ended(api: Api) -> None:
    for n in range(5):
        make(api, name=f"Person {n}", phone=f"+1555000200{n}", email=f"{n}@example.com")
    seen, cursor = [], None
    for _ in range(3):
        got = api.get("/contacts", query_string={"limit": 2, "q": "555000200", "cursor": cursor or ""}).get_json()
        seen += [each["name"] for each in got["data"]]
        cursor = got["next"]
    assert seen == [f"Person {n}" for n in (4, 3, 2, 1, 0)]
    assert cursor is None


def test_the_same_request_makes_one_contact(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, second = (api.post("/contacts", ANN, headers=headers) for _ in range(2))
    assert first.get_json() == second.get_json()
    assert len(rows(Contact)) == 1


def test_segments_are_kept_counted_and_listed(api: Api, stranger: Api) -> None:
    make(api, **ANN, attributes={"points": 7})
    make(api, name="Bob", attributes={"points": 3})
    wanted = {"all": [{"field": "attributes.points", "op": ">", "value": 5}]}
    made = api.post("/segments", {"name": "Best", "conditions": wanted})
    assert made.status_code == 201
    path = f"/segments/{made.get_json()['id']}"
    assert api.get(path).get_json()["conditions"] == wanted
    assert api.get(path + "/count").get_json() == {"count": 1}
    assert api.post("/segments/count", {"conditions": {"not": wanted}}).get_json() == {"count": 1}
    assert [each["name"] for each in api.get(path + "/contacts").get_json()["data"]] == ["Ann Lee"]
    assert names(api, segment_id=made.get_json()["id"]) == ["Ann Lee"]
    assert error(api.post("/segments", {"name": "Best", "conditions": wanted}))["code"] == "segment_exists"
    changed = api.patch(path, {"name": "Good", "conditions": {"field": "name", "op": "is", "value": "bob"}})
    assert changed.get_json()["name"] == "Good"
    assert api.get(path + "/count").get_json() == {"count": 1}
    assert names(api, segment_id=made.get_json()["id"]) == ["Bob"]
    assert stranger.get(path).status_code == 404
    wrong = api.patch(path, {"conditions": {"any": [{"field": "attributes.point", "op": ">", "value": 5}]}})
    assert list(fields(wrong)) == ["conditions.any.0.field"]
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_consent_is_shown_with_what_proves_it(demo: Demo, api: Api) -> None:
    ann = make(api, **ANN)
    with db.transaction() as session:
        for act in (suppression.suppress, suppression.allow, suppression.suppress):
            act(
                session,
                demo.workspace_id,
                "+15550001111",
                medium="sms",
                scope=SuppressionScope.MARKETING,
                reason="keyword",
                actor="customer",
                evidence={"word": "STOP"},
            )
    found = api.get(f"/contacts/{ann['id']}/consent").get_json()
    assert [each["address"] for each in found["suppressions"]] == ["+15550001111"]
    assert sorted(each["allowed"] for each in found["history"]) == [False, False, True]
    assert found["history"][0]["evidence"] == {"word": "STOP"}


# --- removing ----------------------------------------------------------------------------------------------------


def test_a_contact_goes_with_its_conversations_and_what_waits_is_cancelled(demo: Demo, api: Api) -> None:
    waiting = ours(demo, MessageState.QUEUED)
    accepted(demo, "wamid.1")
    assert api.delete(f"/contacts/{waiting.contact_id}").status_code == 204
    assert (rows(Contact), rows(Conversation), rows(Message)) == ([], [], [])
    assert one(Job, Job.id == waiting.job_id).state is JobState.CANCELLED
    assert api.delete(f"/contacts/{waiting.contact_id}").status_code == 404


def test_whom_something_is_being_sent_to_stays(demo: Demo, api: Api) -> None:
    sending = ours(demo, MessageState.SENDING)
    ours(demo, MessageState.QUEUED)
    answer = api.delete(f"/contacts/{sending.contact_id}")
    assert (answer.status_code, error(answer)["code"]) == (409, "message_under_way")
    assert len(rows(Message)) == 2


def test_who_was_made_by_another_stays_out_of_reach(api: Api, stranger: Api) -> None:
    path = f"/contacts/{make(api, **ANN)['id']}"
    for answer in (stranger.get(path), stranger.patch(path, {"name": "x"}), stranger.delete(path)):
        assert (answer.status_code, error(answer)["code"]) == (404, "contact_not_found")
    assert stranger.delete(path + "?erase=true").status_code == 404
