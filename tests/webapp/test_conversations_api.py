"""`/api/v1/conversations` and their messages: paged by keyset, stable while more is said, each thing once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.messages.models import MessageState
from tests import payloads
from tests.fixtures import Demo
from tests.messages.apply import accepted, kept, ours, tell
from tests.payloads import NOON, told
from tests.webapp.api import Api

ANN = "15550001111"


def hear(demo: Demo, *messages: payloads.Json) -> None:
    for start in range(0, len(messages), 100):
        tell(demo, told(demo, messages=messages[start : start + 100]))


def pages(api: Api, path: str, limit: int, between: Any = lambda: None) -> list[list[dict[str, Any]]]:
    """Follow `next` to the end."""
    found: list[list[dict[str, Any]]] = []
    cursor = None
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        answer = api.get(path, query_string=query)
        assert answer.status_code == 200
        page = answer.get_json()
        assert set(page) == {"data", "next"}
        found.append(page["data"])
        cursor = page["next"]
        if cursor is None:
            return found
        between()


def only_conversation(api: Api) -> dict[str, Any]:
    (found,) = api.get("/conversations").get_json()["data"]
    return found


def test_a_conversation_says_who_and_until_when_free_text_is_allowed(demo: Demo, api: Api) -> None:
    at = int(datetime.now(UTC).timestamp()) - 3600
    hear(demo, payloads.text("Hi", at=at))
    found = only_conversation(api)
    assert found["contact"]["name"] == "Ann"
    spoke = datetime.fromtimestamp(at, UTC)
    assert datetime.fromisoformat(found["last_inbound_at"]) == spoke
    assert datetime.fromisoformat(found["window_open_until"]) == spoke + timedelta(hours=23, minutes=55)
    assert api.get(f"/conversations/{found['id']}").get_json() == found


def test_where_the_customer_never_spoke_no_window_is_open(demo: Demo, api: Api) -> None:
    ours(demo, MessageState.QUEUED)
    assert only_conversation(api)["window_open_until"] is None


@pytest.mark.parametrize("limit", [1, 7, 50, 200])
def test_pages_hold_every_message_once_and_the_newest_first(demo: Demo, api: Api, limit: int) -> None:
    """Many of the same second: the moment alone does not order them."""
    count = 23 if limit == 1 else 230
    hear(demo, *[payloads.text(f"No. {n}", at=NOON + n // 25, id=f"wamid.{n:04d}") for n in range(count)])
    found = pages(api, f"/conversations/{only_conversation(api)['id']}/messages", limit)
    assert {len(page) for page in found[:-1]} <= {limit}
    shown = [message for page in found for message in page]
    assert len({message["id"] for message in shown}) == len(shown) == count
    order = [(message["occurred_at"], message["id"]) for message in shown]
    assert order == sorted(order, reverse=True)


def test_what_is_said_meanwhile_moves_no_page(demo: Demo, api: Api) -> None:
    hear(demo, *[payloads.text(f"old {n}", at=NOON + n) for n in range(60)])
    later = iter(range(1000))

    def more() -> None:
        n = next(later)
        hear(demo, payloads.text(f"new {n}", at=NOON + 1000 + n), payloads.text(f"late {n}", at=NOON - 500 - n))

    path = f"/conversations/{only_conversation(api)['id']}/messages"
    shown = [message["text"] for page in pages(api, path, 10, more) for message in page]
    old = [text for text in shown if text.startswith("old")]
    assert old == [f"old {n}" for n in range(59, -1, -1)]
    assert not [text for text in shown if text.startswith("new")]
    assert len(set(shown)) == len(shown)


def test_conversations_are_paged_by_who_spoke_last(demo: Demo, api: Api) -> None:
    hear(demo, *[payloads.text("Hi", f"1555{n:07d}", at=NOON + n % 7) for n in range(45)])
    shown = [each for page in pages(api, "/conversations", 8) for each in page]
    assert len({each["id"] for each in shown}) == len(shown) == 45
    order = [(each["last_message_at"], each["id"]) for each in shown]
    assert order == sorted(order, reverse=True)
    hear(demo, payloads.text("Me again", "15550000003", at=NOON + 100))
    first = api.get("/conversations", query_string={"limit": 1}).get_json()["data"][0]
    assert first["contact"]["id"] == str(kept_contact("Me again", demo))


def kept_contact(text: str, demo: Demo) -> Any:
    from crm_tasks.messages.models import Message
    from tests.messages.apply import one

    return one(Message, Message.text == text, Message.workspace_id == demo.workspace_id).contact_id


def test_conversations_can_be_asked_for_by_contact(demo: Demo, api: Api) -> None:
    hear(demo, payloads.text("A", "15550000001"), payloads.text("B", "15550000002"))
    contact = kept_contact("B", demo)
    (found,) = api.get("/conversations", query_string={"contact_id": str(contact)}).get_json()["data"]
    assert found["contact"]["id"] == str(contact)


def test_edits_deletions_and_reactions_are_laid_over_their_messages(demo: Demo, api: Api) -> None:
    hear(
        demo,
        payloads.text("Helo", id="wamid.A"),
        payloads.text("Oops", id="wamid.B", at=NOON + 1),
        payloads.message(
            type="edit",
            edit={"original_message_id": "wamid.A", "message": {"type": "text", "text": {"body": "Hello"}}},
            at=NOON + 2,
        ),
        payloads.message(type="revoke", revoke={"original_message_id": "wamid.B"}, at=NOON + 3),
        payloads.message(type="reaction", reaction={"message_id": "wamid.A", "emoji": "👍"}, at=NOON + 4),
    )
    second, first = api.get(f"/conversations/{only_conversation(api)['id']}/messages").get_json()["data"]
    assert (first["text"], first["edited"]["text"]) == ("Helo", {"body": "Hello"})
    assert [(each["emoji"], each["from"]) for each in first["reactions"]] == [("👍", str(kept("wamid.A").contact_id))]
    assert (second["text"], second["deleted_at"] is not None) == ("Oops", True)
    assert api.get(f"/messages/{first['id']}").get_json() == first


def test_both_sides_are_in_one_conversation(demo: Demo, api: Api) -> None:
    hear(demo, payloads.text("Hi", ANN))
    accepted(demo, "wamid.OUT=", to=f"+{ANN}", body="Hello Ann")
    shown = api.get(f"/conversations/{only_conversation(api)['id']}/messages").get_json()["data"]
    assert {(each["direction"], each["text"]) for each in shown} == {("in", "Hi"), ("out", "Hello Ann")}


def test_a_page_costs_one_read_of_an_index_however_long_the_conversation_is(demo: Demo, api: Api) -> None:
    import sqlalchemy as sa

    hear(demo, *[payloads.text(f"No. {n}", at=NOON + n) for n in range(300)])
    conversation = only_conversation(api)["id"]
    query = sa.text(
        "EXPLAIN SELECT id FROM messages WHERE conversation_id = :id AND (occurred_at, id) < (now(), :id) "
        "ORDER BY occurred_at DESC, id DESC LIMIT 51"
    )
    with db.transaction() as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(session.scalars(query, {"id": conversation}))
    assert "ix_messages_history" in plan
    assert "Sort" not in plan
