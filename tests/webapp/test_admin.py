"""The admin and the pages for people: who gets in, what they see, and that nothing comes from another host."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import webapp
from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.queues import Queue
from crm_tasks.workspaces import users
from tests.core.ledger import execute, new
from tests.fixtures import Demo
from tests.harness import free_ports
from tests.webapp.dead import dead

EMAIL, PASSWORD = "ann@example.test", "a long enough password"


@pytest.fixture
def user(empty: None) -> str:
    """A person who may log in, and runs the system."""
    with db.transaction() as session:
        users.create(session, EMAIL, password=PASSWORD, operator=True)
    return EMAIL


def token(client: FlaskClient, path: str = "/admin/login") -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get(path).get_data(as_text=True))
    assert found is not None
    return found[1]


def log_in(client: FlaskClient, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> TestResponse:
    form = {"email": email, "password": password, "csrf_token": token(client), **more}
    return client.post("/admin/login", data={key: value for key, value in form.items() if value is not None})


# --- who gets in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/", "/admin/system", "/admin/status"])
def test_without_a_login_nothing_is_shown(client: FlaskClient, demo: Demo, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302
    assert urlsplit(answer.location).path == "/admin/login"
    # Neither is a key of the API a login.
    assert client.get(path, headers={"Authorization": f"Bearer {demo.api_key}"}).status_code == 302


def test_a_login_leads_to_the_page_that_was_asked_for_and_ends_with_the_log_out(client: FlaskClient, user: str) -> None:
    answer = log_in(client)
    assert (answer.status_code, urlsplit(answer.location).path) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200
    assert client.post("/admin/logout", data={"csrf_token": token(client, "/admin/")}).status_code == 302
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "wrong"), (EMAIL, ""), (EMAIL, PASSWORD + " "), ("bob@example.test", PASSWORD), ("nobody", "x"), ("", "")],
)
def test_a_wrong_login_gets_nowhere(client: FlaskClient, user: str, email: str, password: str) -> None:
    answer = log_in(client, email, password)
    assert answer.status_code == 200
    assert client.get("/admin/").status_code == 302


def test_a_wrong_password_and_a_wrong_address_are_told_apart_by_nobody(client: FlaskClient, user: str) -> None:
    def said(answer: TestResponse) -> list[str]:
        return re.findall(r"(?:invalid-feedback|alert-danger)[^>]*>([^<]+)<", answer.get_data(as_text=True))

    first = said(log_in(client, EMAIL, "a wrong password"))
    second = said(log_in(client, "bob@example.test", "a wrong password"))
    assert first == second != []


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "x" * 5000, "'; DROP TABLE users; --", "<script>"])
def test_odd_characters_in_the_login_break_nothing(client: FlaskClient, user: str, text: str) -> None:
    for email, password in ((text, PASSWORD), (EMAIL, text), (f"{text}@example.test", text)):
        form = {"email": email, "password": password, "csrf_token": token(client)}
        body = "&".join(f"{key}={quoted(value)}" for key, value in form.items())
        answer = client.post("/admin/login", data=body, content_type="application/x-www-form-urlencoded")
        assert answer.status_code in (200, 400, 422)


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("given", [None, "", "wrong"])
def test_a_form_of_another_site_is_refused(client: FlaskClient, user: str, given: str | None) -> None:
    answer = log_in(client, csrf_token=given)
    assert answer.status_code in (302, 400)
    assert client.get("/admin/").status_code == 302


def test_a_logout_of_another_site_is_refused(client: FlaskClient, user: str) -> None:
    log_in(client)
    client.post("/admin/logout", data={})
    client.get("/admin/logout")
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "https:evil.example"])
def test_nobody_is_led_to_another_site_after_the_login(client: FlaskClient, user: str, target: str) -> None:
    form = {"email": EMAIL, "password": PASSWORD, "csrf_token": token(client)}
    answer = client.post("/admin/login", query_string={"next": target}, data=form)
    location = answer.headers.get("Location", "/")
    assert location[0] == "/" and location[1:2] not in ("/", "\\")


def test_who_is_disabled_or_has_a_new_password_is_out_at_once(client: FlaskClient, user: str) -> None:
    log_in(client)
    with db.transaction() as session:
        users.set_password(session, EMAIL, "another long password")
    assert client.get("/admin/").status_code == 302
    log_in(client, password="another long password")
    assert client.get("/admin/").status_code == 200
    with db.transaction() as session:
        users.set_active(session, EMAIL, active=False)
    assert client.get("/admin/").status_code == 302
    log_in(client, password="another long password")
    assert client.get("/admin/").status_code == 302


def test_a_password_is_kept_as_an_argon2_hash(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_hasher", PasswordHasher())  # in earnest
    with db.transaction() as session:
        users.create(session, EMAIL, password=PASSWORD)
    ((kept,),) = execute("SELECT password FROM users")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert PASSWORD not in kept


def test_the_session_is_a_cookie_that_no_script_reads_and_no_other_site_sends(client: FlaskClient, user: str) -> None:
    cookie = log_in(client).headers["Set-Cookie"]
    assert cookie.startswith("crm_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_behind_https_the_cookie_is_sent_over_https_only(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    secure = replace(settings(), public_url="https://crm.example")
    monkeypatch.setattr("webapp.settings", lambda: secure)
    assert webapp._config()["SESSION_COOKIE_SECURE"] is True
    assert app.config["SESSION_COOKIE_SECURE"] is False


def test_nobody_registers_by_himself(client: FlaskClient) -> None:
    assert client.get("/admin/register").status_code == 404
    assert client.get("/admin/reset").status_code == 404


# --- what they see -----------------------------------------------------------------------------------------------


def test_the_screen_shows_stores_queues_processes_scheduler_and_the_oldest_job(client: FlaskClient, user: str) -> None:
    new()
    dead()
    execute(
        "INSERT INTO processes (id, kind, name, host, pid, queues, tasks, version, concurrency, running, seen_at) "
        "VALUES (gen_random_uuid(), 'worker', 'io@host-a:abc', 'host-a', 7, '{messages,ai}', '{}', '0', 20, 3, now())"
    )
    execute("INSERT INTO watermarks (name, at) VALUES ('scheduler', clock_timestamp())")
    execute("INSERT INTO holds (id, scope, reason, actor) VALUES (gen_random_uuid(), 'queue:email', '<b>', 'ann')")
    log_in(client)
    for path in ("/admin/system", "/admin/status"):
        page = client.get(path).get_data(as_text=True)
        for text in ("Postgres", "Redis", "Scheduler", "io@host-a", "messages, ai", "3 / 20", "queue:email", *Queue):
            assert text in page, text
        assert "oldest waiting: <code>messages.test_note</code>" in page
        assert "1 dead letters in messages" in page
        assert "&lt;b&gt;" in page
        assert "of-the-tests" not in page


def test_the_screen_is_there_when_redis_is_not(client: FlaskClient, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_tasks import status

    log_in(client)
    (port,) = free_ports(1)
    found = status.probe_redis(f"redis://127.0.0.1:{port}/0", 2.0)
    monkeypatch.setattr(status, "probe_redis", lambda *_: found)
    page = client.get("/admin/system").get_data(as_text=True)
    assert "Needs a look" in page
    assert "nothing listens there" in page


# --- nothing from another host -----------------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects what a page loads, and what in it a policy would forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = {"link": "href", "a": ""}.get(tag, "src")
        if url := given.get(name):
            self.loaded.append(url)
        for odd in ("style", *(key for key in given if key.startswith("on"))):
            if odd in given:
                self.inline.append(f"{tag} {odd}")
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(tag)


def assets(client: FlaskClient, path: str) -> Iterator[str]:
    """Follow everything that a page loads, through style sheets too; all of it is there."""
    answer = client.get(path)
    assert answer.status_code == 200, path
    links = Links()
    links.feed(answer.get_data(as_text=True))
    assert links.inline == []
    todo = [urljoin(path, url) for url in links.loaded]
    while todo:
        url = todo.pop()
        if url.startswith("data:"):
            continue
        parts = urlsplit(url)
        assert not parts.netloc, f"{path} loads {url}"
        found = client.get(parts.path)
        assert found.status_code == 200, url
        yield parts.path
        if found.mimetype == "text/css":
            used = re.findall(r"url\(\s*['\"]?([^'\")]+)", found.get_data(as_text=True))
            todo += [urljoin(parts.path, each) for each in used if not each.startswith(("data:", "#"))]


@pytest.mark.parametrize("path", ["/", "/admin/login", "/admin/", "/api/v1/docs"])
def test_no_page_loads_anything_from_another_host(client: FlaskClient, user: str, path: str) -> None:
    if path == "/admin/":
        log_in(client)
    found = list(assets(client, path))
    assert any(each.endswith(".css") for each in found)
    answer = client.get(path)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_the_page_of_the_api_reads_the_document_of_this_api(client: FlaskClient, demo: Demo) -> None:
    page = client.get("/api/v1/docs").get_data(as_text=True)
    document = client.get(re.search(r'data-document="([^"]+)"', page)[1])  # type: ignore[index]
    assert document.status_code == 200
    paths = document.get_json()["paths"]
    assert {"/api/v1/messages", "/api/v1/holds", "/api/v1/dlq/retry", "/api/v1/queues/health"} <= set(paths)
    assert document.get_json()["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_the_front_page_leads_to_every_door(client: FlaskClient) -> None:
    page = client.get("/", headers={"Host": "crm.example:8000"}).get_data(as_text=True)
    for href in ("/admin/", "/api/v1/docs", "/health", "http://crm.example:5555/"):
        assert f'href="{href}"' in page


def test_no_asset_is_read_from_outside_its_folder(client: FlaskClient) -> None:
    for path in ("/static/../__init__.py", "/static/swagger/../../__init__.py", "/static/swagger/%2e%2e/%2e%2e/x"):
        assert client.get(path).status_code == 404


def test_sessions_of_the_login_are_given_back(client: FlaskClient, user: str) -> None:
    """Each look at a page uses a connection; a leak would end the pool after a few."""
    log_in(client)
    for _ in range(12):
        assert client.get("/admin/status").status_code == 200
    with db.transaction() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in trans%'")) == 0
