"""Exports: what is asked for is in the file, and nothing else; the file is kept, linked, and goes."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from crm_tasks.analytics import service as housekeeping
from crm_tasks.config import settings
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import AttributeType, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import Job
from crm_tasks.exports.models import Export
from crm_tasks.exports.writers import Xlsx
from crm_tasks.notifications.models import Notification
from crm_tasks.providers import storage
from crm_tasks.webhooks.models import Event
from crm_tasks.workspaces.models import AuditEvent
from tests.campaigns.audience import attribute, campaign, person
from tests.core.ledger import execute
from tests.exports.files import asked, exported, fetched, files, made, run, seen, sheets, table
from tests.fixtures import Demo
from tests.messages.apply import hear, one, rows
from tests.messages.outgoing import post
from tests.payloads import text
from tests.webapp.api import Api, error, fields
from tests.webapp.dead import dead
from tests.webhooks.hooks import add, run_one

FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', "＝1"]


def test_contacts_are_what_they_are_with_their_attributes_and_what_they_refuse(demo: Demo, api: Api) -> None:
    attribute(demo, "city")
    attribute(demo, "points", AttributeType.NUMBER)
    attribute(demo, "name")
    values = {"city": "São Paulo", "points": -5, "name": "odd"}
    ann = person(demo, 1, name="Ann, “A.”", tags=["lead", "vip"], attributes=values, locale="pt-BR")
    person(demo, 2, name=None)
    with db.transaction() as session:
        how = {"medium": "whatsapp", "scope": SuppressionScope.MARKETING, "reason": "api", "actor": "x", "evidence": {}}
        suppression.suppress(session, demo.workspace_id, "+14155550001", **how)
    first, second = exported(api, "contacts")
    assert (first["id"], first["name"], first["phone"]) == (str(ann), "Ann, “A.”", "+14155550001")
    assert (first["tags"], first["city"], first["points"], first["attribute:name"]) == (
        *("lead;vip", "São Paulo", "-5", "odd"),
    )
    assert (first["opted_out"], second["opted_out"], second["name"]) == ("whatsapp:marketing", "", "")
    assert datetime.fromisoformat(first["created_at"]).tzinfo is not None


def test_an_audience_is_those_of_a_tag_or_of_a_segment(demo: Demo, api: Api) -> None:
    for number in range(4):
        person(demo, number, tags=["vip"] if number % 2 else [])
    wanted = {"name": "odd ones", "conditions": {"field": "tags", "op": "has", "value": "vip"}}
    segment = api.post("/segments", wanted).get_json()["id"]
    by_tag = exported(api, "contacts", audience={"tags": ["VIP"]})
    by_segment = exported(api, "contacts", audience={"segment_id": segment})
    assert [each["name"] for each in by_tag] == [each["name"] for each in by_segment] == ["Person 1", "Person 3"]


def test_it_goes_on_page_by_page_to_the_last_row(demo: Demo, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("people", "talk", "letters"):
        monkeypatch.setattr(f"crm_tasks.exports.{room}.PAGE", 2)
    for number in range(5):
        person(demo, number)
        post(demo, f"Hello {number}", to=f"+1415555000{number}")
        dead(f"cause {number}", workspace_id=demo.workspace_id)
    for kind in ("contacts", "conversations", "messages", "dead_letters"):
        found = exported(api, kind)
        assert len({each["id"] for each in found}) == len(found) == 5, kind


def test_messages_are_those_of_a_time_a_channel_and_a_direction(demo: Demo, api: Api) -> None:
    (heard,) = hear(demo, text("Hi there"))
    sent = post(demo, "Hello you")
    out, back = sorted(exported(api, "messages"), key=lambda each: each["direction"], reverse=True)
    assert (out["id"], out["text"], out["phone"], out["state"]) == (str(sent), "Hello you", "+15550001111", "queued")
    assert (back["id"], back["text"], back["channel"], back["author"]) == (
        str(heard.id),
        "Hi there",
        "Number",
        "customer",
    )
    assert [each["id"] for each in exported(api, "messages", direction="in")] == [str(heard.id)]
    long_ago = {"since": "2020-01-01T00:00:00Z", "until": "2021-01-01T00:00:00Z"}
    assert exported(api, "messages", **long_ago) == []
    assert len(exported(api, "messages", since="2020-01-01T00:00:00Z", channel_id=str(demo.channel_id))) == 2
    (talk,) = exported(api, "conversations")
    assert (talk["channel_kind"], talk["phone"], talk["last_inbound_at"] != "") == ("whatsapp", "+15550001111", True)


def test_recipients_are_those_of_a_campaign_in_a_state(demo: Demo, api: Api) -> None:
    ids = [person(demo, number) for number in range(3)]
    campaign_id = campaign(demo)
    for position, contact_id in enumerate(ids, 1):
        state, reason = (
            ("suppressed", '{"rule": "opted_out", "value": "said STOP"}') if position == 2 else ("failed", None)
        )
        execute(
            "INSERT INTO recipients (campaign_id, contact_id, workspace_id, position, state, reason) "
            "VALUES (:c, :p, :w, :n, :s, cast(:r AS jsonb))",
            c=campaign_id,
            p=contact_id,
            w=demo.workspace_id,
            n=position,
            s=state,
            r=reason,
        )
    assert len(exported(api, "recipients", campaign_id=str(campaign_id))) == 3
    (only,) = exported(api, "recipients", campaign_id=str(campaign_id), state="suppressed")
    assert (only["name"], only["phone"], only["reason_code"], only["reason"]) == (
        *("Person 1", "+14155550001", "opted_out", "said STOP"),
    )


def test_dead_letters_are_those_of_a_cause(demo: Demo, api: Api) -> None:
    dead("template spring_sale is paused", workspace_id=demo.workspace_id)
    other = dead("=cmd|' /C calc'!A0", workspace_id=demo.workspace_id)
    (row,) = execute("SELECT fingerprint FROM jobs WHERE id = :id", id=other)
    (only,) = exported(api, "dead_letters", fingerprint=row[0])
    assert (only["id"], only["message"], only["error"]) == (str(other), "'=cmd|' /C calc'!A0", "Permanent")


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_a_spreadsheet_would_run_is_harmless(demo: Demo, api: Api, client: FlaskClient, formula: str) -> None:
    person(demo, 1, name=formula)
    (found,) = exported(api, "contacts")
    assert (found["name"], found["phone"]) == (f"'{formula}", "+14155550001")
    header, row = sheets(fetched(client, made(api, "contacts", "xlsx")))["contacts"]
    shown = dict(zip(header, row, strict=True))
    assert (shown["name"], shown["phone"]) == (formula, "+14155550001")


def test_a_workbook_has_numbers_moments_and_texts(demo: Demo, api: Api, client: FlaskClient) -> None:
    attribute(demo, "points", AttributeType.NUMBER)
    person(demo, 1, name="Ann", attributes={"points": 12.5})
    shown = made(api, "contacts", "xlsx")
    header, row = sheets(fetched(client, shown))["contacts"]
    found = dict(zip(header, row, strict=True))
    assert (found["points"], found["email"]) == (12.5, None)
    assert isinstance(found["created_at"], datetime)


def test_an_export_says_how_far_it_is_tells_of_its_end_and_is_kept(demo: Demo, api: Api, client: FlaskClient) -> None:
    add(demo, "http://127.0.0.1:9/hook", "export.finished")
    person(demo, 1)
    export_id = asked(api, "contacts")
    waiting = seen(api, export_id)
    assert (waiting["state"], waiting["link"], waiting["progress"]["total"]) == ("queued", None, None)
    shown = run(api, export_id)
    assert (shown["state"], shown["progress"]["rows"], shown["progress"]["percent"]) == ("finished", 1, 100.0)
    assert shown["size"] == len(fetched(client, shown)) and len(files()) == 1
    assert seen(api, export_id)["downloads"] == 1
    told = one(Notification, Notification.kind == "export.finished")
    assert (told.link, told.severity) == (f"/admin/exports/{export_id}", "info")
    assert f'"export_id":"{export_id}"'.encode() in one(Event).body
    assert one(AuditEvent, AuditEvent.action == "api.exports.start").detail["kind"] == "contacts"


def test_the_answer_of_a_link_is_a_file_that_nobody_keeps(demo: Demo, api: Api, client: FlaskClient) -> None:
    shown = made(api, "contacts", "xlsx")
    answer = client.get(shown["link"]["url"].removeprefix(settings().outside_url))
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=contacts-")
    assert answer.headers["Content-Disposition"].endswith(".xlsx")
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_a_link_that_is_not_ours_leads_nowhere(demo: Demo, api: Api, client: FlaskClient) -> None:
    path = made(api, "contacts")["link"]["url"].removeprefix(settings().outside_url)
    flipped = path[:-6] + ("A" if path[-6] != "A" else "B") + path[-5:]
    for wrong in (flipped, path[:-1], f"{path}A", "/d/x", "/d/%00", f"/d/{'A' * 71}", "/d/ü"):
        answer = client.get(wrong)
        assert (answer.status_code, "This link does not work" in answer.text) == (404, True), wrong


def test_a_link_expires_and_so_does_the_file(
    demo: Demo, api: Api, client: FlaskClient, clock: Callable[[str], None]
) -> None:
    shown = made(api, "contacts")
    path = shown["link"]["url"].removeprefix(settings().outside_url)
    clock("now() + interval '25 hours'")
    answer = client.get(path)
    assert (answer.status_code, "not here any more" in answer.text) == (410, True)
    assert fetched(client, seen(api, shown["id"]))
    clock("now() + interval '8 days'")
    for what in housekeeping.clean_ups():
        if "exports" in what.name:
            with db.transaction() as session:
                housekeeping.step(session, what)
    gone = seen(api, shown["id"])
    assert (gone["state"], gone["link"], gone["error"]["code"], files()) == ("removed", None, "expired", [])
    assert client.get(path).status_code == 410


def test_a_link_never_outlives_the_file(demo: Demo, api: Api, clock: Callable[[str], None]) -> None:
    shown = made(api, "contacts")
    clock("now() + interval '6 days 23 hours'")
    later = seen(api, shown["id"])
    finished = datetime.fromisoformat(shown["finished_at"])
    assert datetime.fromisoformat(later["link"]["expires_at"]) <= finished + timedelta(days=settings().export_days)


def test_what_waits_can_be_cancelled_and_what_is_made_can_be_deleted(demo: Demo, api: Api) -> None:
    waiting = asked(api, "contacts")
    answer = api.post(f"/exports/{waiting}/cancel")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "cancelled")
    assert error(api.post(f"/exports/{waiting}/cancel"))["code"] == "export_over"
    assert (run(api, waiting)["state"], files()) == ("cancelled", [])
    shown = made(api, "contacts")
    deleted = api.delete(f"/exports/{shown['id']}").get_json()
    assert (deleted["state"], deleted["link"], files()) == ("removed", None, [])
    assert api.delete(f"/exports/{shown['id']}").status_code == 200
    queued = asked(api, "messages")
    assert api.delete(f"/exports/{queued}").get_json()["state"] == "cancelled"


def test_a_cancelled_job_ends_its_export(demo: Demo, api: Api) -> None:
    export_id = asked(api, "contacts")
    with db.transaction() as session:
        repair.cancel(session, uuid.UUID(seen(api, export_id)["job_id"]), actor="ann")
    assert seen(api, export_id)["state"] == "cancelled"


def test_another_workspace_sees_and_does_nothing(demo: Demo, api: Api, stranger: Api) -> None:
    person(demo, 1)
    shown = made(api, "contacts")
    assert stranger.get("/exports").get_json()["data"] == []
    for answer in (
        stranger.get(f"/exports/{shown['id']}"),
        stranger.post(f"/exports/{shown['id']}/cancel"),
        stranger.delete(f"/exports/{shown['id']}"),
    ):
        assert error(answer)["code"] == "export_not_found"
    for kind in ("contacts", "messages", "conversations", "dead_letters"):
        assert exported(stranger, kind) == []
    for filters in ({"channel_id": str(demo.channel_id)}, {"campaign_id": str(campaign(demo))}):
        kind = "messages" if "channel_id" in filters else "recipients"
        assert stranger.post("/exports", {"kind": kind, "filters": filters}).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "secrets"}, "kind"),
        ({"kind": "contacts", "format": "pdf"}, "format"),
        ({"kind": "contacts", "filters": {"audience": {}}}, "filters.audience"),
        ({"kind": "contacts", "filters": {"audience": {"all": True, "tags": ["x"]}}}, "filters.audience"),
        ({"kind": "messages", "filters": {"since": "yesterday"}}, "filters.since"),
        (
            {"kind": "messages", "filters": {"since": "2026-01-02T00:00Z", "until": "2026-01-01T00:00Z"}},
            "filters.until",
        ),
        ({"kind": "messages", "filters": {"nonsense": 1}}, "filters.nonsense"),
        ({"kind": "recipients"}, "filters.campaign_id"),
        ({"kind": "dead_letters", "filters": {"queue": "moon"}}, "filters.queue"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_its_field(api: Api, body: dict, field: str) -> None:
    answer = api.post("/exports", body)
    assert (answer.status_code, list(fields(answer))) == (422, [field])


def test_a_workspace_has_so_many_exports_at_once(demo: Demo, api: Api) -> None:
    for _ in range(10):
        asked(api, "contacts")
    assert error(api.post("/exports", {"kind": "contacts"}))["code"] == "too_many_exports"


def test_a_key_makes_one_export(demo: Demo, api: Api) -> None:
    twice = [api.post("/exports", {"kind": "contacts"}, headers={"Idempotency-Key": "k"}).get_json() for _ in range(2)]
    assert twice[0] == twice[1] and len(rows(Export)) == 1


def test_an_empty_export_has_its_header(demo: Demo, api: Api, client: FlaskClient) -> None:
    shown = made(api, "messages")
    assert table(fetched(client, shown)) == [] and fetched(client, shown).startswith(b"\xef\xbb\xbfid,")


def test_a_failure_is_tried_once_more_and_then_told(demo: Demo, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    person(demo, 1)
    export_id = asked(api, "contacts")
    with monkeypatch.context() as broken:
        broken.setattr("crm_tasks.exports.writers.Csv.close", _fail)
        broken.setattr("crm_tasks.exports.writers.Csv.drop", _fail)
        assert run(api, export_id)["state"] == "queued"
        assert files() == []
        execute("UPDATE jobs SET run_at = crm_now() - interval '1 second'")
        failed = run(api, export_id)
    assert (failed["state"], failed["error"]["code"], failed["link"]) == ("failed", "OSError", None)
    assert "dead letters" in failed["error"]["message"] and files() == []
    assert one(Notification).kind == "export.failed"
    with db.transaction() as session:
        repair.retry(session, uuid.UUID(failed["job_id"]), actor="ann")
    assert (seen(api, export_id)["state"], seen(api, export_id)["error"]) == ("queued", None)
    assert run(api, export_id)["state"] == "finished"


def _fail(*_: object) -> None:
    raise OSError("the disk is full")


def test_an_export_that_was_stopped_in_the_middle_leaves_nothing(
    demo: Demo, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(demo, 1)
    export_id = asked(api, "contacts", "xlsx")
    write = Xlsx.write

    def write_and_stop(self: Xlsx, found: Any) -> None:
        write(self, found)
        assert files()
        api.post(f"/exports/{export_id}/cancel")

    monkeypatch.setattr("crm_tasks.exports.writers.Xlsx.write", write_and_stop)
    assert (run(api, export_id)["state"], files()) == ("cancelled", [])
    assert one(Job, Job.task == "exports.run").state == "cancelled"


def test_who_is_erased_is_in_no_file_any_more(demo: Demo, api: Api, other: Demo, stranger: Api) -> None:
    ann = person(demo, 1, name="Ann")
    person(other, 1, name="Bob")
    theirs, old = made(stranger, "contacts"), made(api, "contacts")
    waiting = asked(api, "messages")
    erasure = api.delete(f"/contacts/{ann}?erase=true").get_json()
    while (job := one(Job, Job.task == "imports.erase")).state == "queued":
        run_one(job.id, "imports")
    certificate = {each["store"]: each for each in api.get(f"/erasures/{erasure['id']}").get_json()["stores"]}
    assert certificate["exports"]["rows"] == 1 and "deleted" in certificate["exports"]["what"]
    gone = seen(api, old["id"])
    assert (gone["state"], gone["error"]["code"], gone["link"]) == ("removed", "person_erased", None)
    assert seen(api, waiting)["state"] == "cancelled"
    assert fetched(stranger.client, seen(stranger, theirs["id"])) and len(files()) == 1
    assert exported(api, "contacts") == []


def test_a_file_that_is_nobodys_goes_when_another_is_made(demo: Demo, api: Api) -> None:
    """As a worker leaves it that was killed between keeping the file and saying so."""
    export_id = asked(api, "contacts")
    store = storage.exports()
    store.save([b"half a day ago"], name=export_id, limit=100)
    (store.workplace(export_id) / "contacts.csv").write_text("half made")
    assert len(files()) == 2
    assert run(api, export_id)["state"] == "finished"
    assert [path.stat().st_size for path in files()] == [seen(api, export_id)["size"]]
