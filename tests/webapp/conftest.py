"""What the tests of the web app share."""

import pytest
from flask.testing import FlaskClient

from tests.fixtures import Demo, make_demo
from tests.webapp.api import Api, key_of


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The web app of this process begins each test without the secrets of the test before."""
    from webapp.inbound import whatsapp

    monkeypatch.setattr(whatsapp, "_known", None)


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
