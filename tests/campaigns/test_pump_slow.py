"""A campaign that may send only a few a second sends as many as it may."""

from collections.abc import Callable

import pytest

from tests.campaigns.audience import SALE, campaign, many, put
from tests.campaigns.pumping import LONG, numbers, received, set_channel, start, times
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.outgoing import fault
from tests.outside import Sandbox

# One a second. If it stood behind all that it had still to send, the third would have it after a minute and a half.
PEOPLE, FIRST = 100, 10


def _channel(demo: Demo) -> None:
    set_channel(demo, per_second=1)


def _workspace(demo: Demo) -> None:
    put(demo, "rate", {"rate": "60/m"})


@pytest.mark.parametrize("limit", [_channel, _workspace])
@pytest.mark.usefixtures("fleet")
def test_it_sends_as_many_as_it_may(shop: Demo, sandbox: Sandbox, limit: Callable[[Demo], None]) -> None:
    many(shop, PEOPLE)
    limit(shop)
    sandbox.faults(fault(statuses="none"))
    mine = campaign(shop, SALE, guards={"canary_share": 0})
    start(mine)
    eventually(lambda: len(received(sandbox)) >= FIRST, f"{FIRST} have it", LONG)
    assert set(times(sandbox)) <= set(numbers(mine))
    assert set(times(sandbox).values()) == {1}
