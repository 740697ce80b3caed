"""Every page of the admin with every role, and with the ids of another workspace: who is let in, who is not."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from werkzeug.routing import Rule

from crm_tasks.core.jobs.model import JobState
from crm_tasks.workspaces.roles import MemberRole, Permission
from tests.core.ledger import execute, job
from tests.fixtures import Demo
from tests.webapp.admins import Browser, browser, log_in, person
from tests.webapp.dead import dead
from tests.webapp.one_of_each import one_of_each, state

ALL = "owner admin marketer agent viewer operator"
WORK = "owner admin marketer agent operator"
BROADCAST = "owner admin marketer operator"
ANSWER = "owner admin agent operator"
MANAGE = "owner admin operator"
OPERATE = "operator"
# Who may see a page or press a button; everybody else is told that this role may not.
ALLOWED = {
    "index": ALL,
    "today_part": ALL,
    "bell": ALL,
    "notifications": ALL,
    "notifications_part": ALL,
    "read_all": WORK,
    "read_one": WORK,
    "contacts": WORK,
    "contact": WORK,
    "contact_form": WORK,
    "create_contact": WORK,
    "edit_contact": WORK,
    "change_contact": WORK,
    "note_consent": WORK,
    "erase": MANAGE,
    **dict.fromkeys(("bulk_actions", "bulk_action", "bulk_part"), ALL),
    **dict.fromkeys(("bulk_form", "start_bulk", "cancel_bulk"), BROADCAST),
    **dict.fromkeys(("conversations", "conversations_part", "conversation", "conversation_part"), WORK),
    **dict.fromkeys(("earlier_messages", "assign_conversation", "media"), WORK),
    **dict.fromkeys(("conversation_action", "reply", "template_fields", "send_template", "fetch_media"), ANSWER),
    **dict.fromkeys(("segment_list", "segment", "segment_part"), ALL),
    **dict.fromkeys(("segment_form", "create_segment", "edit_segment", "change_segment"), BROADCAST),
    **dict.fromkeys(("delete_segment", "segment_builder", "count_segment"), BROADCAST),
    "imports": ALL,
    **dict.fromkeys(("import_form", "upload_import", "map_import", "look_import", "start_import"), BROADCAST),
    "one_import": ALL,
    "import_part": ALL,
    "import_rejects": WORK,
    "cancel_import": BROADCAST,
    "undo_import": BROADCAST,
    "campaigns": ALL,
    "campaign": ALL,
    "campaign_part": ALL,
    "campaign_recipients": ALL,
    "test_campaign": BROADCAST,
    "campaign_form": BROADCAST,
    "audience_part": BROADCAST,
    "message_fields_part": BROADCAST,
    "preview_part": BROADCAST,
    "edit_campaign": BROADCAST,
    "change_campaign": BROADCAST,
    "delete_campaign": BROADCAST,
    "create_campaign": BROADCAST,
    "campaign_action": BROADCAST,
    "exports": BROADCAST,
    "exports_part": BROADCAST,
    "start_export": BROADCAST,
    "export": BROADCAST,
    "export_part": BROADCAST,
    "download_export": BROADCAST,
    "remove_export": BROADCAST,
    "dead_letters": ALL,
    "dead_group": ALL,
    "canary_part": ALL,
    "dead_letter": ALL,
    "edit_dead_letter": MANAGE,
    "retry_canary": MANAGE,
    "retry_group": MANAGE,
    "discard_group": MANAGE,
    "queues": ALL,
    "queues_part": ALL,
    "queue": ALL,
    "queue_part": ALL,
    "place_hold": MANAGE,
    "release_hold": MANAGE,
    "jobs": ALL,
    "job": ALL,
    "job_action": MANAGE,
    "calendar": ALL,
    "scheduled_message": ANSWER,
    "scheduled_campaign": BROADCAST,
    "unknown": ALL,
    "settle": ANSWER,
    "settings": ALL,
    "channels": ALL,
    "channel": ALL,
    "channel_form": MANAGE,
    "add_channel": MANAGE,
    "change_channel": MANAGE,
    "check_channel": MANAGE,
    "rotate_secret": MANAGE,
    "templates": ALL,
    "template": ALL,
    "sync_templates": BROADCAST,
    "rules": ALL,
    "set_rule": MANAGE,
    "end_rule": MANAGE,
    "webhooks": MANAGE,
    "webhook": MANAGE,
    "webhook_form": MANAGE,
    "add_webhook": MANAGE,
    "change_webhook": MANAGE,
    "webhook_action": MANAGE,
    "delivery": MANAGE,
    "delivery_part": MANAGE,
    "replay_delivery": MANAGE,
    "keys": MANAGE,
    "create_key": MANAGE,
    "revoke_key": MANAGE,
    "tests": ANSWER,
    "send_test": ANSWER,
    "test_message": ANSWER,
    "test_message_part": ANSWER,
    "send_test_event": MANAGE,
    "people": MANAGE,
    "invite": MANAGE,
    "take_back": MANAGE,
    "change_role": MANAGE,
    "remove_member": MANAGE,
    "audit_log": MANAGE,
    "me": ALL,
    "change_me": ALL,
    "change_password": ALL,
    "workspaces": ALL,
    "switch": ALL,
    "create_workspace": OPERATE,
    "suspend": OPERATE,
    "release_workspace": OPERATE,
    "system": OPERATE,
    "status_part": OPERATE,
    "events": OPERATE,
    "replay_event": OPERATE,
}
WITH_A_LINK = {"join", "accept"}


def rules(app: Flask) -> list[Rule]:
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("admin.")]


def name(rule: Rule) -> str:
    return rule.endpoint.removeprefix("admin.")


def path(rule: Rule, **values: str) -> str:
    """Return the path of a page with these values, or with ids of nothing."""
    nothing = {each: str(uuid.uuid4()) if each.endswith("_id") else "none" for each in rule.arguments}
    text = rule.rule.replace("uuid:", "")
    for each, value in {**nothing, **values}.items():
        text = text.replace(f"<{each}>", value)
    return text.removeprefix("/admin")


def ask(who: Browser, rule: Rule, **values: str) -> int:
    if "GET" in (rule.methods or ()):
        return who.get(path(rule, **values)).status_code
    return who.post(path(rule, **values)).status_code


def test_the_table_is_of_every_page(app: Flask) -> None:
    assert {name(rule) for rule in rules(app)} == ALLOWED.keys() | WITH_A_LINK
    others = {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule.startswith("/admin")}
    assert {each for each in others if not each.startswith("admin.")} == {
        "security.login",
        "security.logout",
        "security.static",
        "security.verify",
    }


@pytest.mark.parametrize("role", [*MemberRole, "operator"])
def test_each_role_sees_its_pages_and_no_other(app: Flask, demo: Demo, role: str) -> None:
    who = browser(app, demo, role)
    wrong = {}
    for rule in rules(app):
        if name(rule) in WITH_A_LINK:
            continue
        allowed, status = role in ALLOWED[name(rule)].split(), ask(who, rule)
        if (status != 403) is not allowed or status >= 500:
            wrong[name(rule)] = status
    assert wrong == {}


def test_without_a_login_every_page_leads_there(app: Flask, demo: Demo) -> None:
    client = app.test_client()
    for rule in rules(app):
        if name(rule) in WITH_A_LINK:
            continue
        for method in (rule.methods or set()) & {"GET", "POST"}:
            answer = client.open(f"/admin{path(rule)}", method=method)
            assert (answer.status_code, "/admin/login" in answer.location) == (302, True), rule
    part = client.get("/admin/bell", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Refresh"]) == (401, "true")


def test_who_is_in_no_workspace_sees_nothing_of_any(app: Flask, demo: Demo) -> None:
    person("nobody@example.test")
    client = app.test_client()
    log_in(client, "nobody@example.test")
    who = Browser(client, "nobody@example.test")
    for rule in rules(app):
        if name(rule) not in WITH_A_LINK | {"me", "change_me", "change_password", "workspaces", "switch"}:
            assert ask(who, rule) == 403, rule
    assert "You belong to no workspace" in who.get("/").get_data(as_text=True)


def test_the_table_of_roles_only_grows_from_viewer_to_owner() -> None:
    from crm_tasks.workspaces.roles import PERMISSIONS

    viewer, admin, owner = (PERMISSIONS[MemberRole(role)] for role in ("viewer", "admin", "owner"))
    for each in PERMISSIONS.values():
        assert viewer <= each <= owner
    assert owner - admin == {Permission.OWN}
    assert Permission.OPERATE not in owner


# --- another workspace's ids -------------------------------------------------------------------------------------


# What a person said, as the page of a contact asks for it.
SAID = {"allowed": "no", "scope": "all", "medium": "*", "note": "by phone"}
# What a form of the settings has, so that none is refused for what it lacks.
SET = {"name": "Mine", "secret": "access_token", "value": "stolen", "url": "http://127.0.0.1:9/x", "events": "*"}


# Every button of the pages that have several.
BUTTONS = {
    "campaign_action": ("start", "pause", "resume", "continue", "cancel", "rehearse", "retry-failed"),
    "job_action": ("cancel", "retry", "discard", "run-now"),
    "scheduled_message": ("move", "cancel"),
    "scheduled_campaign": ("move", "cancel"),
    "webhook_action": ("replay", "test", "rotate-secret", "remove"),
    "conversation_action": ("take-over", "hand-back", "read"),
    "settle": ("resend", "failed"),
}


def with_every_button(values: dict[str, dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """Return what to ask for: each page, and each of its buttons."""
    asked = []
    for page, given in values.items():
        button = "decision" if page == "settle" else "action"
        asked += [(page, {**given, button: each}) for each in BUTTONS[page]] if page in BUTTONS else [(page, given)]
    return asked


# What is answered if it is not that there is nothing of this id: of a cause, that of the workspace at hand are none.
OTHERWISE = {
    **dict.fromkeys(("discard_group", "retry_canary", "retry_group"), 302),
    "canary_part": 200,
    **dict.fromkeys(("suspend", "release_workspace", "replay_event"), 403),
}


def test_nothing_of_another_workspace_is_seen_or_changed(app: Flask, demo: Demo, other: Demo) -> None:
    values = one_of_each(other)
    who = browser(app, demo, "owner")
    before = state()
    by_name = {name(rule): rule for rule in rules(app)}
    assert {page for page, given in values.items() if "action" in given or page == "settle"} == BUTTONS.keys()
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="minutes")
    when = {"at": soon, "hours": "1", "codes": "131026"}
    form = {
        "role": "viewer",
        "reason": "because",
        "confirm": "erase",
        "body": "Hello",
        "key": "k",
        **SAID,
        **SET,
        **when,
    }
    for page, given in with_every_button(values):
        rule = by_name[page]
        get = "GET" in (rule.methods or ())
        answer = who.get(path(rule, **given)) if get else who.post(path(rule, **given), **form)
        assert answer.status_code == OTHERWISE.get(page, 404), (page, given, answer.status_code)
    about_one = {page for page in by_name if by_name[page].arguments}
    assert about_one - WITH_A_LINK == values.keys()
    assert state() == before


def test_its_own_owner_sees_all_of_it(app: Flask, demo: Demo, other: Demo) -> None:
    """That the other test is refused is because of whose it is, and not because there is nothing of these ids."""
    values = one_of_each(other)
    client = app.test_client()
    log_in(client, "bob@example.test")
    who = Browser(client, "bob@example.test")
    pages = {name(rule): rule for rule in rules(app) if "GET" in (rule.methods or ()) and name(rule) in values}
    operators = {page for page in pages if ALLOWED[page] == OPERATE}
    answers = {page: who.get(path(pages[page], **values[page])).status_code for page in pages.keys() - operators}
    # A queue has a name, which is nobody's, and a file that is not written yet cannot be fetched.
    assert {page for page, status in answers.items() if status != 200} == {"queue", "queue_part", "download_export"}


def test_no_list_shows_anything_of_another_workspace(app: Flask, demo: Demo, other: Demo) -> None:
    values = one_of_each(other)
    who = browser(app, demo, "owner")
    secret = {each for given in values.values() for each in given.values() if "-" in each}
    for rule in rules(app):
        if "GET" not in (rule.methods or ()) or rule.arguments or ALLOWED[name(rule)] == OPERATE:
            continue
        page = who.get(path(rule) + "?scope=all").get_data(as_text=True)
        shown = [each for each in (*secret, "Other", "bob@example.test") if each in page]
        assert shown == [], rule


def test_the_buttons_of_one_cause_touch_only_the_workspace_at_hand(app: Flask, demo: Demo, other: Demo) -> None:
    theirs, mine = dead(workspace_id=other.workspace_id), dead(workspace_id=demo.workspace_id)
    who = browser(app, demo, "admin")
    cause = job(mine).fingerprint
    assert cause == job(theirs).fingerprint
    for button in ("canary", "retry"):
        assert who.post(f"/dead-letters/{cause}/{button}").status_code == 302
    assert (job(mine).state, job(theirs).state) == (JobState.QUEUED, JobState.DEAD)


def test_an_operator_goes_anywhere_and_sees_all_at_once(app: Flask, demo: Demo, other: Demo) -> None:
    theirs = dead(workspace_id=other.workspace_id)
    who = browser(app, demo, "operator")
    assert who.post(f"/workspaces/{demo.workspace_id}/switch").status_code == 302
    assert who.get(f"/jobs/{theirs}").status_code == 404
    assert who.get(f"/jobs/{theirs}?scope=all").status_code == 200
    assert f"/admin/jobs/{theirs}?scope=all" in who.text("/jobs?scope=all")
    who.post(f"/workspaces/{other.workspace_id}/switch")
    assert who.get(f"/jobs/{theirs}").status_code == 200


@pytest.fixture
def made(app: Flask, demo: Demo) -> Callable[[str], Browser]:
    """Return people of a workspace by role."""
    return lambda role: browser(app, demo, role)


def test_a_role_is_read_at_each_request(made: Callable[[str], Browser]) -> None:
    who = made("admin")
    assert who.get("/people").status_code == 200
    execute("UPDATE memberships SET role = 'viewer'")
    assert who.get("/people").status_code == 403
    execute("DELETE FROM memberships")
    assert who.get("/").status_code == 403


def test_the_navigation_has_only_what_can_be_seen(made: Callable[[str], Browser]) -> None:
    page = made("viewer").text("/")
    for link in ("/admin/campaigns", "/admin/dead-letters", "/admin/queues"):
        assert f'href="{link}"' in page
    for link in ("/admin/people", "/admin/audit", "/admin/system", "/admin/events"):
        assert f'href="{link}"' not in page
