"""What the tests of the web app share."""

import pytest


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The web app of this process begins each test without the secrets of the test before."""
    from webapp.inbound import whatsapp

    monkeypatch.setattr(whatsapp, "_known", None)
