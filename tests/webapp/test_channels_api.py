"""`/api/v1/channels`: add, look at, limit; what keeps one from sending; and never a credential in an answer."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from crm_tasks.config import settings
from crm_tasks.core import breaker, db, holds, pace
from crm_tasks.core.redis import manager
from crm_tasks.messages.service import pacing
from crm_tasks.providers import registry
from crm_tasks.workspaces.models import Channel, UnknownPolicy
from tests.core.ledger import execute, in_threads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import one
from tests.webapp.api import Api, error, fields

VALUES = {
    "phone_number_id": "777",
    "waba_id": "9777",
    "access_token": "the-token",
    "app_secret": "the-secret",
    "verify_token": "the-verify",
}
NEW = {"name": "Shop", "values": VALUES}
SMS = {"kind": "sms", "name": "SMS", "values": {"token": "the-token"}}


@pytest.fixture(autouse=True)
def opened(empty: None) -> None:
    """Redis as one that has been there for long."""
    manager().client().hset("crm:pace", "since", 1)


def shown(api: Api, demo: Demo) -> dict:
    return api.get(f"/channels/{demo.channel_id}").get_json()


def test_a_channel_is_shown_with_how_it_stands(demo: Demo, api: Api) -> None:
    found = shown(api, demo)
    assert api.get("/channels").get_json() == {"data": [found], "next": None}
    assert {key: value for key, value in found.items() if key not in ("created_at", "state")} == {
        "id": str(demo.channel_id),
        "kind": "whatsapp",
        "name": "Number",
        "medium": "whatsapp",
        "display_phone_number": None,
        "phone_number_id": demo.phone_number_id,
        "waba_id": demo.waba_id,
        "base_url": "http://127.0.0.1:9",
        "settings": {},
        "unknown_policy": "hold",
    }
    assert found["state"] == {
        "held": [],
        "breaker": {"state": "closed", "since": None, "until": None, "failures": 0, "calls": 0},
        "pace": {"per_second": 80.0, "factor": None, "ahead": {"3": 0.0, "5": 0.0}},
    }


def test_what_holds_a_channel_is_shown_until_it_is_over(demo: Demo, other: Demo, api: Api, operator: Api) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    body = {"scope": f"channel:{demo.channel_id}", "reason": "no token", "expires_at": until.isoformat()}
    hold = operator.post("/holds", body).get_json()
    db.retrying(holds.place, f"channel:{other.channel_id}", reason="another", actor="test")
    (held,) = shown(api, demo)["state"]["held"]
    assert (held["id"], held["reason"], held["actor"]) == (hold["id"], "no token", hold["actor"])
    assert datetime.fromisoformat(held["expires_at"]) == until
    operator.delete(f"/holds/{hold['id']}")
    assert shown(api, demo)["state"]["held"] == []


def test_a_breaker_that_failures_opened_is_shown(demo: Demo, api: Api) -> None:
    for ok in (True, *[False] * 9):
        breaker.report(pacing.breaker_key(demo.channel_id), ok)
    found = shown(api, demo)["state"]["breaker"]
    assert (found["state"], found["failures"], found["calls"]) == ("open", 9, 10)
    length = datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["since"])
    assert length == timedelta(seconds=breaker.FIRST)


def test_the_pace_shows_what_was_learned_and_how_far_the_tail_is(demo: Demo, api: Api) -> None:
    api.patch(f"/channels/{demo.channel_id}", {"settings": {"per_second": 1}})
    pace.slow_down(pacing.channel_bucket(demo.channel_id))
    limit = pacing.limit_of_channel(demo.channel_id, registry.provider("whatsapp"), {"per_second": 1})
    assert limit is not None
    for _ in range(5):
        pace.reserve([limit], priority=5)
    found = shown(api, demo)["state"]["pace"]
    assert (found["per_second"], found["factor"]) == (1.0, 0.5)
    # At half of one a second, behind five who came without hurry; a reply has a tail of its own.
    assert 1 < found["ahead"]["3"] < found["ahead"]["5"] < 12


def test_a_channel_that_nothing_limits_says_so(demo: Demo, api: Api) -> None:
    made = api.post("/channels", {**SMS, "base_url": "http://127.0.0.1:9"}).get_json()
    assert (made["medium"], made["state"]["pace"]["per_second"]) == ("sms", None)
    assert made["state"]["pace"]["ahead"] == {"3": 0.0, "5": 0.0}


def test_a_channel_is_added_and_its_templates_are_fetched(demo: Demo, api: Api) -> None:
    answer = api.post("/channels", {**NEW, "unknown_policy": "resend", "display_phone_number": "+1 555"})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    made = answer.get_json()
    assert (made["phone_number_id"], made["unknown_policy"]) == ("777", "resend")
    kept = one(Channel, Channel.phone_number_id == "777")
    assert (kept.workspace_id, kept.credentials["access_token"]) == (demo.workspace_id, "the-token")
    assert execute("SELECT task, args->>'channel_id' FROM jobs") == [("messages.sync_templates", made["id"])]
    again = api.post("/channels", NEW)
    assert (again.status_code, error(again)["code"]) == (409, "channel_exists")


def test_of_two_who_add_a_number_at_once_one_is_told(api: Api, demo: Demo) -> None:
    both = in_threads(*[lambda: api.post("/channels", NEW).status_code] * 2)
    assert sorted(both) == [201, 409]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x"}, "values"),
        ({"name": " ", "values": VALUES}, "name"),
        ({**NEW, "kind": "pigeon"}, "kind"),
        ({**NEW, "values": {**VALUES, "access_token": " "}}, "access_token"),
        ({**NEW, "values": {**VALUES, "nonsense": "1"}}, "nonsense"),
        ({**NEW, "values": {**VALUES, "phone_number_id": "7" * 501}}, "phone_number_id"),
        ({**NEW, "base_url": "ftp://x"}, "base_url"),
        ({**NEW, "base_url": "https://user:password@example.com"}, "base_url"),
        ({**NEW, "unknown_policy": "perhaps"}, "unknown_policy"),
        ({**NEW, "settings": {}}, "settings"),
    ],
)
def test_what_is_no_channel_is_refused_by_field(demo: Demo, api: Api, body: dict, field: str) -> None:
    refused = api.post("/channels", body)
    assert refused.status_code == 422
    assert field in fields(refused)
    assert execute("SELECT count(*) FROM channels") == [(1,)]


def test_where_private_hosts_are_refused_only_an_operator_names_a_host(
    demo: Demo, api: Api, operator: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm_tasks.messages.service.channels.settings", lambda: Public())
    smtp = {"kind": "smtp", "name": "Mail", "values": {"host": "10.0.0.1", "from_address": "a@example.com"}}
    for body in ({**NEW, "base_url": "http://169.254.169.254"}, smtp):
        refused = api.post("/channels", body)
        assert (refused.status_code, error(refused)["code"]) == (403, "operator_only")
        assert operator.post("/channels", body).status_code == 201
    assert api.post("/channels", {**NEW, "values": {**VALUES, "phone_number_id": "778"}}).status_code == 201


class Public:
    """The settings of a system that speaks to public hosts only."""

    webhook_allow_private = False

    def __getattr__(self, name: str) -> object:
        return getattr(settings(), name)


def test_name_policy_and_limits_are_changed_and_what_is_left_out_stays(demo: Demo, api: Api) -> None:
    path = f"/channels/{demo.channel_id}"
    limits = {"per_second": 40.5, "unique_per_day": 1000, "portfolio_id": "p-1"}
    first = api.patch(path, {"name": " Shop ", "unknown_policy": "resend", "settings": limits})
    assert first.status_code == 200, first.get_data(as_text=True)
    found = first.get_json()
    assert (found["name"], found["unknown_policy"], found["settings"]) == ("Shop", "resend", limits)
    assert found["state"]["pace"]["per_second"] == 40.5
    second = api.patch(path, {"settings": {"per_second": None, "unique_per_day": 5}}).get_json()
    assert second["settings"] == {"unique_per_day": 5, "portfolio_id": "p-1"}
    kept = one(Channel, Channel.id == demo.channel_id)
    assert (kept.name, kept.unknown_policy) == ("Shop", UnknownPolicy.RESEND)
    assert api.patch(path, {}).get_json() == second


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *[({"settings": {"per_second": wrong}}, "settings.per_second") for wrong in (0, -1, 1001, "fast", True)],
        *[({"settings": {"unique_per_day": wrong}}, "settings.unique_per_day") for wrong in (0, 1.5, "many", True)],
        *[({"settings": {"portfolio_id": wrong}}, "settings.portfolio_id") for wrong in ("", "a b", 7, "x" * 201)],
        ({"settings": {"api_version": "v1.0"}}, "settings.api_version"),
        ({"settings": []}, "settings"),
        ({"name": "\n"}, "name"),
        ({"unknown_policy": "perhaps"}, "unknown_policy"),
        ({"access_token": "x"}, "access_token"),
        ({"kind": "sms"}, "kind"),
    ],
)
def test_a_wrong_change_is_refused_by_field_and_changes_nothing(demo: Demo, api: Api, body: dict, field: str) -> None:
    before = shown(api, demo)
    refused = api.patch(f"/channels/{demo.channel_id}", {"unknown_policy": "resend", **body})
    assert refused.status_code == 422
    assert list(fields(refused)) == [field]
    assert len(fields(refused)[field]) > 10
    assert shown(api, demo) == before


def test_a_portfolio_of_another_workspace_is_an_operators_to_share(
    demo: Demo, other: Demo, api: Api, operator: Api
) -> None:
    body = {"settings": {"portfolio_id": other.waba_id}}
    refused = api.patch(f"/channels/{demo.channel_id}", body)
    assert list(fields(refused)) == ["settings.portfolio_id"]
    assert operator.patch(f"/channels/{demo.channel_id}", body).status_code == 200


def test_a_set_of_people_is_read_again_after_a_change_of_its_limits(demo: Demo, api: Api) -> None:
    limit = pace.Members(pacing.people_bucket("p-1"), 2, lambda: read.append(1) or [])
    read: list[int] = []
    pace.reserve([limit], member="a")
    pace.reserve([limit], member="b")
    assert len(read) == 1
    api.patch(f"/channels/{demo.channel_id}", {"settings": {"portfolio_id": "p-1"}})
    # Who was reserved before stays in it.
    assert not pace.reserve([limit], member="c").reserved
    assert len(read) == 2


def test_another_workspaces_channel_is_not_found(demo: Demo, stranger: Api) -> None:
    path = f"/channels/{demo.channel_id}"
    answers = [
        stranger.get(path),
        stranger.patch(path, {"name": "mine"}),
        stranger.post(f"{path}/rotate-credentials", {"values": {"access_token": "x"}}),
        stranger.post(f"{path}/rotate-app-secret", {"app_secret": "x"}),
        stranger.get(f"/channels/{uuid.uuid4()}"),
    ]
    assert {(each.status_code, error(each)["code"]) for each in answers} == {(404, "channel_not_found")}
    assert str(demo.channel_id) not in stranger.get("/channels").get_data(as_text=True)
    assert one(Channel, Channel.id == demo.channel_id).name == "Number"


def test_secrets_are_replaced_and_no_answer_ever_has_one(demo: Demo, api: Api) -> None:
    path = f"/channels/{demo.channel_id}"
    answers = [
        api.post("/channels", NEW),
        api.post("/channels", {**NEW, "values": {**VALUES, "nonsense": "the-other"}}),
        api.post(f"{path}/rotate-credentials", {"values": {"access_token": "newer-token"}}),
        api.post(f"{path}/rotate-credentials", {"values": {"nonsense": "newer-token"}}),
        api.post(f"{path}/rotate-app-secret", {"app_secret": "newer-secret"}),
        api.patch(path, {"name": "Shop"}),
        api.get(path),
        api.get("/channels"),
    ]
    assert [each.status_code for each in answers] == [201, 422, 200, 422, 200, 200, 200, 200]
    kept = one(Channel, Channel.id == demo.channel_id).credentials
    assert kept["access_token"] == "newer-token"
    assert kept["app_secrets"] == ["newer-secret", demo.app_secret]
    said = "".join(each.get_data(as_text=True) for each in answers)
    secrets = ("the-", "newer-", demo.access_token, demo.app_secret, demo.verify_token, '"credentials"', "signed_by")
    assert [each for each in secrets if each in said] == []


@pytest.mark.parametrize("values", [{}, {"app_secret": "x"}, {"access_token": ""}, {"access_token": 7}])
def test_credentials_that_are_none_are_refused(demo: Demo, api: Api, values: dict) -> None:
    refused = api.post(f"/channels/{demo.channel_id}/rotate-credentials", {"values": values})
    assert (refused.status_code, bool(fields(refused))) == (422, True)


def test_a_kind_without_an_app_secret_says_so(demo: Demo, api: Api) -> None:
    made = api.post("/channels", SMS).get_json()
    refused = api.post(f"/channels/{made['id']}/rotate-app-secret", {"app_secret": "x"})
    assert (refused.status_code, error(refused)["code"]) == (422, "no_app_secret")


def test_channels_are_listed_the_oldest_first_and_each_with_its_own_state(demo: Demo, api: Api) -> None:
    made = api.post("/channels", NEW).get_json()
    make_demo(number="20003", name="Elsewhere")
    db.retrying(holds.place, f"channel:{made['id']}", reason="r", actor="test")
    found = api.get("/channels").get_json()["data"]
    assert [(each["id"], len(each["state"]["held"])) for each in found] == [(str(demo.channel_id), 0), (made["id"], 1)]
