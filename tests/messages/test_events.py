"""Raw webhook events: one that cannot be understood is put aside alone, seen, and applied when it can be."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from crm_tasks.cli import crm
from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import AccountUpdate, EventState, InboundEvent, Message
from crm_tasks.messages.service import events
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import one, receive_all, rows, store, tell
from tests.payloads import NOON, message, told


def account(field: str, waba_id: str, *, time: int | None = None, **value: object) -> payloads.Json:
    """Return a webhook about the account, which names no number."""
    made = payloads.envelope({"field": field, "value": value}, waba_id=waba_id)
    if time is not None:
        made["entry"][0]["time"] = time
    return made


def test_an_event_that_is_applied_is_done(demo: Demo) -> None:
    (event,) = tell(demo, told(demo, messages=[message()]))
    assert (event.state, event.problem, event.workspace_id) == (EventState.DONE, None, demo.workspace_id)


def test_one_bad_event_among_a_hundred_is_put_aside_alone(demo: Demo) -> None:
    bodies: list = [told(demo, messages=[payloads.text(f"No. {n}")]) for n in range(99)]
    bodies.insert(50, b"{broken")
    receive_all(store(demo, *bodies))
    found = rows(InboundEvent)
    assert [n for n, event in enumerate(found) if event.state is EventState.QUARANTINED] == [50]
    assert [event.problem for event in found if event.problem] == ["not JSON"]
    assert len(rows(Message)) == 99


def test_an_event_says_all_that_was_wrong_with_it_once(demo: Demo) -> None:
    bad = [message(None, id="wamid.A"), message(None, id="wamid.A"), {"type": "text"}]
    (event,) = tell(demo, told(demo, messages=[*bad, message(id="wamid.GOOD")], statuses=[{"id": "x"}]))
    assert event.problem == (
        "message wamid.A: nobody named as its sender; a message without id; a status without id or status"
    )
    assert [each.provider_id for each in rows(Message)] == ["wamid.GOOD"]


def test_a_number_that_nobody_has_waits_for_its_channel(demo: Demo) -> None:
    """Both numbers are of one app, so one secret signs for both; one of them is not a channel yet."""
    later = payloads.change(demo, {"messages": [payloads.text("For the new number", id="wamid.NEW")]})
    later["value"]["metadata"]["phone_number_id"] = "20002"
    known = payloads.change(demo, {"messages": [payloads.text("For the old number", id="wamid.OLD")]})
    (event,) = tell(demo, payloads.envelope(later, known))
    assert (event.state, event.problem) == (EventState.QUARANTINED, "no channel has the number 20002")
    assert [each.provider_id for each in rows(Message)] == ["wamid.OLD"]

    new = make_demo(number="20002", name="Other")
    with db.transaction() as session:
        session.execute(sa.text("UPDATE channels SET signed_by = (SELECT signed_by FROM channels LIMIT 1)"))
    said = CliRunner().invoke(crm, ["events", "replay", str(event.id)])
    assert (said.exit_code, said.output) == (0, "1 events will be applied again.\n")
    job = one(Job, Job.task == "messages.receive", Job.key_was == f"replay:{event.id}")
    assert job.args == {"event_ids": [str(event.id)]}
    assert one(InboundEvent).state == EventState.RECEIVED

    receive_all([event.id])
    assert one(InboundEvent).state == EventState.DONE
    found = {each.provider_id: each.workspace_id for each in rows(Message)}
    assert found == {"wamid.OLD": demo.workspace_id, "wamid.NEW": new.workspace_id}


def test_events_are_listed_by_state_the_newest_first(demo: Demo) -> None:
    bad = [event.id for event in tell(demo, b"{", b"[")]
    tell(demo, told(demo, messages=[message()]))
    (waiting,) = store(demo, told(demo, messages=[message()]))
    with db.transaction() as session:
        assert [event.id for event in events.listed(session)] == bad[::-1]
        assert [event.id for event in events.listed(session, state=EventState.RECEIVED)] == [waiting]
        assert len(events.listed(session, state=None)) == 4
        assert [event.id for event in events.listed(session, before=bad[1])] == bad[:1]
        assert [event.id for event in events.listed(session, limit=1)] == bad[1:]


def test_only_what_was_put_aside_can_be_replayed(demo: Demo) -> None:
    (done,) = tell(demo, told(demo, messages=[message()]))
    with db.transaction() as session:
        with pytest.raises(Conflict, match="This event is done"):
            events.replay(session, done.id, actor="test")
        with pytest.raises(NotFound):
            events.replay(session, new_id(), actor="test")


def test_a_replay_of_all_takes_each_once_even_if_it_is_put_aside_again_meanwhile(demo: Demo) -> None:
    """A worker that is quicker than the replay must not keep it busy for ever."""
    ids = [event.id for event in tell(demo, b"1", b"2", b"3")]
    after, taken = None, []
    for _ in range(5):
        with db.transaction() as session:
            batch = events.replay_all(session, actor="test", after=after, limit=2)
        if not batch:
            break
        receive_all(batch)
        after = batch[-1]
        taken += batch
    assert taken == ids
    assert {event.state for event in rows(InboundEvent)} == {EventState.QUARANTINED}


# --- accounts ----------------------------------------------------------------------------------------------------


def test_what_concerns_the_account_finds_its_channel_by_the_account(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    update = account(
        "message_template_status_update",
        other.waba_id,
        time=NOON,
        event="REJECTED",
        message_template_id=1689556908129835,
    )
    (event,) = tell(other, update)
    assert (event.state, event.workspace_id) == (EventState.DONE, other.workspace_id)
    found = one(AccountUpdate)
    assert (found.workspace_id, found.channel_id, found.field) == (
        other.workspace_id,
        other.channel_id,
        "message_template_status_update",
    )
    assert found.value == update["entry"][0]["changes"][0]["value"]
    assert found.occurred_at == datetime.fromtimestamp(NOON, UTC)


def test_an_account_update_that_comes_again_is_kept_once_and_another_is_another(demo: Demo) -> None:
    first = account("account_update", demo.waba_id, time=NOON, event="DISABLED_UPDATE")
    second = account("account_update", demo.waba_id, time=NOON + 1, event="DISABLED_UPDATE")
    tell(demo, first, first, second)
    assert len(rows(AccountUpdate)) == 2


@pytest.mark.parametrize("field", ["user_preferences", "group_lifecycle_update", "calls", "anything_new", ""])
def test_every_other_field_of_a_number_is_kept_as_it_is(demo: Demo, field: str) -> None:
    value = {"user_preferences": [{"wa_id": "15550001111", "value": "stop", "timestamp": NOON}]}
    (event,) = tell(demo, payloads.envelope(payloads.change(demo, value, field)))
    assert event.state == EventState.DONE
    assert (one(AccountUpdate).field, one(AccountUpdate).channel_id) == (field or "unnamed", demo.channel_id)


def test_an_account_that_nobody_has_is_put_aside(demo: Demo) -> None:
    (event,) = tell(demo, account("account_update", "31337", event="X"))
    assert (event.state, event.problem) == (EventState.QUARANTINED, "no channel has the account 31337")
