"""What the tests of the web app share."""

from collections.abc import Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

from crm_tasks.workspaces import users
from tests.fixtures import Demo, make_demo
from tests.outside import Site
from tests.webapp.api import Api, key_of
from tests.webapp.browsing import CHROMIUM, watched


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The web app of this process begins each test without the secrets of the test before."""
    from webapp.inbound import whatsapp

    monkeypatch.setattr(whatsapp, "_known", None)


@pytest.fixture(scope="module", autouse=True)
def quick_passwords(app: Flask) -> Iterator[None]:
    """Passwords that are checked in no time: as they are kept in earnest, a login costs half a second of a core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        checks = app.extensions["security"].pwd_context
        patch.setattr(checks, "needs_update", lambda _hash: False)
        yield


@pytest.fixture
def operator(client: FlaskClient, demo: Demo) -> Api:
    """A caller with an operator's key, which sees every workspace's jobs."""
    return Api(client, demo.api_key)


@pytest.fixture
def api(client: FlaskClient, demo: Demo) -> Api:
    """A caller with a key of the workspace."""
    return Api(client, key_of(demo))


@pytest.fixture
def other(empty: None) -> Demo:
    """Another business."""
    return make_demo(number="20002", name="Other")


@pytest.fixture
def stranger(client: FlaskClient, other: Demo) -> Api:
    """A caller with a key of the other workspace."""
    return Api(client, key_of(other))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def look() -> str:
    """How the browser looks, if a test does not say it."""
    return "light"


@pytest.fixture
def page(chromium: Any, web: Site, look: str) -> Iterator[Any]:
    """A page that fails the test for any error on its console or any request elsewhere."""
    with watched(chromium, web, look) as opened:
        yield opened
