"""The pages of the settings: channels and their secrets, templates, rules, keys."""

import uuid
from typing import Any

import pytest
from flask import Flask

from crm_tasks.core import db
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import one
from tests.outside import Sandbox
from tests.templates.fetched import approved, fetch
from tests.webapp.admins import Browser, browser
from tests.webapp.api import Api

SECRETS = {"access_token": "the-new-token", "app_secret": "the-new-secret", "verify_token": "the-new-verify"}
NEW = {"kind": "whatsapp", "name": "Shop", "phone_number_id": "777", "waba_id": "9777", **SECRETS}


@pytest.fixture
def admin(app: Flask, demo: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, demo, "admin")


def channel(channel_id: uuid.UUID) -> Channel:
    return one(Channel, Channel.id == channel_id)


def test_the_settings_lead_to_what_a_person_may_see(app: Flask, demo: Demo, admin: Browser) -> None:
    page, seen = admin.text("/settings"), browser(app, demo, "viewer").text("/settings")
    for name in ("channels", "templates", "rules", "webhooks", "keys"):
        assert f'href="/admin/settings/{name}"' in page
        assert (f'href="/admin/settings/{name}"' in seen) is (name not in ("webhooks", "keys"))


# --- channels ----------------------------------------------------------------------------------------------------


def test_a_channel_is_added_and_its_secrets_are_in_no_page(demo: Demo, admin: Browser) -> None:
    form = admin.text("/settings/channels/new?kind=whatsapp")
    assert "/webhooks/whatsapp" in form
    assert admin.get("/settings/channels/new?kind=pigeon").status_code == 404
    answer = admin.post("/settings/channels", **NEW)
    assert answer.status_code == 302
    page, listed = admin.text(answer.location.removeprefix("/admin")), admin.text("/settings/channels")
    assert "Shop" in page and "777" in page
    assert f'href="{answer.location}"' in listed
    for secret in SECRETS.values():
        assert secret not in page + listed
    made = channel(uuid.UUID(answer.location.rpartition("/")[2]))
    assert (made.workspace_id, made.credentials["access_token"]) == (demo.workspace_id, "the-new-token")
    ((told,),) = execute("SELECT detail FROM audit_events WHERE action = 'admin.add_channel'")
    assert told == {"channel_id": str(made.id), "kind": "whatsapp", "name": "Shop"}


def test_what_is_wrong_with_a_channel_is_said_at_its_field(demo: Demo, admin: Browser) -> None:
    answer = admin.post("/settings/channels", **{**NEW, "phone_number_id": "", "name": ""})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    for name in ("phone_number_id", "name"):
        assert f'id="w-{name}"' in page
    assert "the-new-verify" in page and "the-new-token" not in page and "the-new-secret" not in page
    again = admin.post("/settings/channels", **{**NEW, "phone_number_id": demo.phone_number_id})
    assert (again.status_code, "belongs to a channel already" in again.get_data(as_text=True)) == (422, True)


def test_only_an_operator_says_where_a_provider_is(
    app: Flask, demo: Demo, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from crm_tasks.config import settings
    from crm_tasks.messages.service import channels

    closed = replace(settings(), webhook_allow_private=False)
    monkeypatch.setattr(channels, "settings", lambda: closed)
    mail = {"kind": "smtp", "name": "Mail", "host": "10.0.0.1", "from_address": "a@example.com"}
    assert "base_url" not in admin.text("/settings/channels/new?kind=whatsapp")
    refused = admin.post("/settings/channels", **NEW, base_url="http://10.0.0.1")
    assert (refused.status_code, "to any host" in refused.get_data(as_text=True)) == (422, True)
    assert admin.post("/settings/channels", **mail).status_code == 422
    root = browser(app, demo, "operator")
    assert root.post("/settings/channels", **mail).status_code == 302


def test_limits_are_set_and_taken_away(demo: Demo, admin: Browser) -> None:
    path = f"/settings/channels/{demo.channel_id}"
    form = {"name": "Desk", "unknown_policy": "resend", "per_second": "20", "unique_per_day": "1000"}
    assert admin.post(path, **form).status_code == 302
    changed = channel(demo.channel_id)
    assert (changed.name, changed.unknown_policy) == ("Desk", "resend")
    assert changed.settings == {"per_second": 20.0, "unique_per_day": 1000}
    assert 'value="1000"' in admin.text(path)
    for wrong in ({"per_second": "fast"}, {"unique_per_day": "1.5"}, {"unique_per_day": "-1"}, {"name": " "}):
        answer = admin.post(path, **{**form, **wrong})
        (name,) = wrong
        assert (answer.status_code, f'id="w-{name}"' in answer.get_data(as_text=True)) == (422, True)
    assert admin.post(path, name="Desk", unknown_policy="hold").status_code == 302
    assert channel(demo.channel_id).settings == {}


def test_secrets_are_exchanged(demo: Demo, admin: Browser) -> None:
    path = f"/settings/channels/{demo.channel_id}"
    assert admin.post(f"{path}/rotate", secret="access_token", value="fresh-token").status_code == 302
    assert admin.post(f"{path}/rotate", secret="app_secret", value="fresh-secret").status_code == 302
    kept = channel(demo.channel_id).credentials
    assert (kept["access_token"], kept["app_secrets"]) == ("fresh-token", ["fresh-secret", demo.app_secret])
    page = admin.text(path)
    assert "two are accepted" in page
    assert not any(secret in page for secret in ("fresh-token", "fresh-secret", demo.app_secret, demo.verify_token))
    for name, value in (("access_token", " "), ("app_secret", ""), ("waba_id", "1"), ("", "x")):
        assert admin.post(f"{path}/rotate", secret=name, value=value).status_code == 422


def test_a_channel_is_checked_without_sending(app: Flask, empty: None, sandbox: Sandbox) -> None:
    demo = make_demo(base_url=sandbox.url)
    who = browser(app, demo, "admin")
    path = f"/settings/channels/{demo.channel_id}/check"
    good = who.post(path)
    assert (good.status_code, "Its provider knows it" in good.get_data(as_text=True)) == (200, True)
    with db.transaction() as session:
        workspaces.rotate_credentials(session, demo.workspace_id, demo.channel_id, {"access_token": "stale"})
    assert "does not take it" in who.post(path).get_data(as_text=True)


def test_what_cannot_be_asked_says_so(demo: Demo, admin: Browser, api: Api) -> None:
    gateway = api.post("/channels", {"kind": "sms", "name": "SMS", "values": {"token": "t"}}).get_json()
    answer = admin.post(f"/settings/channels/{gateway['id']}/check")
    assert (answer.status_code, "Send a message" in answer.get_data(as_text=True)) == (409, True)
    assert api.post(f"/channels/{gateway['id']}/check").status_code == 409
    closed = api.post(f"/channels/{demo.channel_id}/check").get_json()
    assert (closed["ok"], "no answer" in closed["said"]) == (False, True)


def test_a_viewer_looks_at_a_channel_and_changes_nothing(app: Flask, demo: Demo) -> None:
    page = browser(app, demo, "viewer").text(f"/settings/channels/{demo.channel_id}")
    assert demo.phone_number_id in page
    assert 'action="/admin/settings' not in page


# --- keys --------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_ended_at_once(app: Flask, demo: Demo, admin: Browser, client: Any) -> None:
    made = admin.post("/settings/keys", name="shop", operator="yes").get_data(as_text=True)
    secret = made.partition('value="crm_')[2].partition('"')[0]
    api = Api(client, f"crm_{secret}")
    assert api.get("/channels").status_code == 200
    assert api.get("/workspaces").status_code == 403  # only an operator makes an operator's
    assert secret not in admin.text("/settings/keys")
    ((key_id,),) = execute("SELECT id FROM api_keys WHERE name = 'shop'")
    assert execute("SELECT detail->>'name' FROM audit_events WHERE action = 'admin.create_key'") == [("shop",)]
    assert admin.post(f"/settings/keys/{key_id}/revoke").status_code == 302
    assert api.get("/channels").status_code == 401


def test_an_operators_key_is_for_operators(app: Flask, demo: Demo, admin: Browser) -> None:
    ((key_id,),) = execute("SELECT id FROM api_keys WHERE operator")
    assert admin.post(f"/settings/keys/{key_id}/revoke").status_code == 403
    root = browser(app, demo, "operator")
    assert "crm_" in root.post("/settings/keys", name="root", operator="yes").get_data(as_text=True)
    assert execute("SELECT operator FROM api_keys WHERE name = 'root'") == [(True,)]
    assert root.post(f"/settings/keys/{key_id}/revoke").status_code == 302


# --- templates ---------------------------------------------------------------------------------------------------


def test_templates_are_listed_shown_and_fetched(app: Flask, sandbox: Sandbox, empty: None) -> None:
    demo = make_demo(base_url=sandbox.url)
    who = browser(app, demo, "marketer")
    assert "No template yet" in who.text("/settings/templates")
    fetch(demo)
    page = who.text("/settings/templates")
    ((template_id, name),) = execute("SELECT id, name FROM templates WHERE parameters->'body' IS NOT NULL LIMIT 1")
    assert f'href="/admin/settings/templates/{template_id}"' in page
    shown = who.text(f"/settings/templates/{template_id}")
    assert name in shown and "{{1}}" in shown
    assert name not in who.text("/settings/templates?status=REJECTED&category=utility")
    execute("UPDATE templates SET status = 'PAUSED', reason = 'too few opened it' WHERE id = :id", id=template_id)
    assert "too few opened it" in who.text(f"/settings/templates/{template_id}")
    answer = who.post("/settings/templates/sync")
    ((job_id,),) = execute("SELECT id FROM jobs WHERE task = 'messages.sync_templates'")
    assert answer.location == f"/admin/jobs/{job_id}"


def test_a_list_of_templates_goes_on_where_it_ended(demo: Demo, admin: Browser) -> None:
    for number in range(1, 61):
        approved(demo, f"t{number:03}")
    first = admin.text("/settings/templates")
    link = first.partition('class="btn" href="/admin/settings/templates?')[2].partition('"')[0].replace("&amp;", "&")
    second = admin.text(f"/settings/templates?{link}")
    assert ("t050" in first, "t051" in first, "t050" in second, "t060" in second) == (True, False, False, True)
    assert admin.get("/settings/templates?after=nonsense").status_code == 404


# --- rules -------------------------------------------------------------------------------------------------------

RULES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "quiet_hours": (
        {"from": "21:00", "to": "08:00", "categories": "marketing"},
        {"from": "21:00", "to": "08:00", "categories": ["marketing"]},
    ),
    "frequency_cap": ({"messages": "3", "days": "7"}, {"messages": 3, "days": 7}),
    "rate": ({"messages": "20", "per": "m"}, {"rate": "20/m"}),
    "budget": (
        {"amount": "99.5", "per": "month", "time_zone": "Europe/Berlin"},
        {"amount": 99.5, "per": "month", "time_zone": "Europe/Berlin"},
    ),
    "prices": (
        {"sms": "0.07", "whatsapp_marketing": "0.1", "countries": "DE email 0\nDE sms 0.08\nFR sms 0.09"},
        {"sms": 0.07, "whatsapp_marketing": 0.1, "countries": {"DE": {"sms": 0.08, "email": 0.0}, "FR": {"sms": 0.09}}},
    ),
    "keywords": (
        {"stop": "STOP, Halt", "start": "", "confirmation": "Bye."},
        {"stop": ["STOP", "Halt"], "confirmation": "Bye."},
    ),
}
WRONG = {
    "quiet_hours": {"from": "21:00", "to": "21:00", "categories": "marketing"},
    "frequency_cap": {"messages": "many", "days": "7"},
    "rate": {"messages": "0", "per": "m"},
    "budget": {"amount": "-1", "per": "month"},
    "prices": {"countries": "DE 0.08"},
    "keywords": {"stop": "x" * 61},
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_set_shown_and_ended(demo: Demo, admin: Browser, name: str) -> None:
    form, value = RULES[name]
    assert admin.post(f"/settings/rules/{name}/end").status_code == 404
    assert admin.post(f"/settings/rules/{name}", **form).status_code == 302
    assert execute("SELECT name, value, set_by FROM policies") == [(name, value, "user:admin@example.test")]
    page = admin.text("/settings/rules").partition(f'id="{name}"')[2].partition("</section>")[0]
    assert "by user:admin@example.test" in page
    for typed in form.values():
        assert f'value="{typed}"' in page or f">{typed.strip()}<" in page
    answer = admin.post(f"/settings/rules/{name}", **WRONG[name])
    assert (answer.status_code, 'role="alert"' in answer.get_data(as_text=True)) == (422, True)
    assert execute("SELECT value FROM policies") == [(value,)]
    assert admin.post(f"/settings/rules/{name}/end").status_code == 302
    assert execute("SELECT name FROM policies") == []


def test_there_are_forms_for_all_rules(admin: Browser) -> None:
    from crm_tasks.workspaces.policies import SCHEMAS

    assert RULES.keys() == SCHEMAS.keys()
    assert admin.post("/settings/rules/nonsense").status_code == 404
