"""Limits: what is over is refused with Meta's code, and counted."""

import time
from typing import Any

import pytest
from playground import CUSTOMER, Receiver, Sandbox, wait_for


def burst(sandbox: Sandbox, count: int, to: str = "+1555500{n}", **more: object) -> list[int | None]:
    """Send quickly and return each error code."""
    codes = []
    for n in range(1000, 1000 + count):
        body = {"messaging_product": "whatsapp", "to": to.format(n=n), "text": {"body": "x"}, **more}
        codes.append(sandbox.post(body).json().get("error", {}).get("code"))
    return codes


def test_without_limits_nothing_is_refused(sandbox: Sandbox) -> None:
    assert burst(sandbox, 120, to=CUSTOMER) == [None] * 120
    stats = sandbox.stats()
    assert stats["accepted"] == 120
    assert 0 < max(stats["max_per_second"].values()) <= 120
    assert set(stats["violations"].values()) == {0}


def test_throughput_is_per_number_and_second(sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "limits", {"messages_per_second": 10})
    codes = burst(sandbox, 30)
    assert set(codes) == {None, 130429}
    stats = sandbox.stats()
    assert stats["violations"]["messages_per_second"] == codes.count(130429) == stats["refused_by_code"]["130429"]
    assert max(stats["max_per_second"].values()) == 10
    time.sleep(1)
    assert burst(sandbox, 1) == [None]


def test_minutes_are_limited_too(sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "limits", {"per_minute": 5})
    assert burst(sandbox, 7) == [None] * 5 + [130429] * 2
    assert sandbox.stats()["violations"]["per_minute"] == 2


def test_the_pair_limit_is_per_customer_and_refills(sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "limits", {"pair": {"per_seconds": 0.5, "burst": 3}})
    assert burst(sandbox, 5, to=CUSTOMER) == [None] * 3 + [131056] * 2
    assert burst(sandbox, 1, to="+15559999999") == [None]
    time.sleep(0.55)
    assert burst(sandbox, 2, to=CUSTOMER) == [None, 131056]
    refused = sandbox.log("message")[-1]
    assert (refused["status"], refused["answer"]["error"]["code"]) == (429, 131056)
    assert sandbox.stats()["violations"]["pair"] == 3


def test_the_window_closes_after_a_day_of_silence(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"enforce_window": True})
    cold = sandbox.send("+15550004444")
    template = sandbox.send(
        "+15550004444", type="template", template={"name": "hello_world", "language": {"code": "en_US"}}
    )
    sandbox.inbound("old", timestamp=int(time.time()) - 86_500, **{"from": "+15550005555"})
    stale = sandbox.send("+15550005555")
    sandbox.inbound("new", **{"from": "+15550006666"})
    warm = sandbox.send("+15550006666")
    sandbox.quiet()
    wait_for(lambda: len(receiver.names(warm)) == 3, "the statuses")
    assert [receiver.names(each)[-1] for each in (cold, template, stale, warm)] == ["failed", "read", "failed", "read"]
    assert receiver.status_updates(cold)[0]["errors"][0]["code"] == 131047


def test_put_replaces_and_patch_changes(sandbox: Sandbox) -> None:
    sandbox.control("PUT", "limits", {"messages_per_second": 80, "statuses": {"sent_ms": 5}})
    patched = sandbox.control("PATCH", "limits", {"batch": 50, "pair": {}})
    assert (patched["messages_per_second"], patched["batch"], patched["statuses"]["sent_ms"]) == (80, 50, 5)
    assert patched["pair"] == {"per_seconds": 6, "burst": 45}
    assert sandbox.control("PATCH", "limits", {"pair": None})["pair"] is None
    replaced = sandbox.control("PUT", "limits", {})
    assert (replaced["messages_per_second"], replaced["batch"], replaced["statuses"]["sent_ms"]) == (None, 1, 20)
    assert sandbox.control("PUT", "limits", replaced) == replaced


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {"hat": 1},
        {"messages_per_second": 0},
        {"messages_per_second": 1.5},
        {"per_minute": "20"},
        {"pair": 6},
        {"pair": {"burst": 0}},
        {"batch": 0},
        {"statuses": {"sent_ms": -1}},
        {"statuses": {"auto_read": 1}},
        {"retry_delays": []},
        {"retry_delays": [None]},
        {"enforce_window": "yes"},
    ],
)
def test_bad_limits_are_refused(sandbox: Sandbox, bad: Any) -> None:
    before = sandbox.control("GET", "limits")
    assert sandbox.control("PUT", "limits", bad, status=400)["error"]["message"]
    assert sandbox.control("GET", "limits") == before


def test_read_receipts_can_be_left_to_people(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"statuses": {"auto_read": False}})
    message_id = sandbox.send()
    sandbox.quiet()
    assert receiver.names(message_id) == ["sent", "delivered"]


def hello(to: str) -> Any:
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    return {"messaging_product": "whatsapp", "to": to, "type": "template", "template": template}


def codes(sandbox: Sandbox, *recipients: str) -> list[int | None]:
    return [sandbox.post(hello(to)).json().get("error", {}).get("code") for to in recipients]


def test_customers_outside_the_window_are_counted_once_for_all_numbers_of_an_account(sandbox: Sandbox) -> None:
    sandbox.control("PUT", "numbers", {"phone_number_id": "901", "display_phone_number": "+1 555 901 0901"})
    other = {"phone_number_id": "902", "display_phone_number": "+1 555 902 0902", "waba_id": "77"}
    sandbox.control("PUT", "numbers", other)
    sandbox.control("PATCH", "limits", {"unique_per_day": 2})
    sandbox.inbound(**{"from": "+15550009999"})
    assert codes(sandbox, "+15550001111", "+15550001111", "+15550002222") == [None] * 3
    assert codes(sandbox, "+15550003333", "+15550009999", "+15550002222") == [131048, None, None]
    assert sandbox.post(hello("+15550003333"), "901").json()["error"]["code"] == 131048
    assert sandbox.post(hello("+15550003333"), "902").status_code == 200
    stats = sandbox.stats()
    assert stats["violations"]["unique_per_day"] == 2
    assert sorted(stats["unique_outside_window"].values()) == [1, 2]


def test_without_enforcement_what_is_over_is_counted_and_taken(sandbox: Sandbox) -> None:
    limits = {"messages_per_second": 10, "pair": {"per_seconds": 60, "burst": 1}, "unique_per_day": 5, "enforce": False}
    sandbox.control("PATCH", "limits", {**limits, "messages_per_second": None})
    assert codes(sandbox, *[f"+1555000{n}" for n in range(1000, 1008)], "+15550001000") == [None] * 9
    stats = sandbox.stats()
    assert (stats["accepted"], stats["refused"]) == (9, 0)
    assert (stats["violations"]["unique_per_day"], stats["violations"]["pair"]) == (3, 1)
    sandbox.control("PUT", "limits", {"per_minute": 10, "enforce": False})
    assert burst(sandbox, 30) == [None] * 30
    assert sandbox.stats()["violations"]["per_minute"] == 20


def test_every_second_can_be_looked_at(sandbox: Sandbox) -> None:
    burst(sandbox, 20)
    sandbox.gateway("sms/send-sms", {"to": CUSTOMER, "message": "x"})
    assert "per_second" not in sandbox.stats()
    seconds = sandbox.control("GET", "stats?seconds=60")["per_second"]
    assert sum(count for _, count in seconds["106540352242922"]) == 20
    assert sum(count for _, count in seconds["sms"]) == 1
    assert all(abs(second - time.time()) < 60 for second, _ in seconds["106540352242922"])
