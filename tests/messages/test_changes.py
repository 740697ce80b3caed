"""Edits, deletions and reactions: rows of their own, laid over what they mean on reading, whichever came first."""

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.messages.models import Message
from crm_tasks.messages.schemas import dump_message
from crm_tasks.messages.service import history
from crm_tasks.messages.service.history import Shown
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import accepted, conversations, hear, kept, rows, tell
from tests.payloads import NOON, message

TARGET = "wamid.TARGET="


def edit(words: Any, at: int, target: str = TARGET, sender: str = "15550001111") -> payloads.Json:
    inner = {"type": "text", "text": {"body": words}} if isinstance(words, str) else words
    return message(sender, type="edit", edit={"original_message_id": target, "message": inner}, at=at)


def revoke(at: int, target: str = TARGET) -> payloads.Json:
    return message(type="revoke", revoke={"original_message_id": target}, at=at)


def reaction(emoji: str | None, at: int, target: str = TARGET, sender: str = "15550001111") -> payloads.Json:
    given = {"message_id": target, "emoji": emoji}
    return message(sender, type="reaction", reaction={k: v for k, v in given.items() if v is not None}, at=at)


def shown(provider_id: str = TARGET) -> Shown:
    """Return a message as a person sees it."""
    found = kept(provider_id)
    with db.transaction() as session:
        return history.get(session, found.workspace_id, found.id)


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(NOON + seconds, UTC)


SAID = payloads.text("First words", id=TARGET)
EDITS = [edit("Second words", NOON + 1), edit("Third words", NOON + 2)]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_latest_edit_is_shown_whatever_came_first(demo: Demo, order: tuple[int, ...]) -> None:
    hear(demo, *([SAID, *EDITS][n] for n in order))
    found = shown()
    assert (found.message.text, found.edited_at) == ("First words", moment(2))
    assert found.edited == {"type": "text", "text": {"body": "Third words"}}
    assert kept(EDITS[0]["id"]).text == "Second words"


@pytest.mark.parametrize("first", ["message", "deletion"])
def test_a_deleted_message_says_since_when(demo: Demo, first: str) -> None:
    given = [SAID, revoke(NOON + 5), revoke(NOON + 7)]
    hear(demo, *(given if first == "message" else given[::-1]))
    assert (shown().deleted_at, shown().message.text) == (moment(5), "First words")


@pytest.mark.parametrize("gone", ["", None])
def test_of_each_person_the_latest_reaction_counts_and_none_takes_it_back(demo: Demo, gone: str | None) -> None:
    bo = "15550002222"
    reactions = [
        reaction("👍", NOON + 1),
        reaction("❤️", NOON + 3),
        reaction("👎", NOON + 2),
        reaction("🎉", NOON + 1, sender=bo),
        reaction(gone, NOON + 4, sender=bo),
    ]
    hear(demo, *reactions[:2], SAID, *reactions[2:])
    found = shown()
    assert [(each["emoji"], each["at"]) for each in found.reactions] == [("❤️", moment(3))]
    assert found.reactions[0]["from"] == str(found.message.contact_id)


def test_a_reaction_to_our_message_is_shown_with_it(demo: Demo) -> None:
    accepted(demo, TARGET)
    hear(demo, reaction("👍", NOON))
    assert [each["emoji"] for each in shown().reactions] == ["👍"]


def test_our_reaction_from_the_app_is_ours(demo: Demo) -> None:
    hear(demo, SAID)
    echo = reaction("👀", NOON + 1, sender="15550783881") | {"to": "15550001111"}
    tell(demo, payloads.envelope(payloads.change(demo, {"message_echoes": [echo]}, "smb_message_echoes")))
    assert [(each["from"], each["emoji"]) for each in shown().reactions] == [("us", "👀")]


def test_a_change_of_another_channels_message_is_no_change_of_ours(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    hear(demo, SAID)
    hear(other, edit("Not yours", NOON + 1), revoke(NOON + 1), reaction("👎", NOON + 1))
    found = shown()
    assert (found.edited, found.deleted_at, found.reactions) == (None, None, [])


def test_changes_are_no_lines_of_a_conversation(demo: Demo) -> None:
    hear(demo, SAID, *EDITS, revoke(NOON + 5), reaction("👍", NOON + 6))
    with db.transaction() as session:
        listed = history.messages(session, conversations()[0].id)
    assert [each.message.provider_id for each in listed] == [TARGET]
    assert len(rows(Message)) == 5


@pytest.mark.parametrize(
    "inner", [None, "words", ["words"], 7, {"type": "text", "text": "words"}, {"text": None}, {"type": ["text"]}]
)
def test_an_edit_of_an_odd_shape_can_be_shown(demo: Demo, inner: Any) -> None:
    hear(demo, SAID, edit(inner, NOON + 1) if inner is not None else edit({}, NOON + 1))
    found = dump_message(shown())
    assert found["text"] == "First words"
    assert isinstance(found["edited"], dict)


def test_a_change_of_nothing_is_kept(demo: Demo) -> None:
    odd = [message(type=kind, **{kind: {}}) for kind in ("edit", "revoke", "reaction")]
    assert [each.target_provider_id for each in hear(demo, *odd)] == [None] * 3
    hear(demo, SAID)
    assert shown().reactions == []
