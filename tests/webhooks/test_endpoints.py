"""`/api/v1/webhooks` and `crm webhook`: adding, changing, testing, looking back, sending again."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from crm_tasks.core import crypto, db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.webhooks.models import Attempt, Delivery, Event
from crm_tasks.webhooks.service import endpoints, gate, history
from tests.cli.terminal import complaint, data, ids, said
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import one, rows
from tests.webapp.api import Api, error, fields, key_of
from tests.webhooks.hooks import add, endpoint, jobs, states, tell, tell_and_deliver, try_again, work_off
from tests.webhooks.receiver import Answer, Receiver, receiver

LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def api(client: FlaskClient, demo: Demo) -> Api:
    return Api(client, key_of(demo))


@pytest.fixture
def stranger(client: FlaskClient, demo: Demo) -> Api:
    return Api(client, key_of(make_demo(number="20002", name="Other")))


def made(api: Api, url: str, **more: Any) -> dict[str, Any]:
    answer = api.post("/webhooks", {"url": url, "events": ["*"], **more})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return answer.get_json()


def patch(api: Api, path: str, body: dict[str, Any]) -> Any:
    return api._call("PATCH", path, {"json": body})


def test_a_secret_is_shown_once_and_kept_encrypted(api: Api, there: Receiver) -> None:
    new = made(api, there.url, description="shop", events=["message.status"])
    assert new["secret"].startswith("whsec_")
    shown = api.get(f"/webhooks/{new['id']}").get_json()
    assert shown == {name: value for name, value in new.items() if name != "secret"}
    assert (shown["state"], shown["rate"], shown["concurrency"], shown["events"]) == (
        "enabled",
        10,
        5,
        ["message.status"],
    )
    assert api.get("/webhooks").get_json()["data"] == [shown]
    ((kept,),) = execute("SELECT secret FROM webhook_endpoints")
    assert new["secret"].encode() not in bytes(kept)
    assert crypto.decrypt(bytes(kept)) == new["secret"]
    rotated = api.post(f"/webhooks/{new['id']}/rotate-secret").get_json()
    assert rotated["secret"] not in ("", new["secret"])
    until = datetime.fromisoformat(rotated["previous_secret_until"])
    assert timedelta(hours=23.9) < until - datetime.now(UTC) < timedelta(hours=24.1)


def test_every_wrong_field_is_named_with_what_to_do(api: Api) -> None:
    wrong = {"url": "ftp://x", "events": ["message.recieved", "*"], "rate": 0, "concurrency": 51}
    refused = api.post("/webhooks", wrong)
    assert refused.status_code == 422
    assert {"rate", "concurrency"} <= fields(refused).keys()
    refused = api.post("/webhooks", {"url": "ftp://x", "events": ["message.recieved"]})
    assert refused.status_code == 422
    assert fields(refused)["url"].startswith("Use https://")
    assert "Did you mean 'message.received'?" in fields(refused)["events"]
    missing = api.post("/webhooks", {})
    assert set(fields(missing)) == {"url", "events"}
    assert rows_of_endpoints() == 0


def rows_of_endpoints() -> int:
    ((count,),) = execute("SELECT count(*) FROM webhook_endpoints")
    return count


def test_a_workspace_has_a_bounded_number_of_endpoints(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 2)
    add(demo, "http://127.0.0.1:9/")
    add(demo, "http://127.0.0.1:9/")
    assert "at most 2" in complaint("webhook", "add", "http://127.0.0.1:9/")


def test_nothing_of_it_is_seen_or_touched_by_another_workspace(api: Api, stranger: Api, there: Receiver) -> None:
    new = made(api, there.url)
    delivery = api.post(f"/webhooks/{new['id']}/test").get_json()
    here = f"/webhooks/{new['id']}"
    for answer in (
        *(stranger.get(path) for path in (here, f"{here}/deliveries", f"/webhooks/deliveries/{delivery['id']}")),
        *(stranger.post(f"{here}/{verb}") for verb in ("rotate-secret", "test")),
        stranger.post(f"/webhooks/deliveries/{delivery['id']}/replay"),
        stranger.post(f"{here}/replay", {"since": LONG_AGO}),
        patch(stranger, here, {"state": "disabled"}),
        stranger.delete(here),
    ):
        assert answer.status_code == 404, answer.get_data(as_text=True)
    assert stranger.get("/webhooks").get_json()["data"] == []
    assert api.get(here).get_json() == {name: value for name, value in new.items() if name != "secret"}


def test_a_test_goes_out_now_whatever_the_endpoint_wants(api: Api, there: Receiver) -> None:
    new = made(api, there.url, events=["import.finished"])
    made(api, there.url)
    answer = api.post(f"/webhooks/{new['id']}/test")
    assert (answer.status_code, answer.get_json()["type"]) == (202, "webhook.test")
    work_off()
    (request,) = there.got
    assert request.verify(new["secret"])["data"] == {"endpoint_id": new["id"]}
    detail = api.get(f"/webhooks/deliveries/{answer.get_json()['id']}").get_json()
    assert (detail["state"], detail["body"]) == ("delivered", request.body.decode())
    assert [(each["status"], each["excerpt"]) for each in detail["log"]] == [(200, "thank you")]


def test_what_waits_for_a_disabled_endpoint_is_cancelled_and_replayed_later(
    demo: Demo, api: Api, there: Receiver
) -> None:
    new = made(api, there.url)
    for _ in range(3):
        tell(demo)
    off = patch(api, f"/webhooks/{new['id']}", {"state": "disabled"}).get_json()
    assert (off["state"], off["disabled_reason"]) == ("disabled", "switched off")
    assert states() == ["cancelled"] * 3
    assert {each.state for each in jobs()} == {JobState.CANCELLED}
    assert tell(demo) is None
    for answer in (
        api.post(f"/webhooks/{new['id']}/test"),
        api.post(f"/webhooks/{new['id']}/replay", {"since": LONG_AGO}),
        api.post(f"/webhooks/deliveries/{rows(Delivery)[0].id}/replay"),
    ):
        assert (answer.status_code, error(answer)["code"]) == (409, "endpoint_disabled")
    patch(api, f"/webhooks/{new['id']}", {"state": "enabled"})
    again = api.post(f"/webhooks/{new['id']}/replay", {"since": LONG_AGO})
    assert (again.status_code, again.get_json()) == (202, {"deliveries": 3})
    try_again()
    assert states() == ["delivered"] * 3
    assert {each.id for each in there.got} == {str(each.id) for each in rows(Event)}
    assert api.post(f"/webhooks/{new['id']}/replay", {"since": LONG_AGO}).get_json() == {"deliveries": 0}


def test_a_replay_since_a_moment_leaves_out_what_is_older_or_unwanted(
    demo: Demo, there: Receiver, clock: Callable[[str], None]
) -> None:
    first = add(demo, there.url)
    clock("now() - interval '2 hours'")
    tell_and_deliver(demo, "message.received")
    clock("now()")
    tell_and_deliver(demo, "message.received", "message.status", "conversation.updated")
    late = add(demo, there.url, "message.received", "message.status")
    tell_test = endpoints.test
    with db.transaction() as session:
        tell_test(session, demo.workspace_id, first.id)
    work_off()
    total = history.replay_all(demo.workspace_id, late.id, since=datetime.now(UTC) - timedelta(hours=1), actor="a test")
    assert total == 2
    try_again()
    assert states(late.id) == ["delivered", "delivered"]
    assert sorted(there.types()[-2:]) == ["message.received", "message.status"]


def test_a_failed_delivery_is_revived_with_its_dead_job(demo: Demo, api: Api) -> None:
    with receiver(*[Answer(500)] * 10, Answer()) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        for _ in range(9):
            try_again()
        assert states() == ["failed"]
        found = one(Delivery)
        answer = api.post(f"/webhooks/deliveries/{found.id}/replay")
        assert (answer.status_code, answer.get_json()["state"]) == (202, "pending")
        twice = api.post(f"/webhooks/deliveries/{found.id}/replay")
        assert (twice.status_code, error(twice)["code"]) == (409, "delivery_pending")
        try_again()
        assert states() == ["delivered"]
        assert one(Delivery).job_id == found.job_id
        assert [each.state for each in jobs()] == [JobState.SUCCEEDED]
        assert len({each.id for each in there.got}) == 1


def test_what_was_delivered_can_be_sent_again(demo: Demo, api: Api, there: Receiver) -> None:
    add(demo, there.url)
    tell_and_deliver(demo)
    assert api.post(f"/webhooks/deliveries/{one(Delivery).id}/replay").status_code == 202
    work_off()
    first, second = there.got
    assert (first.id, first.body) == (second.id, second.body)
    assert one(Delivery).attempts == 2


def test_a_replay_that_fails_again_does_not_go_round(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is sent again once, though the first are given up again before the last have their turn."""
    monkeypatch.setattr(history, "REPLAYED_AT_ONCE", 2)
    monkeypatch.setattr(gate, "DEAD_AFTER", 100)
    real = history.replay_missing

    def fail_meanwhile(*arguments: Any, **more: Any) -> list[uuid.UUID]:
        try_again()
        return real(*arguments, **more)

    with receiver(Answer(400, {"webhook-delivery": "abort-message"})) as there:
        hook = add(demo, there.url, rate=100)
        tell_and_deliver(demo, *["message.received"] * 5)
        assert states() == ["failed"] * 5
        monkeypatch.setattr(history, "replay_missing", fail_meanwhile)
        since = datetime.now(UTC) - timedelta(hours=1)
        assert history.replay_all(demo.workspace_id, hook.id, since=since, actor="a test") == 5
        try_again()
        assert len(there.got) == 10


def test_deliveries_are_paged_and_filtered(demo: Demo, api: Api, there: Receiver) -> None:
    new = made(api, there.url)
    for _ in range(5):
        tell(demo)
    page = api.get(f"/webhooks/{new['id']}/deliveries", query_string={"limit": 2}).get_json()
    rest = api.get(f"/webhooks/{new['id']}/deliveries", query_string={"cursor": page["next"]}).get_json()
    assert (len(page["data"]), len(rest["data"]), rest["next"]) == (2, 3, None)
    seen = [each["id"] for each in page["data"] + rest["data"]]
    assert seen == [str(each.id) for each in reversed(rows(Delivery))]
    for query, count in (
        ({"state": "pending"}, 5),
        ({"state": "failed"}, 0),
        ({"since": LONG_AGO}, 5),
        ({"since": "2099-01-01T00:00:00Z"}, 0),
    ):
        assert len(api.get(f"/webhooks/{new['id']}/deliveries", query_string=query).get_json()["data"]) == count
    assert api.get(f"/webhooks/{new['id']}/deliveries", query_string={"state": "lost"}).status_code == 422


def test_a_removed_endpoint_is_told_nothing_more_and_its_past_can_be_read(
    demo: Demo, api: Api, there: Receiver
) -> None:
    new = made(api, there.url)
    tell_and_deliver(demo)
    tell(demo)
    assert api.delete(f"/webhooks/{new['id']}").status_code == 204
    assert states() == ["delivered", "cancelled"]
    work_off()
    assert len(there.got) == 1
    assert api.get(f"/webhooks/{new['id']}").status_code == 404
    assert api.get(f"/webhooks/deliveries/{rows(Delivery)[0].id}").status_code == 200
    replay = api.post(f"/webhooks/deliveries/{rows(Delivery)[1].id}/replay")
    assert (replay.status_code, error(replay)["code"]) == (404, "endpoint_not_found")


def test_what_is_old_is_forgotten_but_not_what_is_on_its_way(
    demo: Demo, there: Receiver, clock: Callable[[str], None]
) -> None:
    add(demo, there.url)
    tell_and_deliver(demo, "message.received", "message.received")
    tell(demo)
    later = datetime.now(UTC) + timedelta(seconds=5)
    with db.transaction() as session:
        assert history.forget(session, datetime.now(UTC) - timedelta(hours=1)) == 0
        assert history.forget(session, later) == 2
        assert history.forget(session, later) == 0
    assert (len(rows(Event)), states(), len(rows(Attempt))) == (1, ["pending"], 0)


def test_secrets_can_be_encrypted_with_another_key(demo: Demo, there: Receiver) -> None:
    hook = add(demo, there.url)
    with db.transaction() as session:
        endpoints.rotate_secret(session, demo.workspace_id, hook.id, actor="a test")
    ((before, previous),) = execute("SELECT secret, previous_secret FROM webhook_endpoints")
    assert "1 webhook endpoints" in said("key", "rotate")
    ((after, and_previous),) = execute("SELECT secret, previous_secret FROM webhook_endpoints")
    assert bytes(before) != bytes(after)
    assert bytes(previous) != bytes(and_previous)
    assert endpoint(hook.id).previous_secret == hook.secret


def test_all_of_it_from_a_terminal(demo: Demo, there: Receiver) -> None:
    assert "crm webhook add URL" in said("webhook", "list")
    new = data("webhook", "add", there.url, "--event", "message.received", "--event", "message.status")
    assert new["events"] == ["message.received", "message.status"]
    assert there.url in said("webhook", "list")
    assert new["secret"] not in said("webhook", "list")
    said("webhook", "test", new["id"])
    work_off()
    there.got[0].verify(new["secret"])
    there.got[0].verify(new["secret"])
    (shown,) = data("webhook", "deliveries", new["id"], "--state", "delivered")
    assert (shown["type"], shown["last_status"]) == ("webhook.test", 200)
    assert "1 deliveries are sent again" in said("webhook", "replay", shown["id"])
    work_off()
    assert "0 deliveries" in said("webhook", "replay", new["id"], "--since", "2020-01-01")
    rotated = said("webhook", "rotate", new["id"]).strip()
    assert rotated.startswith("whsec_")
    said("webhook", "disable", new["id"])
    assert "switched off" in complaint("webhook", "test", new["id"])
    said("webhook", "enable", new["id"])
    assert ids(said("webhook", "remove", new["id"])) == [new["id"]]
    assert data("webhook", "list") == []
    assert "There is no webhook endpoint" in complaint("webhook", "remove", uuid.uuid4())
