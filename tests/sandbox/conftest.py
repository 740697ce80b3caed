"""Fixtures: one shared sandbox that every test finds empty, or one of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playground import Receiver, Sandbox


@pytest.fixture(scope="session")
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def _sandbox(_receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"), _receiver.url)
    yield sandbox
    sandbox.stop()


@pytest.fixture
def receiver(_receiver: Receiver) -> Receiver:
    return _receiver


@pytest.fixture
def sandbox(_sandbox: Sandbox, _receiver: Receiver) -> Sandbox:
    """The shared process, emptied, with quick statuses."""
    _receiver.reset()
    _sandbox.control("DELETE", "state")
    _sandbox.control("PUT", "limits", {"statuses": {"sent_ms": 0, "delivered_ms": 25, "read_ms": 50}})
    _receiver.reset()
    return _sandbox


@pytest.fixture
def own(_receiver: Receiver, tmp_path: Path) -> Iterator[Sandbox]:
    """A process of the test's own, which it may kill."""
    _receiver.reset()
    sandbox = Sandbox(tmp_path, _receiver.url)
    yield sandbox
    if sandbox.process.poll() is None:
        sandbox.stop()
