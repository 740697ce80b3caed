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
