"""The pages of webhooks to the business's own systems: endpoints, secrets, deliveries, sending again."""

import re
import uuid
from collections.abc import Iterator

import pytest
from flask import Flask

from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.prove.healthy import open_account
from tests.webapp.admins import Browser, browser
from tests.webhooks import hooks
from tests.webhooks.receiver import Answer, Receiver, receiver


@pytest.fixture
def admin(app: Flask, demo: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, demo, "admin")


@pytest.fixture
def shop() -> Iterator[Receiver]:
    """A system of the business, which fails at first."""
    with receiver(Answer(400, body=b"no <b>such</b> thing"), Answer()) as started:
        yield started


def add(admin: Browser, url: str, **more: str) -> tuple[uuid.UUID, str]:
    """Add an endpoint in the form; return its id and its secret."""
    form = {"url": url, "events": "*", "rate": "10", "concurrency": "5", **more}
    page = admin.post("/settings/webhooks", **form).get_data(as_text=True)
    found = re.search(r'value="(whsec_[^"]+)"', page)
    assert found is not None, page[-1500:]
    open_account()
    ((endpoint_id,),) = execute("SELECT id FROM webhook_endpoints ORDER BY id DESC LIMIT 1")
    return endpoint_id, found[1]


def test_an_endpoint_is_added_its_secret_shown_once_and_a_test_sent(admin: Browser, shop: Receiver) -> None:
    assert "No endpoint yet" in admin.text("/settings/webhooks")
    endpoint_id, secret = add(admin, shop.url)
    path = f"/settings/webhooks/{endpoint_id}"
    assert secret not in admin.text(path) + admin.text("/settings/webhooks")
    answer = admin.post(f"{path}/test")
    delivery = answer.location.removeprefix("/admin")
    assert "It is on its way." in admin.text(delivery)
    assert "hx-get" in admin.text(f"{delivery}/part")
    hooks.work_off()
    shop.got[0].verify(secret)
    page = admin.text(delivery)
    assert "no &lt;b&gt;such&lt;/b&gt; thing" in page and "webhook.test" in page
    assert f'href="{answer.location}"' in admin.text(path)
    assert f'href="{answer.location}"' not in admin.text(f"{path}?state=delivered")


def test_what_was_missed_is_sent_again(demo: Demo, admin: Browser, shop: Receiver) -> None:
    endpoint_id, _ = add(admin, shop.url)
    path = f"/settings/webhooks/{endpoint_id}"
    assert admin.post(f"{path}/disabled").status_code == 302
    assert "switched off" in admin.text(path)
    assert admin.post(f"{path}/test").status_code == 409
    assert admin.post(f"{path}/enabled").status_code == 302
    hooks.tell_and_deliver(demo)
    execute("UPDATE jobs SET max_attempts = 1")
    hooks.try_again()
    assert hooks.states(endpoint_id) == ["delivered"]
    ((delivery_id,),) = execute("SELECT id FROM webhook_deliveries")
    assert admin.post(f"/settings/webhooks/deliveries/{delivery_id}/replay").status_code == 302
    assert admin.post(f"/settings/webhooks/deliveries/{delivery_id}/replay").status_code == 409
    hooks.work_off()
    assert len(shop.got) == 3 and len({request.id for request in shop.got}) == 1
    execute("UPDATE webhook_deliveries SET state = 'failed'")
    answer = admin.post(f"{path}/replay", hours="1")
    assert "1 are sent again." in admin.text(answer.location.removeprefix("/admin"))
    assert hooks.states(endpoint_id) == ["pending"]


def test_a_secret_is_exchanged_and_the_one_before_signs_too(admin: Browser, shop: Receiver) -> None:
    endpoint_id, first = add(admin, shop.url)
    path = f"/settings/webhooks/{endpoint_id}"
    page = admin.post(f"{path}/rotate-secret").get_data(as_text=True)
    second = re.search(r'value="(whsec_[^"]+)"', page)
    assert second is not None and second[1] != first
    assert "The secret before this one is valid too until" in admin.text(path)
    admin.post(f"{path}/test")
    hooks.work_off()
    shop.got[0].verify(first)
    shop.got[0].verify(second[1])


def test_what_is_wrong_is_said_at_its_field(demo: Demo, admin: Browser, shop: Receiver) -> None:
    good = {"url": shop.url, "events": "*", "rate": "10", "concurrency": "5"}
    endpoint_id, _ = add(admin, shop.url)
    for path in ("/settings/webhooks", f"/settings/webhooks/{endpoint_id}"):
        for name, value in (("url", "ftp://x"), ("rate", "fast"), ("concurrency", "51"), ("description", "x" * 201)):
            answer = admin.post(path, **{**good, name: value})
            assert (answer.status_code, f'id="w-{name}"' in answer.get_data(as_text=True)) == (422, True), (path, name)
        assert admin.post(path, **{**good, "events": "nonsense"}).status_code == 422
    assert admin.post(f"/settings/webhooks/{endpoint_id}/explode").status_code == 404
    assert admin.get(f"/settings/webhooks/{endpoint_id}?before=x").status_code == 404
    assert admin.get(f"/settings/webhooks/{endpoint_id}?state=x").status_code == 200


def test_an_endpoint_is_changed_and_removed(admin: Browser, shop: Receiver) -> None:
    endpoint_id, _ = add(admin, shop.url)
    path = f"/settings/webhooks/{endpoint_id}"
    form = {"url": shop.url, "events": "message.received", "rate": "3", "concurrency": "1", "hub_signature": "yes"}
    assert admin.post(path, **form).status_code == 302
    assert execute("SELECT events, rate, concurrency, hub_signature FROM webhook_endpoints") == [
        (["message.received"], 3, 1, True)
    ]
    assert admin.post(f"{path}/remove").status_code == 302
    assert admin.get(path).status_code == 404
