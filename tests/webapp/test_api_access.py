"""Every route of the API with another workspace's key: nothing of the first is seen, nothing of it is changed."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.campaigns.audience import NEXT_MONTH
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.media.samples import ours
from tests.messages.outgoing import post
from tests.webapp.api import PREFIX, Api, error, key_of
from tests.webapp.one_of_each import one_of_each, state

CONDITIONS = {"all": [{"field": "tags", "op": "has", "value": "vip"}]}
# What a call has to say so that it is not refused for what it lacks.
BODIES: dict[str, Any] = {
    "campaigns.change": {"name": "Mine"},
    "campaigns.test": {"to": "+15550009999"},
    "channels.change": {"name": "Mine"},
    "channels.rotate_app_secret": {"app_secret": "stolen"},
    "channels.rotate_credentials": {"values": {"access_token": "stolen"}},
    "contacts.change": {"name": "Mine"},
    "dlq.discard_one": {"reason": "because"},
    "dlq.edit": {"args": {"typing": True}},
    "email_templates.change": {"name": "mine"},
    "email_templates.preview": {"variables": {}},
    "messages.settle": {"decision": "failed"},
    "notifications.change_target": {"enabled": False},
    "policies.put": {"rate": "1/m"},
    "scheduled.move": {"scheduled_for": NEXT_MONTH.isoformat()},
    "segments.change": {"name": "mine"},
    "webhooks.change": {"description": "mine"},
    "webhooks.replay_missing": {"since": "2026-01-01T00:00:00Z"},
    "workspaces.change": {"weight": 3},
}
# What is answered if it is not that there is nothing of this id, or all is well: what is named is the caller's own, or
# an operator's.
OTHERWISE = {
    "policies.put": 200,
    "policies.remove": 204,
    **dict.fromkeys(("events.listed", "events.replay", "workspaces.listed", "workspaces.change"), 403),
}


# Of which the API has no list.
NOT_LISTED = {"event_id", "invitation_id", "key_id", "media_id", "user_id"}


def rules(app: Flask) -> Iterator[Rule]:
    """Yield the routes of the API."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(PREFIX) and rule.endpoint not in ("api_docs", "api-docs.openapi_json"):
            yield rule


@pytest.fixture
def theirs(client: FlaskClient, other: Demo) -> dict[str, str]:
    """One of everything in another workspace: ids by an argument's name, or by a route's where that is not enough."""
    ids = {name: value for values in one_of_each(other).values() for name, value in values.items()}
    owner = Api(client, key_of(other))
    scheduled = post(other, "later")
    execute("UPDATE messages SET scheduled_for = now() + interval '1 day' WHERE id = :id", id=scheduled)
    ids |= {
        "segment_id": made(owner.post("/segments", {"name": "Otherwise", "conditions": CONDITIONS})),
        "email_templates": made(owner.post("/email-templates", {"name": "otherwise", "subject": "s", "text": "t"})),
        "target_id": made(owner.post("/notifications/targets", {"kind": "webhook", "address": "https://a.example/x"})),
        "bulk_id": made(owner.post("/bulk", {"action": "tag", "audience": {"all": True}, "tags": ["x"]})),
        "media_id": str(ours(other)),
        "scheduled": str(scheduled),
        "conversation_id": str(execute("SELECT id FROM conversations LIMIT 1")[0][0]),
        "name": "rate",
        "workspace_id": str(other.workspace_id),
    }
    gone = owner.post("/contacts", {"name": "Gone", "phone": "+15550007777"}).get_json()["id"]
    answer = owner.delete(f"/contacts/{gone}?erase=true")
    return ids | {"erasure_id": answer.get_json()["id"]}


def made(answer: Any) -> str:
    """Return the id of what was made."""
    assert answer.status_code in (200, 201, 202), answer.get_data(as_text=True)
    return str(answer.get_json()["id"])


def path(rule: Rule, ids: dict[str, str]) -> str:
    """Return the path of a route about what is another's."""
    given = {name: ids.get(rule.endpoint.partition(".")[0], ids.get(name)) for name in rule.arguments}
    built = rule.build(given, append_unknown=False)
    assert built is not None, (rule, given)
    return built[1].removeprefix(PREFIX)


def test_nothing_of_another_workspace_is_seen_or_changed(app: Flask, api: Api, theirs: dict[str, str]) -> None:
    before = state()
    wrong = []
    # By name: what the caller has put is removed after it.
    for rule in sorted(rules(app), key=lambda rule: rule.endpoint):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}) if rule.arguments else ():
            body = BODIES.get(rule.endpoint)
            answer = api._call(method, path(rule, theirs), {} if body is None else {"json": body})
            if answer.status_code != OTHERWISE.get(rule.endpoint, 404):
                wrong.append((rule.endpoint, answer.status_code, answer.get_data(as_text=True)[:200]))
    assert not wrong, "\n".join(map(str, wrong))
    assert state() == before


def test_whose_it_is_finds_all_of_it(app: Flask, client: FlaskClient, other: Demo, theirs: dict[str, str]) -> None:
    """Else the test before would pass with ids that are nobody's."""
    owner = Api(client, key_of(other))
    lost = [
        (rule.endpoint, owner.get(path(rule, theirs)).status_code)
        for rule in rules(app)
        if rule.arguments and "GET" in (rule.methods or ()) and owner.get(path(rule, theirs)).status_code == 404
    ]
    assert lost == []
    lists = [rule for rule in rules(app) if "GET" in (rule.methods or ()) and not rule.arguments]
    seen = "".join(owner.get(rule.rule.removeprefix(PREFIX)).get_data(as_text=True) for rule in lists)
    unseen = {name for name, value in theirs.items() if "-" in value and value not in seen}
    assert unseen == NOT_LISTED


def test_no_list_shows_anything_of_another_workspace(app: Flask, api: Api, theirs: dict[str, str]) -> None:
    secret = [value for value in theirs.values() if "-" in value] + ["Other", "otherwise"]
    for rule in rules(app):
        if "GET" in (rule.methods or ()) and not rule.arguments:
            answer = api.get(rule.rule.removeprefix(PREFIX))
            assert answer.status_code == OTHERWISE.get(rule.endpoint, 200), rule
            shown = [each for each in secret if each in answer.get_data(as_text=True)]
            assert shown == [], rule


def test_what_is_made_cannot_name_what_is_anothers(api: Api, demo: Demo, theirs: dict[str, str]) -> None:
    post(demo, "Hello", to="+15550001111")  # so that none is refused as the window is closed
    before = state()
    mine, message = str(demo.channel_id), {"type": "text", "text": {"body": "Hello"}}
    picture = {"type": "image", "image": {"id": theirs["media_id"]}}
    to = {"to": "+15550001111"}
    calls = [
        ("/messages", {"channel_id": theirs["channel_id"], **to, **message}, "channel_not_found"),
        ("/messages", {"channel_id": mine, **to, **picture}, "media_not_found"),
        ("/campaigns", campaign(theirs["channel_id"], message, {"all": True}), "channel_not_found"),
        ("/campaigns", campaign(mine, message, {"segment_id": theirs["segment_id"]}), "segment_not_found"),
        ("/campaigns", campaign(mine, picture, {"all": True}), "media_not_found"),
        (
            "/bulk",
            {"action": "tag", "audience": {"segment_id": theirs["segment_id"]}, "tags": ["x"]},
            "segment_not_found",
        ),
        ("/bulk", {"action": "assign", "audience": {"all": True}, "user_id": theirs["user_id"]}, "invalid"),
        ("/exports", export(theirs["campaign_id"]), "campaign_not_found"),
        ("/holds", {"scope": f"workspace:{theirs['workspace_id']}", "reason": "mine"}, "operator_only"),
        ("/holds", {"scope": f"channel:{theirs['channel_id']}", "reason": "mine"}, "operator_only"),
        ("/holds", {"scope": f"campaign:{theirs['campaign_id']}", "reason": "mine"}, "operator_only"),
    ]
    for where, body, code in calls:
        assert error(api.post(where, body))["code"] == code, (where, body)
    assert state() == before


def export(campaign_id: str) -> dict[str, Any]:
    """Return a request for the recipients of a campaign."""
    return {"kind": "recipients", "format": "csv", "filters": {"campaign_id": campaign_id}}


def campaign(channel_id: str, message: dict[str, Any], audience: dict[str, Any]) -> dict[str, Any]:
    """Return a request for a campaign."""
    return {"name": "x", "channel_id": channel_id, "message": message, "audience": audience}


def test_without_a_key_there_is_nothing(app: Flask, client: FlaskClient, demo: Demo) -> None:
    for rule in rules(app):
        built = rule.build({name: uuid.UUID(int=7) for name in rule.arguments}, append_unknown=False)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert built is not None
            assert client.open(built[1], method=method).status_code == 401, (method, rule)
