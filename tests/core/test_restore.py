"""A worker that lets go of what it took while the broker is away."""

import pytest
from kombu.transport import redis as transport
from redis.exceptions import ConnectionError

from crm_tasks.core.broker import Channel
from tests.core.ledger import counted


def test_what_cannot_be_put_back_is_counted_and_not_dumped_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kombu writes to a file in /tmp what raises here; the job is in the ledger, and its ring comes again."""

    def away(*_: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(transport.Channel, "_restore", away)
    before = counted("rings_failed")
    Channel.__new__(Channel)._restore(object())
    assert counted("rings_failed") == before + 1
