"""One of everything that a workspace can have, for who looks at pages with another's ids or at all of them."""

import uuid

from crm_tasks.core import db, holds
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
from tests.webapp.admins import person
from tests.webapp.customers import customers_of
from tests.webapp.dead import dead

TABLES = (
    *("jobs", "holds", "campaigns", "messages", "memberships", "invitations", "notifications", "notification_targets"),
    *("contacts", "identities", "suppressions", "consent_events", "erasures", "imports", "exports", "bulk_actions"),
    *("channels", "templates", "policies", "webhook_endpoints", "webhook_deliveries", "api_keys", "email_templates"),
    *("conversations", "segments", "media", "attributes", "workspaces", "recipients", "webhook_events", "users"),
)


def one_of_each(demo: Demo) -> dict[str, dict[str, str]]:
    """Make one of everything in a workspace; return the values of each page that is about one."""
    user_id = str(person("bob@example.test", (demo.workspace_id, MemberRole.OWNER)))
    job_id = dead(workspace_id=demo.workspace_id)
    message_id = post(demo, "for Other")
    execute("UPDATE messages SET state = 'unknown' WHERE id = :id", id=message_id)
    with db.transaction() as session:
        everything = frozenset(Permission)
        made, _ = invitations.invite(
            session, demo.workspace_id, "eve@example.test", MemberRole.AGENT, actor="test", may=everything
        )
        hold = holds.place(
            session, f"workspace:{demo.workspace_id}", reason="r", actor="t", workspace_id=demo.workspace_id
        )
        told = notifications.notify(
            session, demo.workspace_id, "test", title="Other news", text="t", severity=Severity.INFO
        )
    campaign_id = str(campaign(demo))
    fingerprint = job(job_id).fingerprint or ""
    test_id = str(post(demo, "A test for Other"))
    execute("UPDATE messages SET author = 'test' WHERE id = :id", id=test_id)
    with db.transaction() as session:
        everyone = {"audience": {"all": True}}
        asked = exports.start(
            session, demo.workspace_id, ExportKind.CONTACTS, ExportFormat.CSV, everyone, actor="a test"
        )
        export_id = str(asked.id)
    causes = ("dead_group", "discard_group", "canary_part", "retry_canary", "retry_group")
    return {
        **_settings(demo),
        **{page: {"campaign_id": campaign_id} for page in ("campaign", "campaign_part")},
        **{page: {"campaign_id": campaign_id} for page in ("edit_campaign", "change_campaign", "delete_campaign")},
        **{page: {"campaign_id": campaign_id} for page in ("campaign_recipients", "test_campaign")},
        **customers_of(demo),
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
        **{page: {"workspace_id": str(demo.workspace_id)} for page in ("switch", "suspend", "release_workspace")},
        "replay_event": {"event_id": str(uuid.uuid4())},  # of no workspace: for operators
    }


def _settings(demo: Demo) -> dict[str, dict[str, str]]:
    """Make what a workspace can set."""
    with db.transaction() as session:
        new = endpoints.NewEndpoint(url="http://127.0.0.1:9/otherwise", events=["*"])
        endpoint = endpoints.add(session, demo.workspace_id, new, actor="t")
        delivery_id = endpoints.test(session, demo.workspace_id, endpoint.id)
        policies.put(session, demo.workspace_id, "rate", {"rate": "7/m"}, actor="t")
        (key,) = workspaces.keys(session, demo.workspace_id)
        endpoint_id, key_id = str(endpoint.id), str(key.id)
    of_channel = ("channel", "change_channel", "check_channel", "rotate_secret")
    return {
        **{page: {"channel_id": str(demo.channel_id)} for page in of_channel},
        "template": {"template_id": str(approved(demo, "otherwise"))},
        "set_rule": {"name": "none"},
        "end_rule": {"name": "rate"},
        **{page: {"name": "none"} for page in ("queue", "queue_part")},
        **{page: {"endpoint_id": endpoint_id} for page in ("webhook", "change_webhook")},
        "webhook_action": {"endpoint_id": endpoint_id, "action": "remove"},
        **{page: {"delivery_id": str(delivery_id)} for page in ("delivery", "delivery_part", "replay_delivery")},
        "revoke_key": {"key_id": key_id},
    }


def state() -> list[object]:
    """Return what a stranger's button would change."""
    return [execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]
