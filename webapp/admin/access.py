"""Who may see which page: one table. No page is without a line here, and none is seen before its line was obeyed.

Everything is in the workspace at hand, which is kept in the session's cookie; whether the person still belongs there,
and as what, is read at each request.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask, g, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_security import auth_required, current_user
from werkzeug.exceptions import RequestEntityTooLarge

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.errors import Forbidden, Invalid
from crm_tasks.providers.whatsapp.files import LARGEST
from crm_tasks.workspaces import members
from crm_tasks.workspaces.members import Place
from crm_tasks.workspaces.roles import Permission, permissions
from webapp import auditing, login
from webapp.admin import blueprint
from webapp.uploads import ENVELOPE

# Of every page: what it needs in the workspace at hand; None is for everybody who is logged in.
NEEDS: dict[str, Permission | None] = {
    "index": Permission.LOOK,
    "today_part": Permission.LOOK,
    "bell": Permission.LOOK,
    "notifications": Permission.LOOK,
    "notifications_part": Permission.LOOK,
    "read_all": Permission.ACKNOWLEDGE,
    "read_one": Permission.ACKNOWLEDGE,
    "contacts": Permission.PERSONAL,
    "contact": Permission.PERSONAL,
    "contact_form": Permission.EDIT,
    "create_contact": Permission.EDIT,
    "edit_contact": Permission.EDIT,
    "change_contact": Permission.EDIT,
    "note_consent": Permission.EDIT,
    "erase": Permission.MANAGE,
    "bulk_actions": Permission.LOOK,
    "bulk_form": Permission.BROADCAST,
    "start_bulk": Permission.BROADCAST,
    "bulk_action": Permission.LOOK,
    "bulk_part": Permission.LOOK,
    "cancel_bulk": Permission.BROADCAST,
    "conversations": Permission.PERSONAL,
    "conversations_part": Permission.PERSONAL,
    "conversation": Permission.PERSONAL,
    "conversation_part": Permission.PERSONAL,
    "earlier_messages": Permission.PERSONAL,
    "assign_conversation": Permission.EDIT,
    "conversation_action": Permission.ANSWER,
    "reply": Permission.ANSWER,
    "template_fields": Permission.ANSWER,
    "send_template": Permission.ANSWER,
    "media": Permission.PERSONAL,
    "fetch_media": Permission.ANSWER,
    "segment_list": Permission.LOOK,
    "segment": Permission.LOOK,
    "segment_part": Permission.LOOK,
    "segment_form": Permission.BROADCAST,
    "create_segment": Permission.BROADCAST,
    "edit_segment": Permission.BROADCAST,
    "change_segment": Permission.BROADCAST,
    "delete_segment": Permission.BROADCAST,
    "segment_builder": Permission.BROADCAST,
    "count_segment": Permission.BROADCAST,
    "imports": Permission.LOOK,
    "import_form": Permission.BROADCAST,
    "upload_import": Permission.BROADCAST,
    "map_import": Permission.BROADCAST,
    "look_import": Permission.BROADCAST,
    "start_import": Permission.BROADCAST,
    "one_import": Permission.LOOK,
    "import_part": Permission.LOOK,
    "import_rejects": Permission.PERSONAL,
    "cancel_import": Permission.BROADCAST,
    "undo_import": Permission.BROADCAST,
    "campaigns": Permission.LOOK,
    "campaign": Permission.LOOK,
    "campaign_part": Permission.LOOK,
    "campaign_recipients": Permission.LOOK,
    "test_campaign": Permission.BROADCAST,
    "campaign_form": Permission.BROADCAST,
    "audience_part": Permission.BROADCAST,
    "message_fields_part": Permission.BROADCAST,
    "preview_part": Permission.BROADCAST,
    "edit_campaign": Permission.BROADCAST,
    "change_campaign": Permission.BROADCAST,
    "delete_campaign": Permission.BROADCAST,
    "create_campaign": Permission.BROADCAST,
    "campaign_action": Permission.BROADCAST,
    "exports": Permission.EXPORT,
    "exports_part": Permission.EXPORT,
    "start_export": Permission.EXPORT,
    "export": Permission.EXPORT,
    "export_part": Permission.EXPORT,
    "download_export": Permission.EXPORT,
    "remove_export": Permission.EXPORT,
    "dead_letters": Permission.LOOK,
    "dead_group": Permission.LOOK,
    "canary_part": Permission.LOOK,
    "dead_letter": Permission.LOOK,
    "edit_dead_letter": Permission.REPAIR,
    "retry_canary": Permission.REPAIR,
    "retry_group": Permission.REPAIR,
    "discard_group": Permission.REPAIR,
    "queues": Permission.LOOK,
    "queues_part": Permission.LOOK,
    "queue": Permission.LOOK,
    "queue_part": Permission.LOOK,
    "place_hold": Permission.REPAIR,
    "release_hold": Permission.REPAIR,
    "jobs": Permission.LOOK,
    "job": Permission.LOOK,
    "job_action": Permission.REPAIR,
    "calendar": Permission.LOOK,
    "scheduled_message": Permission.ANSWER,
    "scheduled_campaign": Permission.BROADCAST,
    "unknown": Permission.LOOK,
    "settle": Permission.ANSWER,
    "settings": Permission.LOOK,
    "channels": Permission.LOOK,
    "channel": Permission.LOOK,
    "channel_form": Permission.MANAGE,
    "add_channel": Permission.MANAGE,
    "change_channel": Permission.MANAGE,
    "check_channel": Permission.MANAGE,
    "rotate_secret": Permission.MANAGE,
    "templates": Permission.LOOK,
    "template": Permission.LOOK,
    "sync_templates": Permission.BROADCAST,
    "rules": Permission.LOOK,
    "set_rule": Permission.MANAGE,
    "end_rule": Permission.MANAGE,
    "webhooks": Permission.MANAGE,
    "webhook": Permission.MANAGE,
    "webhook_form": Permission.MANAGE,
    "add_webhook": Permission.MANAGE,
    "change_webhook": Permission.MANAGE,
    "webhook_action": Permission.MANAGE,
    "delivery": Permission.MANAGE,
    "delivery_part": Permission.MANAGE,
    "replay_delivery": Permission.MANAGE,
    "keys": Permission.MANAGE,
    "create_key": Permission.MANAGE,
    "revoke_key": Permission.MANAGE,
    "tests": Permission.ANSWER,
    "send_test": Permission.ANSWER,
    "test_message": Permission.ANSWER,
    "test_message_part": Permission.ANSWER,
    "send_test_event": Permission.MANAGE,
    "people": Permission.MANAGE,
    "invite": Permission.MANAGE,
    "take_back": Permission.MANAGE,
    "change_role": Permission.MANAGE,
    "remove_member": Permission.MANAGE,
    "audit_log": Permission.MANAGE,
    "me": None,
    "change_me": None,
    "change_password": None,
    "workspaces": None,
    "switch": None,
    "create_workspace": Permission.OPERATE,
    "suspend": Permission.OPERATE,
    "release_workspace": Permission.OPERATE,
    "system": Permission.OPERATE,
    "status_part": Permission.OPERATE,
    "events": Permission.OPERATE,
    "replay_event": Permission.OPERATE,
}
# Seen by whoever has the link of an invitation.
PUBLIC = frozenset({"join", "accept"})
# Forms with a file, and how many bytes they may have. They are exempt from the check of the token that comes first, as
# that would read them whoever sends them; `auth_required` makes it once it knows who does.
LARGE: dict[str, Callable[[], int]] = {
    "upload_import": lambda: settings().import_max_bytes + ENVELOPE,
    "reply": lambda: LARGEST + ENVELOPE,
}
# Where operators may look at all workspaces at once, by `?scope=all`.
WIDE = frozenset(
    {
        "audit_log",
        *("dead_letters", "dead_group", "canary_part", "retry_canary", "retry_group", "discard_group"),
        *("dead_letter", "edit_dead_letter"),
        *("queues", "queues_part", "queue", "queue_part", "place_hold", "release_hold", "jobs", "job", "job_action"),
    }
)
# Pages of the settings that have addresses of their own.
_OF_SETTINGS = frozenset({"people", "invite", "audit_log"})
# The navigation: page and words; shown to whom the page is.
NAVIGATION = (
    ("index", "Home"),
    ("conversations", "Conversations"),
    ("contacts", "Contacts"),
    ("segment_list", "Segments"),
    ("imports", "Imports"),
    ("campaigns", "Campaigns"),
    ("exports", "Exports"),
    ("calendar", "Calendar"),
    ("unknown", "Unknown sends"),
    ("dead_letters", "Dead letters"),
    ("queues", "Queues"),
    ("jobs", "Jobs"),
    ("settings", "Settings"),
    ("tests", "Test"),
    ("workspaces", "Workspaces"),
    ("events", "Webhook requests"),
    ("system", "System"),
)


@dataclass(frozen=True, slots=True)
class Here:
    """Who looks, and where."""

    user_id: uuid.UUID
    email: str
    time_zone: str
    operator: bool
    places: list[Place]
    place: Place | None

    @property
    def permissions(self) -> frozenset[Permission]:
        """What this person may do here."""
        return permissions(self.place.role if self.place else None, operator=self.operator)

    @property
    def workspace_id(self) -> uuid.UUID:
        """The workspace at hand."""
        if self.place is None:
            raise Forbidden("You belong to no workspace.", code="no_workspace", hint="Ask for an invitation to one.")
        return self.place.workspace_id

    @property
    def wide(self) -> bool:
        """Whether all workspaces are looked at: for operators who asked for it."""
        return self.operator and request.args.get("scope") == "all"

    @property
    def sees(self) -> uuid.UUID | None:
        """Whose jobs and the like are looked at; None is everybody's."""
        return None if self.wide else self.workspace_id

    @property
    def actor(self) -> str:
        """How this person is named beside what was changed."""
        return f"user:{self.email}"

    def may(self, permission: str) -> bool:
        """Say whether this person may do something here; for pages, which show only what can be used."""
        return Permission(permission) in self.permissions


def here() -> Here:
    """Return who looks, and where."""
    return g.here


def register(app: Flask) -> None:
    """Check that the table is whole."""
    login.exempt(app, *(app.view_functions[f"admin.{page}"] for page in LARGE))
    pages = {name.removeprefix("admin.") for name in app.view_functions if name.startswith("admin.")}
    assert pages == NEEDS.keys() | PUBLIC, f"pages and NEEDS differ: {sorted(pages ^ (NEEDS.keys() | PUBLIC))}"


@blueprint.before_request
def _guard() -> ResponseReturnValue | None:
    page = _page()
    if page in PUBLIC:
        return None
    if page in LARGE:
        request.max_content_length = LARGE[page]()
    if (refused := _signed_in()) is not None:
        # What asks for a part of a page again and again cannot show a login: let it load the page.
        return ("", 401, {"HX-Refresh": "true"}) if request.headers.get("HX-Request") else refused
    g.here = found = _find()
    need = NEEDS[page]
    if need is not None:
        if found.place is None and not found.operator:
            return render_template("admin/nowhere.html"), 403
        if need not in found.permissions:
            role = found.place.role if found.place else None
            raise Forbidden(f"As {role} you may not do this.", code="role", hint="Ask an admin of this workspace.")
    auditing.begin(found.actor, f"admin.{page}", found.place.workspace_id if found.place else None)
    return None


def _signed_in() -> ResponseReturnValue | None:
    try:
        return _authenticated()
    except RequestEntityTooLarge:
        text = f"This is more than {request.max_content_length:,} bytes."
        raise Invalid(text, hint="Send a smaller file, or less text.") from None


@auth_required("session")
def _authenticated() -> None:
    return None


def _page() -> str:
    return (request.endpoint or "").removeprefix("admin.")


def _find() -> Here:
    operator = bool(current_user.operator)
    with db.transaction() as opened:
        places = members.places(opened, current_user.id, operator=operator)
    wanted = session.get("workspace_id")
    place = next((each for each in places if str(each.workspace_id) == wanted), places[0] if places else None)
    return Here(current_user.id, current_user.email, current_user.time_zone, operator, places, place)


@blueprint.url_defaults
def _stay_wide(endpoint: str, values: dict[str, Any]) -> None:
    """Links between pages that show all workspaces go on doing so."""
    if endpoint.removeprefix("admin.") in WIDE and _page() in WIDE and "here" in g and here().wide:
        values.setdefault("scope", "all")


@blueprint.app_context_processor
def _context() -> dict[str, Any]:
    if "here" not in g:
        return {"here": None}
    return {"here": here(), "navigation": _navigation()}


def _navigation() -> list[dict[str, Any]]:
    """Return the links that this person can use; the one of the page at hand is marked."""
    shown = []
    for page, words in NAVIGATION:
        need = NEEDS[page]
        if need is None or need in here().permissions:
            url = url_for(f"admin.{page}")
            path = url.partition("?")[0]
            at = request.path == path or (page != "index" and request.path.startswith(f"{path}/"))
            at = at or (page == "settings" and _page() in _OF_SETTINGS)
            shown.append({"url": url, "words": words, "current": at})
    return shown
