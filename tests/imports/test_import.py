"""Imports from the file to the contacts: matching, policies, totals, refused rows, consent, and who is told."""

import csv
import io
import uuid
from typing import Any

import pytest

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Attribute, ConsentEvent, Contact, Identity, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.imports import running
from crm_tasks.imports.models import ImportReject
from crm_tasks.messages.models import Message
from crm_tasks.notifications.models import Notification
from crm_tasks.webhooks.models import Event
from tests.fixtures import Demo
from tests.imports.files import (
    PEOPLE,
    accepted,
    contact,
    files,
    imported,
    names_of,
    seen,
    totals,
    upload,
)
from tests.imports.messy import messy
from tests.messages.apply import one, rows
from tests.webapp.api import Api, error, fields
from tests.webhooks.hooks import add as add_endpoint
from tests.webhooks.hooks import work_off


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches, also of a small file; of each both parts."""
    monkeypatch.setattr(running, "BATCH", 700)
    monkeypatch.setattr(running, "_WORTH_TWO", 300)


@pytest.mark.parametrize("duplicates", ["skip", "update", "merge"])
def test_a_messy_file_gives_the_totals_of_an_independent_count(api: Api, duplicates: str) -> None:
    text, expected, contacts = messy(5_000, duplicates)
    done = imported(api, text, region="BR", duplicates=duplicates, mapping=MESSY)
    assert done["state"] == "finished"
    assert totals(done) == expected
    assert done["totals"]["rows"] == 5_000
    assert len(rows(Contact)) == contacts == expected[0]
    refused = list(csv.DictReader(io.StringIO(api.get(f"/imports/{done['id']}/rejects").get_data(as_text=True)[1:])))
    assert len(refused) == expected[3]
    assert {each["code"] for each in refused} == CODES
    lines = text.splitlines()
    for each in refused:
        # A phone number in the list is kept from being a formula.
        assert each["value"].lstrip("'") in lines[int(each["line"]) - 1]


MESSY = (
    '{"name": "name", "phone": "phone", "email": "email", "tags": "tags", "age": "attribute:age:number",'
    ' "since": "attribute:since:date", "zone": "time_zone"}'
)
CODES = {
    "bad_phone_number",
    "destroyed_by_spreadsheet",
    "bad_email",
    "no_address",
    "too_many_fields",
    "bad_number",
    "bad_date",
    "bad_time_zone",
}


def test_a_clean_file_becomes_contacts(demo: Demo, api: Api) -> None:
    done = imported(api, PEOPLE, tags="Imported, new ")
    assert (done["state"], totals(done)) == ("finished", (3, 0, 0, 0))
    ana = contact("+5511987654321")
    assert (ana.name, ana.tags) == ("Ana", ["imported", "lead", "new", "vip"])
    assert (ana.workspace_id, str(ana.import_id)) == (demo.workspace_id, done["id"])
    assert contact("ana@example.com").id == ana.id
    assert names_of(ana.id) == ["+5511987654321", "ana@example.com"]
    assert done["progress"]["percent"] == 100
    assert one(Job, Job.task == "imports.run").args == {"import_id": done["id"]}
    assert files() == []


@pytest.mark.parametrize(
    ("duplicates", "name", "city", "counts"),
    [
        ("skip", "Ana", "Rome", (1, 0, 3, 0)),
        ("update", "Ana Maria", "Paris", (1, 3, 0, 0)),
        ("merge", "Ana", "Rome", (1, 3, 0, 0)),
    ],
)
def test_a_contact_that_is_there_is_treated_as_the_policy_says(
    api: Api, duplicates: str, name: str, city: str, counts: tuple[int, ...]
) -> None:
    mapping = (
        '{"name": "name", "phone": "phone", "email": "email", "id": "external_id", "city": "attribute:city", '
        '"size": "attribute:size", "tags": "tags", "lang": "locale"}'
    )
    head = "name,phone,email,id,city,size,tags,lang\n"
    imported(api, head + "Ana,+14155550101,ana@example.com,A1,Rome,,vip,\n", mapping=mapping)
    again = (
        "Ana Maria,+14155550101,,,Paris,L,lead,it\n"  # by her number
        ",+14155550102,ANA@example.com,,,,,\n"  # by her address; another number of hers
        ",,second@example.com,A1,,,,\n"  # by the business's own id
        "Other,+14155550109,,B1,,,,\n"
    )
    done = imported(api, head + again, mapping=mapping, duplicates=duplicates)
    assert totals(done) == counts
    ana = contact("+14155550101")
    assert (ana.name, ana.attributes["city"], ana.external_id) == (name, city, "A1")
    assert len(rows(Contact)) == 2
    if duplicates == "skip":
        assert (ana.tags, ana.locale, ana.attributes) == (["vip"], None, {"city": "Rome"})
        assert names_of(ana.id) == ["+14155550101", "ana@example.com"]
    else:
        assert (ana.tags, ana.locale, ana.attributes["size"]) == (["lead", "vip"], "it", "L")
        assert names_of(ana.id) == ["+14155550101", "+14155550102", "ana@example.com", "second@example.com"]


@pytest.mark.parametrize(
    ("duplicates", "name", "counts"),
    [("skip", "first", (2, 0, 2, 0)), ("update", "third", (2, 2, 0, 0)), ("merge", "first", (2, 2, 0, 0))],
)
@pytest.mark.parametrize("batch", [700, 1])
def test_the_same_person_twice_in_a_file_is_one_contact(
    api: Api, monkeypatch: pytest.MonkeyPatch, batch: int, duplicates: str, name: str, counts: tuple[int, ...]
) -> None:
    monkeypatch.setattr(running, "BATCH", batch)
    text = (
        "name,phone,email\nfirst,+14155550101,a@example.com\nother,+14155550102,\n"
        "second,+1 (415) 555-0101,\nthird,,A@example.com\n"
    )
    assert totals(imported(api, text, duplicates=duplicates)) == counts
    assert contact("+14155550101").name == name


def test_a_name_of_two_contacts_stays_where_it_is(api: Api) -> None:
    imported(api, "phone,email,id\n+14155550101,a@example.com,A1\n+14155550102,b@example.com,B1\n")
    done = imported(api, "phone,email,id\n+14155550101,b@example.com,B1\n", duplicates="update")
    assert totals(done) == (0, 1, 0, 0)
    assert contact("b@example.com").id == contact("+14155550102").id
    assert contact("+14155550101").external_id == "A1"


def test_a_number_that_whatsapp_writes_otherwise_is_the_same_person(api: Api) -> None:
    imported(api, "phone,name\n+551187654321,Ana\n")
    done = imported(api, "phone,name\n+5511987654321,Ana\n+55 11 8765-4321,Ana\n")
    assert totals(done) == (0, 0, 2, 0)


def test_columns_are_what_the_mapping_says(api: Api) -> None:
    text = "A,B,C,D,E,F\n(11) 98765-4321,Ana,Lima,yes,2026-01-02,27\n"
    mapping = (
        '{"A": "phone", "B": "first_name", "C": "last_name", "D": "attribute:member:boolean", '
        '"E": "attribute:since:date", "F": "ignore"}'
    )
    imported(api, text, mapping=mapping, region="br")
    found = contact("+5511987654321")
    assert (found.name, found.attributes) == ("Ana Lima", {"member": True, "since": "2026-01-02"})
    with db.transaction() as session:
        known = {each.name: each.type for each in session.query(Attribute)}
    assert known == {"member": "boolean", "since": "date"}


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"mapping": '{"fone": "phone"}'}, "mapping.fone", "Did you mean 'phone'?"),
        ({"mapping": '{"phone": "fone"}'}, "mapping.phone", "Did you mean 'phone'?"),
        ({"mapping": '{"phone": "name", "name": "name"}'}, "mapping.phone", "already"),
        ({"mapping": '{"name": "name"}'}, "mapping", "phone numbers"),
        ({"mapping": '{"phone": "phone", "name": "attribute:"}'}, "mapping.name", "name of 1 to 64"),
        ({"mapping": "[1]"}, "mapping", "JSON object"),
        ({"mapping": "{"}, "mapping", "JSON object"),
        ({"region": "XX"}, "region", "two letters"),
        ({"duplicates": "overwrite"}, "duplicates", ""),
        ({"tags": "x" * 65}, "tags", "at most 20 tags"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(api: Api, form: dict[str, Any], field: str, words: str) -> None:
    answer = upload(api, PEOPLE, **form)
    assert answer.status_code == 422, answer.get_json()
    assert words in fields(answer)[field]
    assert (files(), rows(Job)) == ([], [])


def test_an_attribute_keeps_its_type(api: Api) -> None:
    text = "phone,age\n+14155550101,41\n"
    imported(api, text, mapping='{"phone": "phone", "age": "attribute:age:number"}')
    other = upload(api, text, mapping='{"phone": "phone", "age": "attribute:age:date"}')
    assert "is a number" in fields(other)["mapping"]
    done = imported(api, "phone,age\n+14155550102,old\n", mapping='{"phone": "phone", "age": "attribute:age"}')
    assert totals(done) == (0, 0, 0, 1)
    with db.transaction() as session:
        assert session.query(ImportReject).one().code == "bad_number"


def test_an_import_takes_no_refusal_back(demo: Demo, api: Api) -> None:
    with db.transaction() as session:
        suppression.suppress(
            session,
            demo.workspace_id,
            "+14155550101",
            medium="*",
            scope=SuppressionScope.ALL,
            reason="keyword",
            actor="customer",
            evidence={},
        )
    text = "phone,opt_in,opt_in_at,opt_in_source\n+14155550101,yes,2026-01-02,shop\n+14155550102,no,,\n"
    imported(api, text, duplicates="update")
    with db.transaction() as session:
        assert [each.active for each in suppression.listed(session, demo.workspace_id)] == [True]
    told = rows(ConsentEvent, ConsentEvent.reason == "import")
    assert [(each.address, each.allowed) for each in told] == [("+14155550101", True), ("+14155550102", False)]
    assert told[0].occurred_at.isoformat() == "2026-01-02T00:00:00+00:00"
    assert told[0].evidence["source"] == "shop"


def test_an_imported_contact_can_be_written_to(demo: Demo, api: Api) -> None:
    imported(api, "phone\n+14155550101\n")
    body = {
        "channel_id": str(demo.channel_id),
        "to": "+14155550101",
        "type": "template",
        "template": {"name": "hello", "language": {"code": "en"}},
    }
    assert api.post("/messages", body).status_code in (202, 422)
    with db.transaction() as session:
        from crm_tasks.messages.service import outbox

        new = outbox.NewMessage(type="template", content={"name": "hello_world", "language": {"code": "en_US"}})
        sent = outbox.send_to(session, demo.workspace_id, demo.channel_id, "+14155550101", new)
        assert sent.contact_id == contact("+14155550101").id
    assert len(rows(Contact)) == 1
    assert {each.kind for each in rows(Identity)} == {"phone", "wa_id"}
    assert rows(Message)


def test_those_who_wait_for_it_are_told(demo: Demo, api: Api) -> None:
    add_endpoint(demo, "https://example.test/hook", "import.finished")
    done = imported(api, PEOPLE + "Dan,12,,\n")
    event = one(Event)
    assert event.type == "import.finished"
    assert f'"import_id":"{done["id"]}"'.encode() in event.body
    assert b'"rejected":1' in event.body
    notification = one(Notification)
    assert (notification.kind, notification.severity) == ("import.finished", "warning")
    assert "4 rows: 3 created, 0 updated, 0 skipped, 1 rejected." in notification.text


def test_a_file_without_rows_is_finished_at_once(api: Api) -> None:
    done = imported(api, "phone,name\n\n")
    assert (done["state"], totals(done)) == ("finished", (0, 0, 0, 0))


def test_a_long_import_is_handed_from_job_to_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "BATCH", 10)
    monkeypatch.setattr(running, "SHARE", -1.0)
    done = imported(api, "phone\n" + "".join(f"+1415555{n:04d}\n" for n in range(100, 135)))
    assert (done["state"], totals(done)) == ("finished", (35, 0, 0, 0))
    jobs = rows(Job, Job.task == "imports.run")
    assert [job.state for job in jobs] == ["succeeded"] * 4
    assert done["job_id"] == str(jobs[-1].id)


def test_a_request_that_is_sent_again_imports_nothing_again(api: Api) -> None:
    key = {"Idempotency-Key": "monday"}
    first = upload(api, PEOPLE, headers=key)
    again = upload(api, PEOPLE, headers=key)
    assert again.get_json() == first.get_json()
    assert len(files()) == 1
    other = upload(api, PEOPLE, headers=key, duplicates="merge")
    assert (other.status_code, error(other)["code"]) == (409, "idempotency_conflict")
    assert len(files()) == 1


def test_the_imports_of_another_workspace_do_not_exist(api: Api, stranger: Api) -> None:
    import_id = accepted(api, PEOPLE)
    for call in (
        stranger.get(f"/imports/{import_id}"),
        stranger.get(f"/imports/{import_id}/rejects"),
        stranger.post(f"/imports/{import_id}/cancel"),
        stranger.post(f"/imports/{import_id}/undo"),
    ):
        assert (call.status_code, error(call)["code"]) == (404, "import_not_found")
    assert stranger.get("/imports").get_json()["data"] == []
    assert [each["id"] for each in api.get("/imports").get_json()["data"]] == [str(import_id)]


def test_contacts_of_another_workspace_are_not_touched(api: Api, stranger: Api) -> None:
    imported(stranger, PEOPLE)
    assert totals(imported(api, PEOPLE.replace("Ana", "Eva"), duplicates="update")) == (3, 0, 0, 0)
    assert sorted(each.name for each in rows(Contact, Contact.tags == ["lead", "vip"])) == ["Ana", "Eva"]


def test_an_import_is_listed_page_by_page(api: Api) -> None:
    made = [str(accepted(api, PEOPLE)) for _ in range(3)]
    first = api.get("/imports?limit=2").get_json()
    assert [each["id"] for each in first["data"]] == [made[2], made[1]]
    second = api.get(f"/imports?limit=2&cursor={first['next']}").get_json()
    assert ([each["id"] for each in second["data"]], second["next"]) == ([made[0]], None)


def test_a_cell_that_a_spreadsheet_would_run_is_defused_in_the_list_of_refused_rows(api: Api) -> None:
    done = imported(api, 'phone\n"=HYPERLINK(""http://x"")"\n@SUM(1)\n')
    text = api.get(f"/imports/{done['id']}/rejects").get_data(as_text=True)
    values = [each["value"] for each in csv.DictReader(io.StringIO(text[1:]))]
    assert [value[:2] for value in values] == ["'=", "'@"]


def test_an_import_that_waits_shows_nothing_yet(api: Api) -> None:
    shown = seen(api, accepted(api, PEOPLE))
    assert (shown["state"], shown["totals"]["rows"], shown["error"]) == ("queued", 0, None)
    assert uuid.UUID(shown["job_id"])
    work_off()
