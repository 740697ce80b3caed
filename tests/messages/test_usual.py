"""The usual statuses are applied set by set: the same rows and the same news as if each were applied for itself."""

import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_tasks.core import db
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import ERASED, Message, MessageState, StatusEvent
from crm_tasks.messages.service import results, statuses, usual
from crm_tasks.providers.provider import Accepted
from crm_tasks.providers.whatsapp.webhook import Person, Status
from crm_tasks.webhooks.models import Event
from crm_tasks.workspaces.models import Channel
from tests import payloads
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import accepted, kept, ours, reports, rows, tell
from tests.messages.test_statuses import moment
from tests.payloads import NOON, told
from tests.webhooks.hooks import add

_numbers = itertools.count(800_001)
TO = "15550001111"
# What a status may be about: messages of ours in every condition, and one that nobody knows.
NAMES = ("A", "B", "FAILED", "READ", "UNKNOWN", "SENDING", "ERASED", "FOREIGN")
_MOMENTS = ("sent_at", "delivered_at", "read_at", "played_at", "failed_at")
FAILED = [{"code": 131042, "title": "Payment issue"}]


@pytest.fixture(autouse=True)
def frozen(clock: Callable[[str], None]) -> None:
    """All of this happens at one moment: what is told without a time has the same in every run."""
    clock(f"to_timestamp({NOON + 500})")


def status(name: str, state: str, at: int | None, own: uuid.UUID | None, recipient: str = TO, **detail: Any) -> Status:
    return Status(
        waba_id=None,
        phone_number_id=None,
        at=None if at is None else moment(at),
        id=f"wamid.{name}",
        status=state,
        person=Person(wa_id=recipient),
        recipient=recipient,
        callback_data=str(own) if own else None,
        detail={"errors": FAILED} if state == "failed" else detail,
    )


def business(*, told: bool) -> tuple[Demo, dict[str, uuid.UUID]]:
    """Return a workspace of its own, and its messages by name; `told` if it wants to hear of them."""
    demo = make_demo(number=str(next(_numbers)))
    if told:
        add(demo, "http://127.0.0.1:9/", "message.status")
    made = {name: accepted(demo, f"wamid.{name}").id for name in ("A", "B", "FAILED", "READ", "ERASED")}
    made |= {"UNKNOWN": ours(demo, MessageState.UNKNOWN).id, "SENDING": ours(demo, MessageState.SENDING).id}
    with db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == made["ERASED"]).values(content=ERASED))
    return demo, made


def apply(demo: Demo, parts: list[list[Status]], how: Callable[..., Any]) -> None:
    """Apply statuses, each part in a transaction of its own."""
    for part in parts:
        with db.transaction() as session:
            how(session, session.get_one(Channel, demo.channel_id), [(each, new_id()) for each in part])


def answer(message_id: uuid.UUID, *, together: bool) -> None:
    """Keep that the provider has accepted what was being sent, as one of many or for itself."""
    said = Accepted("wamid.SENDING")
    with db.transaction() as session:
        if not together or not results._accept_together(session, {message_id: said}):
            results.record(session, message_id, said)


def outcome(demo: Demo, made: dict[str, uuid.UUID]) -> dict[str, Any]:
    """Return all that came of it, told without generated ids."""
    called = {message_id: name for name, message_id in made.items()}
    messages = rows(Message, Message.workspace_id == demo.workspace_id)
    news: dict[str, list[Any]] = defaultdict(list)
    for event in rows(Event, Event.workspace_id == demo.workspace_id):
        body = orjson.loads(event.body)
        data = body["data"]
        news[called[uuid.UUID(data["message_id"])]].append(
            (body["timestamp"], data["state"], data["provider_id"], data["error"], data["contact_id"] is not None)
        )
    return {
        "messages": {
            called[m.id]: (m.state, m.provider_id, m.error, m.accepted_at, *(getattr(m, name) for name in _MOMENTS))
            for m in messages
        },
        "reports": sorted(
            (e.provider_id, e.status, e.recipient, e.occurred_at, called.get(e.message_id, ""), str(e.detail))
            for e in rows(StatusEvent, StatusEvent.workspace_id == demo.workspace_id)
        ),
        "news": news,
    }


facts = st.tuples(
    st.sampled_from(NAMES),
    # The usual more often than what is not.
    st.sampled_from(["sent", "delivered", "read"] * 3 + ["played", "failed", "warped", "accepted"]),
    st.one_of(st.none(), st.integers(0, 20)),
    # Whose id comes back with it: its own, nobody's, another's.
    st.sampled_from(["own", "own", "own", "none", "B"]),
    st.sampled_from([TO, TO, TO, "15550002222"]),
    st.sampled_from([{}, {}, {"pricing": {"billable": True}}, {"verdict": "odd"}]),
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    told=st.lists(facts, min_size=1, max_size=25),
    size=st.integers(1, 25),
    answered=st.integers(0, 5),
    listened=st.booleans(),
)
def test_set_by_set_comes_to_the_same_as_one_by_one(
    empty: None, told: list[Any], size: int, answered: int, listened: bool
) -> None:
    """Also when the answer to a sending comes after its statuses, or among them."""
    ends = []
    for how in (statuses.apply, statuses.apply_each):
        demo, made = business(told=listened)
        given = [
            status(name, state, at, made.get(name if own == "own" else own), recipient, **detail)
            for name, state, at, own, recipient, detail in told
        ]
        parts = [given[first : first + size] for first in range(0, len(given), size)]
        apply(demo, parts[:answered], how)
        answer(made["SENDING"], together=how is statuses.apply)
        apply(demo, parts[answered:], how)
        ends.append(outcome(demo, made))
    for part in ends[0]:
        assert ends[0][part] == ends[1][part], part


def test_of_the_usual_none_is_left_to_be_applied_alone_and_of_the_others_all(demo: Demo) -> None:
    made = {name: accepted(demo, f"wamid.{name}").id for name in ("A", "B")}
    usually = [status("A", "sent", 0, made["A"]), status("A", "delivered", 1, made["A"]), status("B", "read", 1, None)]
    with db.transaction() as session:
        channel = session.get_one(Channel, demo.channel_id)
        assert usual.apply(session, channel, [(each, new_id()) for each in usually]) == []
    others = [
        (each, new_id()) for each in (usually[0], status("B", "failed", 2, None), status("FOREIGN", "sent", 3, None))
    ]
    with db.transaction() as session:
        assert usual.apply(session, session.get_one(Channel, demo.channel_id), others) == others
    assert (kept("wamid.A").state, kept("wamid.B").state) == (MessageState.DELIVERED, MessageState.READ)
    assert [each.status for each in reports("wamid.A")] == ["accepted", "sent", "delivered"]


def test_a_status_that_is_faster_than_the_answer_is_usual_and_so_is_the_answer(demo: Demo) -> None:
    message = ours(demo, MessageState.SENDING)
    with db.transaction() as session:
        channel = session.get_one(Channel, demo.channel_id)
        assert usual.apply(session, channel, [(status("SENDING", "sent", 0, message.id), new_id())]) == []
    assert (kept("wamid.SENDING").id, kept("wamid.SENDING").state) == (message.id, MessageState.SENT)
    with db.transaction() as session:
        assert results._accept_together(session, {message.id: Accepted("wamid.SENDING")}) == {message.id}
        assert results._accept_together(session, {message.id: Accepted("wamid.OTHER")}) == set()
    assert (kept("wamid.SENDING").state, kept("wamid.SENDING").accepted_at) == (MessageState.SENT, moment(500))
    assert [each.status for each in reports("wamid.SENDING")] == ["sent", "accepted"]


def statements() -> int:
    """Return how many statements about messages and their statuses Postgres has run so far."""
    (row,) = execute("SELECT sum(calls) FROM pg_stat_statements WHERE query ~ 'messages|status_events'")
    return int(row[0] or 0)


def test_hundreds_of_statuses_cost_a_few_statements(demo: Demo) -> None:
    made = [accepted(demo, f"wamid.N{n}", to=f"+1555{n:07d}") for n in range(200)]
    given = [payloads.status(m.provider_id or "", name) for name in ("sent", "delivered") for m in made]
    before = statements()
    (event,) = tell(demo, told(demo, statuses=given))
    assert event.state == "done"
    assert statements() - before < 12
    assert {each.state for each in rows(Message)} == {MessageState.DELIVERED}


def test_what_the_session_knew_of_a_message_before_is_read_again(demo: Demo) -> None:
    accepted(demo, "wamid.A")
    with db.transaction() as session:
        message = session.scalars(sa.select(Message)).one()
        channel = session.get_one(Channel, demo.channel_id)
        assert usual.apply(session, channel, [(status("A", "sent", 0, None), new_id())]) == []
        assert (message.state, message.sent_at) == (MessageState.SENT, datetime.fromtimestamp(NOON, UTC))
