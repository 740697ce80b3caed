"""Conversations in the admin: listed, read, answered inside the window, by a template outside it, once each."""

import io
import re
import time
import uuid
from functools import partial
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from crm_tasks.media.models import Media
from crm_tasks.messages.models import Conversation, Message, MessageState
from tests import payloads
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.media.samples import MP4, OGG, PDF, PNG, ours
from tests.messages.apply import accepted, hear, one, rows
from tests.plans import asked, plan
from tests.templates.fetched import approved
from tests.webapp.admins import Browser, browser
from tests.webapp.admins import person as user
from webapp.admin.conversations import _digest

OUT = Message.direction == "out"


@pytest.fixture
def abe(app: Flask, demo: Demo) -> Browser:
    """An agent."""
    return browser(app, demo, "agent")


def wrote(demo: Demo, body: str = "Where is my parcel?", sender: str = "15550001111", *, ago: int = 3600) -> Message:
    """Let a customer have written some seconds ago."""
    (told,) = hear(demo, payloads.text(body, sender, at=int(time.time()) - ago))
    return told


def place(message: Message) -> str:
    return f"/conversations/{message.conversation_id}"


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def reply(who: Browser, path: str, body: str, *, key: str = "", file: tuple[bytes, str] | None = None) -> TestResponse:
    form: dict[str, Any] = {"csrf_token": who.token(), "body": body, "key": key or hidden(who.text(path), "key")}
    if file is not None:
        form["file"] = (io.BytesIO(file[0]), file[1])
    return who.client.post(f"/admin{path}/reply", data=form, content_type="multipart/form-data")


def polled(page: str) -> str:
    """Return the address that a page asks for what is new."""
    found = re.search(r'id="live"[^>]*hx-get="/admin([^"]*)"', page)
    assert found is not None, page[:2000]
    return found[1].replace("&amp;", "&")


# --- the list ----------------------------------------------------------------------------------------------------


def test_without_a_conversation_the_page_says_what_comes_here(abe: Browser) -> None:
    assert "What customers write to your channels comes here." in abe.text("/conversations")


def test_conversations_are_listed_with_their_last_word_and_what_needs_an_answer(abe: Browser, demo: Demo) -> None:
    first = wrote(demo, "Where is my parcel?")
    wrote(demo, "Thank you!", "15550002222")
    assert reply(abe, place(first), "It comes today").status_code == 302
    page = abe.text("/conversations")
    assert page.index("It comes today") < page.index("Thank you!")
    assert page.count("needs an answer</span>") == 1
    waiting = abe.text("/conversations?show=waiting")
    assert ("Thank you!" in waiting, "It comes today" in waiting) == (True, False)
    found = abe.text("/conversations?q=555-0001111")
    assert ("Thank you!" in found, "It comes today" in found) == (False, True)
    assert "No conversation matches." in abe.text("/conversations?q=nobody")
    assert abe.post(f"{place(first)}/take-over").status_code == 302
    taken = abe.text("/conversations?show=taken")
    assert ("It comes today" in taken, "Thank you!" in taken) == (True, False)


def test_a_long_list_has_pages_and_is_read_in_few_queries(abe: Browser, demo: Demo) -> None:
    for n in range(45):
        wrote(demo, f"No. {n}", f"1555000{n:04d}", ago=1000 - n)
    page = abe.text("/conversations")
    assert len(re.findall(r">No\. \d+<", re.sub(r"\s+", "", page).replace("No.", "No. "))) == 40
    more = page[page.index("/conversations?before=") :].partition('"')[0].replace("&amp;", "&")
    assert len(re.findall(r'id="c-', abe.text(more))) == 5
    for odd in ("before=x", "before=W10", "q=%00", "show=boom"):
        assert abe.get(f"/conversations?{odd}").status_code in (200, 422), odd


def test_the_list_is_sent_again_only_when_it_has_changed(abe: Browser, demo: Demo) -> None:
    wrote(demo)
    path = polled(abe.text("/conversations?q=ann"))
    assert abe.get(path).status_code == 204
    wrote(demo, "Hello?")
    answer = abe.get(path)
    assert (answer.status_code, "Hello?" in answer.get_data(as_text=True)) == (200, True)


# --- one ---------------------------------------------------------------------------------------------------------


def test_both_sides_are_shown_with_their_state_and_what_to_do_about_failures(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    for state in ("delivered", "read", "failed", "unknown", "suppressed"):
        message = accepted(demo, f"wamid.{state}=", body=f"said {state}")
        error = '{"code": 131026, "title": "undeliverable"}' if state == "failed" else None
        execute("UPDATE messages SET state = :s, error = :e WHERE id = :id", s=state, e=error, id=message.id)
    page = abe.text(place(told))
    for shown in ("Where is my parcel?", "said read", "undeliverable (131026).", "try another channel"):
        assert shown in page, shown
    for shown in ("decide under Unknown sends", "The person has refused this kind of message", "✓✓</span> read"):
        assert shown in page, shown
    assert page.index("Where is my parcel?") < page.index("said delivered")


def test_what_was_done_to_messages_is_laid_over_them(abe: Browser, demo: Demo) -> None:
    first = wrote(demo, "Helo", ago=50)
    gone = wrote(demo, "Oops", ago=40)
    at = int(time.time())
    hear(demo, payloads.message(type="reaction", reaction={"message_id": first.provider_id, "emoji": "👍"}, at=at))
    hear(demo, payloads.message(type="revoke", revoke={"original_message_id": gone.provider_id}, at=at))
    hear(demo, payloads.text("No, this one", at=at, context={"id": first.provider_id}))
    hear(demo, payloads.text("About it", at=at, context={"id": gone.provider_id}))
    page = abe.text(place(first))
    assert "👍" in page
    assert "Oops" not in page
    assert "Deleted by the customer" in page
    assert re.search(r"said-quote[^>]*>Helo<", page)
    assert re.search(r"said-quote[^>]*>a deleted message<", page)


def test_the_list_does_not_show_what_was_deleted_or_said_otherwise_since(abe: Browser, demo: Demo) -> None:
    gone, other = wrote(demo, "Oops"), wrote(demo, "Helo", sender="15550002222")
    revoke = {"original_message_id": gone.provider_id}
    hear(demo, payloads.message(type="revoke", revoke=revoke, at=int(time.time())))
    execute(
        "INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type, text,"
        " content, author, occurred_at, target_provider_id) SELECT uuidv7(), workspace_id, channel_id, conversation_id,"
        " contact_id, 'in', 'received', 'edit', 'Hello', '{}', 'customer', now(), provider_id"
        " FROM messages WHERE id = :id",
        id=other.id,
    )
    page = abe.text("/conversations")
    assert ("Oops" in page, "[deleted]" in page, "Helo<" in page, "Hello<" in page) == (False, True, False, True)


def test_a_part_with_a_form_is_the_same_whenever_it_is_asked_for() -> None:
    part = '<input type="hidden" name="csrf_token" value="{}"><p>{}</p>'
    assert _digest(part.format("one", "x")) == _digest(part.format("another", "x")) != _digest(part.format("one", "y"))


def test_a_long_one_is_read_from_its_end_and_earlier_ones_are_asked_for(abe: Browser, demo: Demo) -> None:
    told = [wrote(demo, f"No. {n};", ago=1000 - n) for n in range(70)]
    page, seen = abe.text(place(told[0])), []
    assert page.index("No. 40;") < page.index("No. 69;")
    assert "No. 39;" not in page
    while True:
        seen += re.findall(r"No\. (\d+);", page)
        found = re.search(r'hx-get="/admin([^"]*/earlier[^"]*)"', page)
        if found is None:
            break
        page = abe.text(found[1].replace("&amp;", "&"))
    assert sorted(map(int, seen)) == list(range(70))


def test_what_is_new_comes_below_what_the_page_has(abe: Browser, demo: Demo) -> None:
    told = [wrote(demo, f"No. {n};", ago=1000 - n) for n in range(40)]
    path = polled(abe.text(place(told[0])))
    assert abe.get(path).status_code == 204
    wrote(demo, "Hello?", ago=0)
    page = abe.text(path)
    assert (page.count('<article class="said-by'), "No. 10;" in page, "No. 9;" in page) == (31, True, False)
    assert "Hello?" in page
    assert abe.get(polled(page)).status_code == 204
    assert abe.get(path.replace("since=", "since=x")).status_code == 422


def test_the_window_is_shown_with_the_time_left_and_once_closed_with_what_may_be_sent(abe: Browser, demo: Demo) -> None:
    told = wrote(demo, ago=3600)
    page = abe.text(place(told))
    assert re.search(r'data-open="yes"', page)
    assert re.search(r"22 h 5\d min left", page), page
    execute("UPDATE conversations SET last_inbound_at = now() - interval '25 hours'")
    page = abe.text(place(told))
    assert re.search(r'data-open="no"', page)
    assert "only a template can be sent" in page
    execute("UPDATE conversations SET last_inbound_at = NULL")
    assert "The customer never wrote: only a template" in abe.text(place(told))


def test_somebody_looks_after_it_takes_it_over_and_says_it_was_read(abe: Browser, demo: Demo, other: Demo) -> None:
    from crm_tasks.workspaces.roles import MemberRole

    told = wrote(demo)
    stranger = user("eve@example.test", (other.workspace_id, MemberRole.AGENT))
    assert abe.post(f"{place(told)}/assign", assigned_to=str(stranger)).status_code == 404
    mine = user("bea@example.test", (demo.workspace_id, MemberRole.AGENT))
    assert abe.post(f"{place(told)}/assign", assigned_to=str(mine)).status_code == 302
    assert "bea@example.test" in abe.text("/conversations")
    assert abe.post(f"{place(told)}/assign", assigned_to="").status_code == 302
    assert execute("SELECT assigned_to FROM contacts") == [(None,)]
    abe.post(f"{place(told)}/take-over")
    assert one(Conversation).human_by == "user:agent@example.test"
    assert "nothing automatic is sent" in abe.text(place(told))
    abe.post(f"{place(told)}/hand-back")
    assert one(Conversation).human_since is None
    assert abe.post(f"{place(told)}/read").status_code == 302
    assert execute("SELECT args->>'message_id' FROM jobs WHERE task = 'messages.mark_read'") == [(str(told.id),)]
    assert abe.post(f"{place(told)}/explode").status_code == 404


# --- answers -----------------------------------------------------------------------------------------------------


def test_a_reply_is_accepted_once_however_often_it_is_sent(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    key = hidden(abe.text(place(told)), "key")
    for _ in range(2):
        assert reply(abe, place(told), "It comes *today*", key=key).status_code == 302
    said = one(Message, OUT)
    assert (said.text, said.author, said.state) == ("It comes *today*", "agent", MessageState.QUEUED)
    assert "It comes <strong>today</strong>" in abe.text(place(told))
    # Another text with the same form, as after going back in the browser, is another message.
    assert reply(abe, place(told), "And the bill too", key=key).status_code == 302
    assert len(rows(Message, OUT)) == 2
    assert execute("SELECT detail->>'message_id' FROM audit_events WHERE action = 'admin.reply' LIMIT 1") == [
        (str(said.id),)
    ]


@pytest.mark.parametrize(
    ("body", "words"), [("", "Write 1 to 4096"), (" ", "Write 1 to 4096"), ("x" * 4097, "Write 1 to 4096")]
)
def test_a_reply_that_says_nothing_or_too_much_is_refused(abe: Browser, demo: Demo, body: str, words: str) -> None:
    told = wrote(demo)
    answer = reply(abe, place(told), body)
    assert answer.status_code == 422
    assert words in answer.get_data(as_text=True)
    assert rows(Message, OUT) == []


def test_outside_the_window_a_reply_is_refused_and_what_was_typed_stays(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    execute("UPDATE conversations SET last_inbound_at = now() - interval '25 hours'")
    answer = reply(abe, place(told), "Too late")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "The 24-hour window closed" in page
    assert ">Too late</textarea>" in page
    assert rows(Message, OUT) == []


@pytest.mark.parametrize("key", ["", "x" * 400, "a\nb"])
def test_a_form_without_a_right_key_is_refused(abe: Browser, demo: Demo, key: str) -> None:
    told = wrote(demo)
    form = {"csrf_token": abe.token(), "body": "Hello", "key": key}
    assert abe.client.post(f"/admin{place(told)}/reply", data=form).status_code == 422
    assert rows(Message, OUT) == []


def test_the_same_form_says_something_in_each_conversation_that_it_is_sent_in(abe: Browser, demo: Demo) -> None:
    ann, bob = wrote(demo), wrote(demo, sender="15550002222")
    key = hidden(abe.text(place(ann)), "key")
    for told in (ann, bob, bob):
        assert reply(abe, place(told), "Hello", key=key).status_code == 302
    assert {each.conversation_id for each in rows(Message, OUT)} == {ann.conversation_id, bob.conversation_id}
    assert len(rows(Message, OUT)) == 2


@pytest.mark.parametrize(
    ("data", "name", "kind", "caption"),
    [(PNG, "a.png", "image", "Look"), (PDF, "bill.pdf", "document", "The bill"), (OGG, "a.ogg", "audio", "")],
    ids=["picture", "document", "sound"],
)
def test_a_file_is_sent_with_its_words(
    abe: Browser, demo: Demo, data: bytes, name: str, kind: str, caption: str
) -> None:
    told = wrote(demo)
    key = hidden(abe.text(place(told)), "key")
    for _ in range(2):
        answer = reply(abe, place(told), caption, key=key, file=(data, name))
        assert answer.status_code == 302, answer.get_data(as_text=True)[-3000:]
    said, file = one(Message, OUT), one(Media)
    assert (said.type, said.content.get("caption", ""), said.media_id) == (kind, caption, file.id)
    page = abe.text(place(told))
    assert f"/admin/media/{file.id}" in page
    given = abe.get(f"/media/{file.id}")
    assert (given.status_code, given.data) == (200, data)
    assert "sandbox" in given.headers["Content-Security-Policy"]


def test_a_file_that_cannot_be_sent_is_refused_and_not_kept(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    for data, name, body in ((b"MZ" + bytes(99), "a.exe", ""), (b"", "a.png", ""), (OGG, "a.ogg", "Listen")):
        answer = reply(abe, place(told), body, file=(data, name))
        assert answer.status_code == 422, name
    assert "is sent without words" in answer.get_data(as_text=True)
    assert rows(Media) == []
    assert rows(Message, OUT) == []


def test_a_template_is_chosen_filled_in_and_sent_outside_the_window(abe: Browser, demo: Demo, other: Demo) -> None:
    told, template_id = wrote(demo), approved(demo, "parcel_news")
    theirs = approved(other, "of_others")
    execute("UPDATE conversations SET last_inbound_at = now() - interval '25 hours'")
    page = abe.text(place(told))
    assert ("parcel_news" in page, "of_others" in page) == (True, False)
    fields = abe.post(f"{place(told)}/fields", template=str(template_id)).get_data(as_text=True)
    assert 'name="body-1"' in fields
    filled = {"template": str(template_id), "body-1": "Ann"}
    assert "Hello Ann" in abe.post(f"{place(told)}/fields", **filled).get_data(as_text=True)
    key = hidden(page, "key")
    for _ in range(2):
        assert abe.post(f"{place(told)}/template", key=key, **filled).status_code == 302
    said = one(Message, OUT)
    assert (said.type, said.text, said.author) == ("template", "Hello Ann", "agent")
    for wrong in ({"template": str(template_id)}, {"template": str(theirs)}, {"template": "x"}, {}):
        refused = abe.post(f"{place(told)}/template", key=key, **wrong)
        assert refused.status_code == 422, wrong
    assert "Choose a template." in refused.get_data(as_text=True)
    assert len(rows(Message, OUT)) == 1


def test_by_a_channel_without_a_window_one_can_always_answer(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    execute("UPDATE channels SET kind = 'sms'")
    execute("UPDATE conversations SET last_inbound_at = NULL")
    page = abe.text(place(told))
    assert "Free text may be sent at any time." in page
    assert "Send a template" not in page


def test_nothing_is_said_to_who_was_erased(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    key = hidden(abe.text(place(told)), "key")
    execute("UPDATE contacts SET erased_at = now()")
    assert "Erased contact" in abe.text(place(told))
    assert reply(abe, place(told), "Hello", key=key).status_code == 422


# --- files and people --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"),
    [("wanted", "is being fetched"), ("failed", "could not be fetched"), ("expired", "has this image no more")],
)
def test_a_file_that_is_not_here_says_why(abe: Browser, demo: Demo, state: str, words: str) -> None:
    told = wrote(demo)
    media_id = ours(demo, PNG)
    execute("UPDATE messages SET type = 'image', media_id = :m", m=media_id)
    execute("UPDATE media SET state = :s, storage_key = NULL", s=state)
    assert words in abe.text(place(told))
    assert abe.get(f"/media/{media_id}").status_code == 409
    again = abe.post(f"/media/{media_id}/fetch", conversation_id=str(told.conversation_id))
    assert again.status_code == (302 if state == "failed" else 409)


def test_a_film_can_be_asked_for_in_parts(abe: Browser, demo: Demo) -> None:
    media_id = ours(demo, MP4, "video/mp4")
    part = abe.get(f"/media/{media_id}", headers={"Range": "bytes=4-11"})
    assert (part.status_code, part.data, part.headers["Cache-Control"]) == (206, b"ftypisom", "no-store")


def test_who_sees_nothing_of_customers_sees_no_conversation(app: Flask, demo: Demo) -> None:
    told = wrote(demo)
    who = browser(app, demo, "viewer")
    for path in ("/conversations", place(told), f"{place(told)}/part", f"/media/{ours(demo)}"):
        assert who.get(path).status_code == 403, path


def test_who_may_not_answer_reads(app: Flask, demo: Demo) -> None:
    told = wrote(demo)
    who = browser(app, demo, "marketer")
    page = who.text(place(told))
    assert "Where is my parcel?" in page
    assert 'id="reply"' not in page
    assert reply(who, place(told), "Hello", key="k").status_code == 403


def test_a_page_is_read_in_as_many_queries_however_much_there_is(abe: Browser, demo: Demo) -> None:
    told = wrote(demo)
    paths = (place(told), "/conversations")

    def rich(n: int) -> None:
        said = wrote(demo, f"No. {n}", ago=500 - n)
        assert reply(abe, place(told), "", file=(PNG, f"{n}.png")).status_code == 302
        about = {"from": "15550001111", "id": said.provider_id}
        hear(demo, payloads.text(f"About {n}", at=int(time.time()) - 400 + n, context=about))
        wrote(demo, "Hi", f"1555000{n:04d}")

    rich(1)
    for path in paths:
        abe.text(path)
    few = [len(asked(partial(abe.text, path))) for path in paths]
    for n in range(2, 12):
        rich(n)
    assert abe.text(place(told)).count("<img") >= 11
    assert [len(asked(partial(abe.text, path))) for path in paths] == few


@pytest.mark.parametrize(
    ("show", "index"),
    [
        ("waiting", "ix_conversations_waiting"),
        ("taken", "ix_conversations_human"),
        ("", "ix_conversations_recent"),
    ],
)
def test_a_page_of_the_list_costs_one_read_of_an_index(abe: Browser, demo: Demo, show: str, index: str) -> None:
    for n in range(41):
        wrote(demo, f"No. {n}", f"1555000{n:04d}", ago=1000 - n)
    execute("UPDATE conversations SET human_since = now()")
    page = abe.text(f"/conversations?show={show}")
    more = page[page.index("before=") :].partition('"')[0].partition("&")[0]
    (query, values), *rest = [
        each
        for each in asked(partial(abe.text, f"/conversations?show={show}&{more}"))
        if "LIMIT" in each[0] and "FROM conversations" in each[0]
    ]
    assert rest == []
    found = plan(query, values, "sort")
    assert index in found
    assert "Sort" not in found


def test_there_is_no_conversation_that_is_not_there(abe: Browser) -> None:
    nothing = f"/conversations/{uuid.uuid4()}"
    for path in ("", "/part", "/earlier"):
        assert abe.get(f"{nothing}{path}").status_code == 404
    for path in ("/reply", "/fields", "/template", "/take-over", "/assign", "/read"):
        assert abe.post(f"{nothing}{path}", body="x", key="k").status_code == 404, path
