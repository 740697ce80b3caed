"""Two thousand sends, of which every twentieth is accepted and its answer lost: none leaves twice, each is settled."""

import time
import uuid
from collections import Counter

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import outbox, settle
from crm_tasks.messages.service.settle import Decision
from tests.cli.terminal import data, said
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.outgoing import fault
from tests.outside import Sandbox, Site

pytestmark = [pytest.mark.usefixtures("sender"), pytest.mark.slow]
LONG = 170.0


def post_many(demo: Demo, count: int) -> list[uuid.UUID]:
    """Accept so many messages, each to somebody else."""
    with db.transaction() as session:
        new = outbox.NewMessage(
            type="template", content={"name": "hello_world", "language": {"code": "en_US"}}, category="utility"
        )
        return [
            outbox.send_to(session, demo.workspace_id, demo.channel_id, f"+1555{number:07d}", new).id
            for number in range(1_110_000, 1_110_000 + count)
        ]


def states() -> Counter[MessageState]:
    time.sleep(0.5)  # asked again and again while a worker needs the machine
    with db.transaction() as session:
        counted = session.execute(sa.select(Message.state, sa.func.count()).group_by(Message.state))
        return Counter(dict(counted.all()))  # type: ignore[arg-type]


def sent_once(sandbox: Sandbox) -> int:
    """Return how many messages the provider has, none of them twice."""
    ids = Counter(entry["body"]["biz_opaque_callback_data"] for entry in sandbox.log("message", limit=5000))
    assert set(ids.values()) == {1}
    return len(ids)


@pytest.mark.timeout(300)
def test_every_unknown_is_settled_by_its_echo(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults(fault(drop="after", probability=0.05, late=3))
    post_many(shop, 2_000)
    eventually(lambda: states()[MessageState.DELIVERED] == 2_000, "all delivered", LONG)
    lost = sum(rule["hits"] for rule in sandbox.control("GET", "faults")["data"])
    assert (lost > 20, sent_once(sandbox)) == (True, 2_000)


@pytest.mark.timeout(300)
def test_without_echoes_each_waits_for_a_person_who_decides(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(drop="after", probability=0.05), fault(statuses="none"))
    post_many(shop, 400)
    done = (MessageState.ACCEPTED, MessageState.UNKNOWN)
    eventually(lambda: sum(states()[state] for state in done) == 400, "all sent", LONG)
    lost = sandbox.control("GET", "faults")["data"][0]["hits"]
    listed = data("message", "unknown")
    assert (lost > 0, states()[MessageState.UNKNOWN], len(listed), sent_once(sandbox)) == (True, lost, lost, 400)
    said("message", "settle", listed[0]["id"], "--as", "failed")
    with db.transaction() as session:
        for found in settle.waiting(session, shop.workspace_id):
            settle.decide(session, found.id, Decision.FAILED, actor="bob", workspace_id=shop.workspace_id)
    assert data("message", "unknown") == []
    assert sent_once(sandbox) == 400
