"""Every page of the admin with every role, and with the ids of another workspace: who is let in, who is not."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from werkzeug.routing import Rule

from crm_tasks.core import db, holds
from crm_tasks.core.jobs.model import JobState
from crm_tasks.exports import service as exports
from crm_tasks.exports.models import ExportFormat, ExportKind
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.webhooks.service import endpoints
from crm_tasks.workspaces import invitations, policies
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.roles import MemberRole, Permission
from tests.campaigns.audience import campaign
from tests.core.ledger import execute, job
from tests.fixtures import Demo
from tests.messages.outgoing import post
from tests.templates.fetched import approved
from tests.webapp.admins import Browser, browser, log_in, person
from tests.webapp.customers import foreign_customers
from tests.webapp.dead import dead

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


def foreign(other: Demo) -> dict[str, dict[str, str]]:
    """Make one of everything in the other workspace; return the values of each page that is about one."""
    user_id = str(person("bob@example.test", (other.workspace_id, MemberRole.OWNER)))
    job_id = dead(workspace_id=other.workspace_id)
    message_id = post(other, "for Other")
    execute("UPDATE messages SET state = 'unknown' WHERE id = :id", id=message_id)
    with db.transaction() as session:
        everything = frozenset(Permission)
        made, _ = invitations.invite(
            session, other.workspace_id, "eve@example.test", MemberRole.AGENT, actor="test", may=everything
        )
        hold = holds.place(
            session, f"workspace:{other.workspace_id}", reason="r", actor="t", workspace_id=other.workspace_id
        )
        told = notifications.notify(
            session, other.workspace_id, "test", title="Other news", text="t", severity=Severity.INFO
        )
    campaign_id = str(campaign(other))
    fingerprint = job(job_id).fingerprint or ""
    test_id = str(post(other, "A test for Other"))
    execute("UPDATE messages SET author = 'test' WHERE id = :id", id=test_id)
    with db.transaction() as session:
        everyone = {"audience": {"all": True}}
        asked = exports.start(
            session, other.workspace_id, ExportKind.CONTACTS, ExportFormat.CSV, everyone, actor="a test"
        )
        export_id = str(asked.id)
    causes = ("dead_group", "discard_group", "canary_part", "retry_canary", "retry_group")
    return {
        **foreign_settings(other),
        **{page: {"campaign_id": campaign_id} for page in ("campaign", "campaign_part")},
        **{page: {"campaign_id": campaign_id} for page in ("edit_campaign", "change_campaign", "delete_campaign")},
        **{page: {"campaign_id": campaign_id} for page in ("campaign_recipients", "test_campaign")},
        **foreign_customers(other),
        "campaign_action": {"campaign_id": campaign_id, "action": "start"},
        **{page: {"fingerprint": fingerprint} for page in causes},
        **{page: {"job_id": str(job_id)} for page in ("job", "dead_letter", "edit_dead_letter")},
        "job_action": {"job_id": str(job_id), "action": "retry"},
        **{page: {"export_id": export_id} for page in ("export", "export_part", "download_export", "remove_export")},
        **{page: {"message_id": test_id} for page in ("test_message", "test_message_part")},
        "scheduled_message": {"message_id": str(message_id), "action": "cancel"},
        "scheduled_campaign": {"campaign_id": campaign_id, "action": "cancel"},
        "settle": {"message_id": str(message_id), "decision": "failed"},
        "release_hold": {"hold_id": str(hold.id)},
        "read_one": {"notification_id": str(told)},
        "take_back": {"invitation_id": str(made.id)},
        **{page: {"user_id": user_id} for page in ("change_role", "remove_member")},
        **{page: {"workspace_id": str(other.workspace_id)} for page in ("switch", "suspend", "release_workspace")},
        "replay_event": {"event_id": str(uuid.uuid4())},  # of no workspace: for operators
    }


def foreign_settings(other: Demo) -> dict[str, dict[str, str]]:
    """Make what another workspace has set."""
    with db.transaction() as session:
        new = endpoints.NewEndpoint(url="http://127.0.0.1:9/otherwise", events=["*"])
        endpoint = endpoints.add(session, other.workspace_id, new, actor="t")
        delivery_id = endpoints.test(session, other.workspace_id, endpoint.id)
        policies.put(session, other.workspace_id, "rate", {"rate": "7/m"}, actor="t")
        (key,) = workspaces.keys(session, other.workspace_id)
        endpoint_id, key_id = str(endpoint.id), str(key.id)
    of_channel = ("channel", "change_channel", "check_channel", "rotate_secret")
    return {
        **{page: {"channel_id": str(other.channel_id)} for page in of_channel},
        "template": {"template_id": str(approved(other, "otherwise"))},
        "set_rule": {"name": "none"},
        "end_rule": {"name": "rate"},
        **{page: {"name": "none"} for page in ("queue", "queue_part")},
        **{page: {"endpoint_id": endpoint_id} for page in ("webhook", "change_webhook")},
        "webhook_action": {"endpoint_id": endpoint_id, "action": "remove"},
        **{page: {"delivery_id": str(delivery_id)} for page in ("delivery", "delivery_part", "replay_delivery")},
        "revoke_key": {"key_id": key_id},
    }


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
    values = foreign(other)
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
    values = foreign(other)
    client = app.test_client()
    log_in(client, "bob@example.test")
    who = Browser(client, "bob@example.test")
    pages = {name(rule): rule for rule in rules(app) if "GET" in (rule.methods or ()) and name(rule) in values}
    operators = {page for page in pages if ALLOWED[page] == OPERATE}
    answers = {page: who.get(path(pages[page], **values[page])).status_code for page in pages.keys() - operators}
    # A queue has a name, which is nobody's, and a file that is not written yet cannot be fetched.
    assert {page for page, status in answers.items() if status != 200} == {"queue", "queue_part", "download_export"}


def test_no_list_shows_anything_of_another_workspace(app: Flask, demo: Demo, other: Demo) -> None:
    values = foreign(other)
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


TABLES = (
    *("jobs", "holds", "campaigns", "messages", "memberships", "invitations", "notifications", "notification_targets"),
    *("contacts", "identities", "suppressions", "consent_events", "erasures", "imports", "exports", "bulk_actions"),
    *("channels", "templates", "policies", "webhook_endpoints", "webhook_deliveries", "api_keys", "email_templates"),
    *("conversations", "segments", "media", "attributes", "workspaces", "recipients", "webhook_events", "users"),
)


def state() -> list[object]:
    """Return what a stranger's button would change."""
    return [execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]


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
