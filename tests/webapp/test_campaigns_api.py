"""`/api/v1/campaigns`: written, refused by field, rehearsed, started, stopped, listed; each business its own."""

import uuid
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from werkzeug.test import TestResponse

from tests.campaigns.audience import DISCOUNT, NEXT_MONTH, SALE, attribute, go_on, people, person, work_off
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.outside import Sandbox
from tests.prove.healthy import open_account
from tests.templates.fetched import fetch
from tests.webapp.api import Api, error, fields


@pytest.fixture
def shop(demo: Demo, sandbox: Sandbox) -> Demo:
    """The business of the key, with a channel that points at the sandbox."""
    sandbox.quiet()
    execute("UPDATE channels SET base_url = :url", url=sandbox.url)
    open_account()
    fetch(demo)
    return demo


def new(shop: Demo, **values: Any) -> dict[str, Any]:
    return {
        "name": "Spring",
        "channel_id": str(shop.channel_id),
        "message": SALE,
        "audience": {"all": True},
        **values,
    }


def made(api: Api, shop: Demo, **values: Any) -> str:
    answer = api.post("/campaigns", new(shop, **values))
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return answer.get_json()["id"]


def post(api: Api, campaign_id: str, action: str, body: Any = None) -> dict[str, Any]:
    answer = api.post(f"/campaigns/{campaign_id}/{action}", body)
    assert answer.status_code in (200, 202), answer.get_data(as_text=True)
    return answer.get_json()


def test_from_the_draft_to_the_end(api: Api, shop: Demo) -> None:
    people(shop, 3)
    answer = api.post("/campaigns", new(shop))
    draft = answer.get_json()
    assert (draft["state"], draft["counts"]["audience"], draft["rehearsal"]) == ("draft", 0, None)
    rehearsed = post(api, draft["id"], "rehearse")
    assert rehearsed["rehearsing"]
    assert uuid.UUID(rehearsed["job_id"])
    work_off()
    report = api.get(f"/campaigns/{draft['id']}").get_json()["rehearsal"]
    assert report["outcomes"]["will_be_sent"] == report["audience"] == 3
    assert report["samples"][0]["text"].startswith("Spring is here, Person 0!")
    assert post(api, draft["id"], "start")["state"] == "running"
    assert post(api, draft["id"], "start")["state"] == "running"
    go_on()
    over = api.get(f"/campaigns/{draft['id']}").get_json()
    assert over["state"] == "finished"
    states = {name: count for name, count in over["counts"].items() if name not in ("audience", "replies")}
    assert sum(states.values()) == over["counts"]["audience"] == states["accepted"] == 3
    assert api.get(f"/campaigns/{draft['id']}/differences").get_json() == {"data": [], "next": None}


def test_recipients_are_filtered_and_come_in_pages(api: Api, shop: Demo) -> None:
    attribute(shop, "discount")
    people(shop, 3, attributes={"discount": "20 %"})
    person(shop, 9)
    mine = made(api, shop, message=DISCOUNT)
    post(api, mine, "start")
    go_on()
    path = f"/campaigns/{mine}/recipients"
    first = api.get(f"{path}?limit=3").get_json()
    assert [row["position"] for row in first["data"]] == [1, 2, 3]
    rest = api.get(f"{path}?limit=3&cursor={first['next']}").get_json()
    assert (len(rest["data"]), rest["next"]) == (1, None)
    (row,) = api.get(f"{path}?state=suppressed").get_json()["data"]
    assert (row["code"], row["message_id"]) == ("missing_parameter", None)
    assert row["reason"] == "no value for discount"
    assert len(api.get(f"{path}?code=missing_parameter").get_json()["data"]) == 1
    assert len(api.get(f"{path}?state=accepted").get_json()["data"]) == 3
    (why,) = api.get(f"/campaigns/{mine}").get_json()["failures"]
    assert (why["state"], why["code"], why["count"]) == ("suppressed", "missing_parameter", 1)
    assert api.get(f"{path}?cursor=bm8").status_code == 422
    assert api.get(f"{path}?state=received").status_code == 422


def wrong(answer: TestResponse, status: int = 422) -> dict[str, str]:
    assert answer.status_code == status, answer.get_data(as_text=True)
    return fields(answer)


def test_what_is_wrong_is_said_by_field(api: Api, shop: Demo) -> None:
    assert wrong(api.post("/campaigns", {})).keys() == {"name", "channel_id", "message", "audience"}
    assert "audience" in wrong(api.post("/campaigns", new(shop, audience={"all": True, "tags": ["vip"]})))
    found = wrong(api.post("/campaigns", new(shop, message=DISCOUNT)))
    assert "There is no attribute 'discount'." in found["message.template"]
    template = {"type": "template", "template": {"name": "spring_sael", "language": {"code": "en_US"}}}
    assert "message.template.name" in wrong(api.post("/campaigns", new(shop, message=template)))
    text = {"type": "text", "text": {"body": "x"}, "to": "+14155550100"}
    assert "message.to" in wrong(api.post("/campaigns", new(shop, message=text)))
    assert "scheduled_for" in wrong(api.post("/campaigns", new(shop, scheduled_for="2027-01-31T09:00:00")))
    assert "time_zone" in wrong(api.post("/campaigns", new(shop, time_zone="Europe/Berln")))
    assert "guards.failure_share" in wrong(api.post("/campaigns", new(shop, guards={"failure_share": 2})))
    assert "budget" in wrong(api.post("/campaigns", new(shop, budget=-1)))
    nowhere = api.post("/campaigns", new(shop, audience={"segment_id": str(uuid.uuid4())}))
    assert nowhere.status_code == 404


def test_a_time_schedules_it_and_a_change_moves_it(api: Api, shop: Demo) -> None:
    local = NEXT_MONTH.replace(tzinfo=None)
    mine = api.post("/campaigns", new(shop, scheduled_for=local.isoformat(), time_zone="Europe/Berlin")).get_json()
    moment = local.replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC).isoformat()
    assert (mine["state"], mine["scheduled_for"]) == ("scheduled", moment)
    changed = api.patch(f"/campaigns/{mine['id']}", {"scheduled_for": None, "budget": 12.5}).get_json()
    assert (changed["state"], changed["scheduled_for"], changed["budget"]) == ("draft", None, 12.5)


def test_pause_resume_cancel_answer_the_campaign_and_refuse_what_cannot_be(api: Api, shop: Demo) -> None:
    mine = made(api, shop)
    refused = api.post(f"/campaigns/{mine}/pause")
    assert (refused.status_code, error(refused)["code"]) == (409, "campaign_draft")
    post(api, mine, "start")
    assert post(api, mine, "pause")["state"] == post(api, mine, "pause")["state"] == "paused"
    assert post(api, mine, "resume")["state"] == "running"
    assert post(api, mine, "cancel")["state"] == post(api, mine, "cancel")["state"] == "cancelled"
    assert error(api.post(f"/campaigns/{mine}/retry-failed"))["code"] == "campaign_cancelled"


def test_a_test_goes_to_oneself_with_what_is_missing_in_brackets(api: Api, shop: Demo, sandbox: Sandbox) -> None:
    attribute(shop, "discount")
    mine = made(api, shop, message=DISCOUNT)
    answer = api.post(f"/campaigns/{mine}/test", {"to": "+14155550177"})
    assert answer.status_code == 202
    work_off()
    (sent,) = sandbox.sends()
    shown = [part["parameters"][0]["text"] for part in sent["body"]["template"]["components"]]
    assert shown == ["friend", "[discount]"]
    assert api.get(f"/campaigns/{mine}").get_json()["counts"]["audience"] == 0


def test_the_same_key_makes_one_campaign(api: Api, shop: Demo) -> None:
    key = {"Idempotency-Key": "spring"}
    first, second = (api.post("/campaigns", new(shop), headers=key).get_json() for _ in range(2))
    assert first["id"] == second["id"]
    assert len(api.get("/campaigns").get_json()["data"]) == 1


def test_a_stranger_sees_and_does_nothing(api: Api, stranger: Api, shop: Demo) -> None:
    mine = made(api, shop)
    assert stranger.get("/campaigns").get_json()["data"] == []
    for path in ("", "/recipients", "/differences"):
        assert stranger.get(f"/campaigns/{mine}{path}").status_code == 404
    for action in ("start", "pause", "resume", "cancel", "continue", "rehearse", "retry-failed"):
        assert stranger.post(f"/campaigns/{mine}/{action}").status_code == 404, action
    theirs = {**new(shop), "channel_id": str(shop.channel_id)}
    assert stranger.post("/campaigns", theirs).status_code == 404


def test_replies_are_counted(api: Api, shop: Demo) -> None:
    people(shop, 2)
    mine = made(api, shop)
    post(api, mine, "start")
    go_on()
    execute("UPDATE conversations SET last_inbound_at = crm_now() + interval '1 s' WHERE contact_id = "
            "(SELECT contact_id FROM recipients WHERE position = 1)")  # fmt: skip
    assert api.get(f"/campaigns/{mine}").get_json()["counts"]["replies"] == 1
