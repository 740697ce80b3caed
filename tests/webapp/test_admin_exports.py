"""The pages of exports: a form for each kind, the list, one export with its link, and buttons that end it."""

import re

import pytest
from flask import Flask

from crm_tasks.exports.models import Export
from crm_tasks.workspaces.models import AuditEvent
from tests.campaigns.audience import campaign
from tests.campaigns.audience import person as customer
from tests.core.ledger import job
from tests.exports.files import table
from tests.fixtures import Demo
from tests.messages.apply import one, rows
from tests.webapp.admins import Browser, browser
from tests.webapp.dead import dead
from tests.webhooks.hooks import run_one

KINDS = ("contacts", "conversations", "messages", "recipients", "dead_letters")


@pytest.fixture
def ann(app: Flask, demo: Demo) -> Browser:
    """A marketer who is logged in."""
    return browser(app, demo, "marketer")


def run(export: Export) -> None:
    assert export.job_id is not None
    run_one(export.job_id, "exports")


def test_contacts_are_exported_from_the_form_to_the_file(demo: Demo, ann: Browser) -> None:
    customer(demo, 1, tags=["vip"])
    customer(demo, 2)
    assert "Nothing was exported yet" in ann.text("/exports")
    answer = ann.post("/exports", kind="contacts", format="csv", tags="VIP, gold")
    made = one(Export)
    assert (answer.status_code, answer.location) == (302, f"/admin/exports/{made.id}")
    assert (made.filters, made.actor) == ({"audience": {"tags": ["VIP", "gold"]}}, f"user:{ann.email}")
    page = ann.text(f"/exports/{made.id}")
    assert "waits for its turn" in page and "every 1s" in page and "VIP, gold" in page
    assert "every 2s" in ann.text("/exports")
    run(made)
    page = ann.text(f"/exports/{made.id}")
    assert "1 row, " in page and "every 1s" not in page and "A link to give on" in page and "not yet" in page
    assert "every 2s" not in ann.text("/exports/part")
    led = ann.get(f"/exports/{made.id}/download")
    assert led.status_code == 302
    file = ann.client.get(led.location)
    assert [each["phone"] for each in table(file.data)] == ["+14155550001"]
    assert "1 time, last" in ann.text(f"/exports/{made.id}")
    assert one(AuditEvent, AuditEvent.action == "admin.start_export").detail["export_id"] == str(made.id)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_form(demo: Demo, ann: Browser, kind: str) -> None:
    campaign_id = campaign(demo, name="Spring")
    page = ann.text(f"/exports?kind={kind}&campaign_id={campaign_id}")
    assert page.count('aria-current="true"') == 1 and f'name="kind" value="{kind}"' in page
    fields = {"campaign_id": str(campaign_id)} if kind == "recipients" else {}
    assert ann.post("/exports", kind=kind, format="xlsx", **fields).status_code == 302
    made = one(Export)
    run(made)
    assert one(Export).state == "finished"
    assert ("Spring" in ann.text(f"/exports/{made.id}")) is (kind == "recipients")


def test_moments_are_in_the_zone_of_who_asks(demo: Demo, ann: Browser) -> None:
    ann.post("/me", time_zone="America/Sao_Paulo")
    form = {"since": "2026-03-01T00:00", "until": "2026-03-02T12:30", "channel_id": str(demo.channel_id)}
    ann.post("/exports", kind="messages", format="csv", direction="in", **form)
    made = one(Export)
    assert made.filters == {
        "channel_id": str(demo.channel_id),
        "direction": "in",
        "since": "2026-03-01T03:00:00+00:00",
        "until": "2026-03-02T15:30:00+00:00",
    }
    page = ann.text(f"/exports/{made.id}")
    assert "2026-03-01 00:00" in page and "2026-03-02 12:30" in page and "Number" in page


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"kind": "contacts", "tags": "a", "segment_id": "00000000-0000-4000-8000-000000000000"}, "exactly one"),
        ({"kind": "contacts", "segment_id": "00000000-0000-4000-8000-000000000000"}, "There is no segment"),
        ({"kind": "contacts", "segment_id": "x"}, "Not a valid UUID"),
        ({"kind": "messages", "since": "soon"}, "Write a moment"),
        ({"kind": "messages", "since": "2026-03-02T00:00", "until": "2026-03-01T00:00"}, "later than"),
        ({"kind": "messages", "since": "0001-01-01T00:00", "until": "9999-12-31T23:59"}, ""),
        ({"kind": "recipients"}, "Say of which campaign"),
        ({"kind": "dead_letters", "queue": "moon"}, "Must be one of"),
        ({"kind": "moon"}, "Must be one of"),
        ({"kind": "contacts", "format": "pdf"}, "Must be one of"),
    ],
)
def test_what_is_wrong_is_said_in_the_form(demo: Demo, ann: Browser, form: dict[str, str], said: str) -> None:
    answer = ann.post("/exports", **{"format": "csv", **form})
    assert answer.status_code == (422 if said else 302)
    if said:
        assert said in answer.text and 'role="alert"' in answer.text and not rows(Export)
    else:
        run(one(Export))
        assert one(Export).state == "finished"


def test_the_buttons_cancel_and_delete(demo: Demo, ann: Browser) -> None:
    for state, button in (("cancelled", "Cancel"), ("removed", "Delete the file")):
        ann.post("/exports", kind="contacts", format="csv")
        made = max(rows(Export), key=lambda each: each.id)
        if state == "removed":
            run(made)
        assert button in ann.text(f"/exports/{made.id}")
        assert ann.post(f"/exports/{made.id}/remove").status_code == 302
        assert one(Export, Export.id == made.id).state == state
        page = ann.text(f"/exports/{made.id}")
        assert "A link to give on" not in page and f"by user:{ann.email}" in page
        assert ann.get(f"/exports/{made.id}/download").status_code == 404


def test_a_long_list_has_more_pages(demo: Demo, ann: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.admin.exports.SHOWN", 1)
    for _ in range(2):
        ann.post("/exports", kind="contacts", format="csv")
    newest, oldest = sorted((each.id for each in rows(Export)), reverse=True)
    page = ann.text("/exports")
    assert str(newest) in page and f"before={newest}" in page
    assert str(oldest) in ann.text(f"/exports?before={newest}")
    assert ann.get("/exports?before=x").status_code == 404


def test_pages_lead_to_the_export_of_what_they_show(app: Flask, demo: Demo, ann: Browser) -> None:
    campaign_id, job_id = campaign(demo), dead(workspace_id=demo.workspace_id)
    cause = job(job_id).fingerprint
    for path, link, chosen in (
        ("/contacts?tag=vip", "kind=contacts&amp;tags=vip", 'value="vip"'),
        (
            f"/campaigns/{campaign_id}/recipients?state=failed",
            f"campaign_id={campaign_id}",
            f'value="{campaign_id}" selected',
        ),
        (f"/dead-letters/{cause}", f"fingerprint={cause}", f'value="{cause}"'),
    ):
        (href,) = re.findall(r'href="/admin(/exports\?[^"]+)"', ann.text(path))
        assert link in href
        assert chosen in ann.text(href.replace("&amp;", "&"))
    agent = browser(app, demo, "agent")
    assert "/exports" not in agent.text("/contacts")
