"""Leaving a list: one click, one button, any number of times, and never by merely looking."""

import uuid

import pytest
from flask.testing import FlaskClient

from crm_tasks.contacts.models import ConsentEvent, Suppression, SuppressionScope
from crm_tasks.messages.models import Category, MessageState
from crm_tasks.providers.mail import unsubscribe
from crm_tasks.providers.mail.unsubscribe import Leaving
from tests.email.shop import ANN, Shop, make_shop
from tests.messages.apply import one, rows

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def shop(empty: None) -> Shop:
    return make_shop()


def path(shop: Shop, address: str = ANN) -> str:
    leaving = Leaving(shop.workspace_id, uuid.uuid4(), address, Category.MARKETING, uuid.uuid4())
    return f"/u/{unsubscribe.token(leaving)}"


def test_looking_shows_a_button_and_changes_nothing(client: FlaskClient, shop: Shop) -> None:
    where = path(shop)
    for method in ("GET", "HEAD"):
        shown = client.open(where, method=method)
        assert shown.status_code == 200
    page = client.get(where).get_data(as_text=True)
    assert "Shop &amp; Co" in page and ANN in page and "<button" in page and "csrf" not in page
    assert (rows(Suppression), rows(ConsentEvent)) == ([], [])


@pytest.mark.parametrize("multipart", [False, True])
def test_one_click_takes_a_person_off_without_cookies_or_another_page(
    client: FlaskClient, shop: Shop, multipart: bool
) -> None:
    kind = "multipart/form-data" if multipart else "application/x-www-form-urlencoded"
    answer = client.post(path(shop), data=ONE_CLICK, content_type=kind, headers={"User-Agent": "Mailer/1"})
    assert (answer.status_code, answer.headers.get("Set-Cookie"), answer.headers.get("Location")) == (200, None, None)
    found = one(Suppression)
    assert (found.address, found.medium, found.scope, found.reason, found.active) == (
        ANN,
        "email",
        SuppressionScope.MARKETING,
        "one_click",
        True,
    )
    assert found.evidence["user_agent"] == "Mailer/1" and found.evidence["message_id"]


def test_the_button_does_the_same_and_as_often_as_one_likes(client: FlaskClient, shop: Shop) -> None:
    where = path(shop)
    for _ in range(3):
        answer = client.post(where, data={"confirm": "yes"})
        assert answer.status_code == 200 and "You are unsubscribed" in answer.get_data(as_text=True)
    assert one(Suppression).reason == "page"


@pytest.mark.parametrize("data", [{}, {"List-Unsubscribe": "no"}, {"confirm": "no"}])
def test_a_post_that_says_neither_changes_nothing(client: FlaskClient, shop: Shop, data: dict[str, str]) -> None:
    assert client.post(path(shop), data=data).status_code == 400
    assert rows(Suppression) == []


@pytest.mark.parametrize("token", ["x", "gAAAAA" * 40, "é", "a" * 5000, "%00", "%ff%fe", "'; DROP TABLE jobs; --"])
def test_a_link_that_is_not_ours_is_a_friendly_404(client: FlaskClient, shop: Shop, token: str) -> None:
    for answer in (client.get(f"/u/{token}"), client.post(f"/u/{token}", data=ONE_CLICK)):
        assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert rows(Suppression) == []


def test_a_link_of_a_business_that_is_gone_is_a_404(client: FlaskClient, empty: None) -> None:
    leaving = Leaving(uuid.uuid4(), None, ANN, "marketing")
    assert client.post(f"/u/{unsubscribe.token(leaving)}", data=ONE_CLICK).status_code == 404


def test_a_link_that_was_damaged_takes_nobody_off(client: FlaskClient, shop: Shop) -> None:
    where = path(shop)
    damaged = where[:40] + ("A" if where[40] != "A" else "B") + where[41:]
    assert client.post(damaged, data=ONE_CLICK).status_code == 404
    assert rows(Suppression) == []


def test_a_huge_post_is_refused(client: FlaskClient, shop: Shop) -> None:
    assert client.post(path(shop), data={"List-Unsubscribe": "x" * 100_000}).status_code == 413


def test_an_address_cannot_become_a_page(client: FlaskClient, shop: Shop) -> None:
    page = client.get(path(shop, "<script>alert(1)</script>@x.net")).get_data(as_text=True)
    assert "<script>alert" not in page


def test_who_left_gets_no_marketing_but_still_the_invoice(client: FlaskClient, shop: Shop) -> None:
    from crm_tasks.core import db
    from crm_tasks.messages.service import gates
    from crm_tasks.messages.service.look import look
    from tests.email.shop import post

    client.post(path(shop), data=ONE_CLICK)
    found = {}
    for category in (Category.MARKETING, Category.UTILITY):
        wanted = post(shop, category=category)
        with db.transaction() as session:
            seen = look(session, wanted)
            assert seen is not None and seen.state is MessageState.QUEUED
            found[category] = [each.rule for each in gates.findings(session, seen)]
    assert found == {Category.MARKETING: ["suppressed"], Category.UTILITY: []}
