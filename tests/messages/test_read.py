"""Marking messages as read, and reactions of ours, with a real worker and the sandbox."""

import uuid
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import history, outbox, reading
from tests import payloads
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import hear, one, rows, wrote
from tests.messages.outgoing import ANN, AT_MOST, message, point, post, until
from tests.outside import Sandbox
from tests.payloads import NOON


def mark(demo: Demo, message_id: uuid.UUID, *, typing: bool = False) -> uuid.UUID:
    with db.transaction() as session:
        return reading.mark(session, demo.workspace_id, message_id, typing=typing)


def done(job_id: uuid.UUID) -> Job:
    def look() -> Job | None:
        job = one(Job, Job.id == job_id)
        return job if job.state in (JobState.SUCCEEDED, JobState.DEAD) else None

    return eventually(look, "the job over", AT_MOST)


def receipts(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [each["body"] for kind in ("read", "typing") for each in sandbox.log(kind)]


@pytest.mark.usefixtures("sender")
def test_a_message_is_marked_and_remembered(shop: Demo, sandbox: Sandbox) -> None:
    (heard,) = hear(shop, payloads.text("Hi"))
    assert done(mark(shop, heard.id)).state is JobState.SUCCEEDED
    expected = {"messaging_product": "whatsapp", "status": "read", "message_id": heard.provider_id}
    assert receipts(sandbox) == [expected]
    now = message(heard.id)
    assert (now.read_at is not None, now.state) == (True, MessageState.RECEIVED)


@pytest.mark.usefixtures("sender")
def test_typing_goes_along(shop: Demo, sandbox: Sandbox) -> None:
    (heard,) = hear(shop, payloads.text("Hi"))
    done(mark(shop, heard.id, typing=True))
    assert receipts(sandbox)[0]["typing_indicator"] == {"type": "text"}


@pytest.mark.usefixtures("sender")
def test_an_older_message_is_never_marked_after_a_newer_one(shop: Demo, sandbox: Sandbox) -> None:
    older, newer = hear(shop, payloads.text("1", at=NOON), payloads.text("2", at=NOON + 1))
    done(mark(shop, newer.id))
    assert done(mark(shop, older.id)).state is JobState.SUCCEEDED
    assert [each["message_id"] for each in receipts(sandbox)] == [newer.provider_id]
    assert message(older.id).read_at is not None


def test_doubles_are_one_job(demo: Demo) -> None:
    (heard,) = hear(demo, payloads.text("Hi"))
    with db.transaction() as session:  # no worker sees them in between
        first, again = (reading.mark(session, demo.workspace_id, heard.id, typing=False) for _ in range(2))
        other = reading.mark(session, demo.workspace_id, heard.id, typing=True)
    assert first == again != other


@pytest.mark.usefixtures("sender")
def test_a_provider_that_says_no_is_a_dead_letter_and_nothing_is_remembered(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults({"match": {"kind": "read"}, "action": {"status": 400, "error_code": 100}})
    (heard,) = hear(shop, payloads.text("Hi"))
    job = done(mark(shop, heard.id))
    assert (job.state, job.errors[-1]["code"]) == (JobState.DEAD, "whatsapp:100")
    assert message(heard.id).read_at is None


@pytest.mark.usefixtures("sender")
def test_a_provider_that_is_away_is_asked_again(shop: Demo, sandbox: Sandbox) -> None:
    (heard,) = hear(shop, payloads.text("Hi"))
    point(shop, "http://nobody.invalid")
    job_id = mark(shop, heard.id)
    eventually(lambda: one(Job, Job.id == job_id).attempt, "a first try", AT_MOST)
    point(shop, sandbox.url)
    assert done(job_id).state is JobState.SUCCEEDED


def test_our_own_messages_and_strangers_are_not_marked(demo: Demo) -> None:
    ours = post(demo)
    with pytest.raises(Conflict) as refused:
        mark(demo, ours)
    assert (refused.value.code, "somebody types" in refused.value.hint) == ("not_inbound", True)
    with pytest.raises(NotFound):
        mark(demo, uuid.uuid4())
    (heard,) = hear(demo, payloads.text("Hi"))
    with pytest.raises(NotFound), db.transaction() as session:
        reading.mark(session, uuid.uuid4(), heard.id, typing=False)


# --- reactions of ours -------------------------------------------------------------------------------------------


def react(demo: Demo, provider_id: str, emoji: str) -> uuid.UUID:
    new = outbox.NewMessage(type="reaction", content={"message_id": provider_id, "emoji": emoji})
    with db.transaction() as session:
        wrote(session, demo, ANN)
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, ANN, new).id


def reactions(heard: Message) -> list[tuple[str, str]]:
    with db.transaction() as session:
        shown = history.get(session, heard.workspace_id, heard.id)
        assert [each.message.id for each in history.messages(session, heard.conversation_id)] == [heard.id]
        return [(each["from"], each["emoji"]) for each in shown.reactions]


@pytest.mark.usefixtures("sender")
def test_a_reaction_of_ours_lies_over_the_message_and_can_be_taken_back(shop: Demo, sandbox: Sandbox) -> None:
    (heard,) = hear(shop, payloads.text("Hi"))
    assert heard.provider_id is not None
    until(react(shop, heard.provider_id, "👍"), MessageState.ACCEPTED)
    assert sandbox.sends()[0]["body"]["reaction"] == {"message_id": heard.provider_id, "emoji": "👍"}
    assert reactions(heard) == [("us", "👍")]
    until(react(shop, heard.provider_id, "❤️"), MessageState.ACCEPTED)
    assert reactions(heard) == [("us", "❤️")]
    until(react(shop, heard.provider_id, ""), MessageState.ACCEPTED)
    assert reactions(heard) == []


def test_a_reaction_that_failed_is_not_shown(demo: Demo) -> None:
    (heard,) = hear(demo, payloads.text("Hi"))
    assert heard.provider_id is not None
    failed = react(demo, heard.provider_id, "👍")
    assert reactions(heard) == [("us", "👍")]
    with db.transaction() as session:
        session.get_one(Message, failed).state = MessageState.FAILED
    assert reactions(heard) == []
    assert len(rows(Message)) == 2
