"""Too many logins: locked per account and per address, for a while, whatever comes at once; sessions need no Redis."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import webapp
from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.redis import manager
from crm_tasks.workspaces import lockout
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.webapp.admins import PASSWORD, Browser, browser, log_in, person, token_in

ANN, BOB = "ann@example.test", "bob@example.test"


@pytest.fixture
def people(demo: Demo) -> None:
    """Two who may log in."""
    person(ANN, operator=True)
    person(BOB, operator=True)


def try_wrong(client: FlaskClient, times: int, email: str = ANN, address: str = "10.0.0.1") -> TestResponse:
    for _ in range(times):
        answer = log_in(client, email, "a wrong password", environ_base={"REMOTE_ADDR": address})
    return answer


def enters(app: Flask, email: str = ANN, address: str = "10.0.0.1") -> bool:
    return log_in(app.test_client(), email, environ_base={"REMOTE_ADDR": address}).status_code == 302


def test_an_account_is_locked_for_every_address_and_others_are_not(app: Flask, people: None) -> None:
    assert try_wrong(app.test_client(), lockout.MOST_ACCOUNT).status_code == 200
    answer = log_in(app.test_client(), ANN.upper(), environ_base={"REMOTE_ADDR": "10.0.0.2"})
    assert answer.status_code == 429
    assert "Too many attempts. Try again in 15 minutes" in answer.get_data(as_text=True)
    assert 0 < int(answer.headers["Retry-After"]) <= 900
    assert enters(app, BOB)


def test_an_account_that_does_not_exist_is_locked_just_the_same(app: Flask, people: None) -> None:
    assert try_wrong(app.test_client(), lockout.MOST_ACCOUNT + 1, "eve@example.test").status_code == 429


def test_a_lock_ends_by_itself_and_by_hand(app: Flask, people: None, clock: Callable[[str], None]) -> None:
    try_wrong(app.test_client(), lockout.MOST_ACCOUNT + 3)
    assert not enters(app)
    with db.transaction() as session:
        assert lockout.unlock(session, ANN) is True
    assert enters(app)
    try_wrong(app.test_client(), lockout.MOST_ACCOUNT + 1)
    clock("now() + interval '16 minutes'")
    assert enters(app)


def test_a_login_that_is_right_forgets_those_before(app: Flask, people: None) -> None:
    for _ in range(3):
        try_wrong(app.test_client(), lockout.MOST_ACCOUNT - 1)
        assert enters(app)


def attempts(address: str, *emails: str) -> list[timedelta | None]:
    return [db.retrying(lockout.attempt, email, address) for email in emails]


def test_an_address_that_tries_many_accounts_is_locked_and_makes_no_more_rows(app: Flask, people: None) -> None:
    names = [f"user{number}@example.test" for number in range(lockout.MOST_ADDRESS + 20)]
    waits = attempts("10.0.0.1", *names)
    assert [wait is None for wait in waits] == [True] * lockout.MOST_ADDRESS + [False] * 20
    assert execute("SELECT count(*) FROM login_attempts") == [(lockout.MOST_ADDRESS + 1,)]
    assert execute("SELECT max(attempts) FROM login_attempts") == [(lockout.MOST_ADDRESS + 1,)]
    assert not enters(app)
    assert enters(app, address="10.0.0.2")


def test_all_addresses_of_one_network_are_one(people: None) -> None:
    emails = [f"user{number}@example.test" for number in range(lockout.MOST_ADDRESS)]
    for number, email in enumerate(emails):
        assert attempts(f"2001:db8:1:2::{number:x}", email) == [None]
    assert attempts("2001:db8:1:2:ffff::1", ANN) != [None]
    assert attempts("2001:db8:1:3::1", ANN) == [None]
    assert attempts("no address", ANN) == [None]


def test_a_hundred_at_once_are_no_more_than_in_turn(people: None) -> None:
    let: list[bool] = []

    def one(number: int) -> None:
        let.append(db.retrying(lockout.attempt, ANN, f"10.1.0.{number}") is None)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(let), sum(let)) == (40, lockout.MOST_ACCOUNT)


def test_no_row_says_who_tried(app: Flask, people: None) -> None:
    try_wrong(app.test_client(), 1)
    kept = [bytes(key) for (key,) in execute("SELECT key FROM login_attempts")]
    assert [len(key) for key in kept] == [32, 32]


@pytest.mark.parametrize("odd", [{"email": 5, "password": 7}, {"email": "a\ud800@b.test", "password": "\ud800"}, {}])
def test_odd_values_in_json_break_nothing(client: FlaskClient, people: None, odd: dict[str, object]) -> None:
    assert client.post("/admin/login", json=odd).status_code in (200, 302, 400, 422)


def test_no_cookie_logs_in_by_itself(client: FlaskClient, people: None) -> None:
    page = client.get("/admin/login").get_data(as_text=True)
    form = {"email": ANN, "password": PASSWORD, "csrf_token": token_in(page), "remember": "y"}
    answer = client.post("/admin/login", data=form)
    assert answer.status_code == 302
    assert not any("remember" in cookie for cookie in answer.headers.getlist("Set-Cookie"))


def test_a_session_survives_a_lost_redis(app: Flask, demo: Demo) -> None:
    who: Browser = browser(app, demo, "viewer")
    manager().client("broker").flushall()
    assert who.get("/").status_code == 200


def test_a_login_is_recorded(app: Flask, people: None) -> None:
    assert enters(app)
    try_wrong(app.test_client(), 1)
    assert execute("SELECT actor, action FROM audit_events") == [(f"user:{ANN}", "login")]


def test_pages_of_the_admin_are_kept_nowhere_and_https_stays_https(
    app: Flask, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = browser(app, demo, "viewer")
    answer = who.get("/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in answer.headers
    secure = replace(settings(), public_url="https://crm.example")
    monkeypatch.setattr("webapp.headers.settings", lambda: secure)
    assert who.get("/").headers["Strict-Transport-Security"].startswith("max-age=")


def test_behind_a_proxy_each_person_has_an_address(demo: Demo, people: None, monkeypatch: pytest.MonkeyPatch) -> None:
    proxied = replace(settings(), trusted_proxies=1)
    monkeypatch.setattr("webapp.settings", lambda: proxied)
    client = webapp.create_app().test_client()
    # The first is what a customer made up; the last is what our proxy says.
    log_in(client, ANN, "a wrong password", headers={"X-Forwarded-For": "1.1.1.1, 10.0.0.7"})
    assert execute("SELECT attempts FROM login_attempts WHERE key = :k", k=lockout._address("10.0.0.7")) == [(1,)]
