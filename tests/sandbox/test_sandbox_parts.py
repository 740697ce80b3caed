"""Parts that are easier to prove alone: escapes, signatures, the endless set, the journal's rewriting, the bounds."""

import base64
from pathlib import Path

import orjson
import pytest

from sandbox import chats as chats_module
from sandbox.chats import Chats, Message
from sandbox.dedupe import Seen
from sandbox.ids import bsuid, country, wamid
from sandbox.journal import Journal
from sandbox.log import KEPT, Log
from sandbox.mail.mailbox import facts
from sandbox.numbers import Number
from sandbox.people import People
from sandbox.sender import Sender
from sandbox.settings import Settings
from sandbox.speech import prefer, speak
from sandbox.updates import escaped, signature
from sandbox.world import World

BODY = b'{"object":"whatsapp_business_account","entry":[],"note":"caf\\u00e9"}'


def test_the_signature_is_the_published_one() -> None:
    assert signature("dummy_app_secret", BODY) == (
        "sha256=61805eaa873559e8af91b556aeecf3982a73b568bdd3a282601d43c41ecc1897"
    )
    raw = '{"object":"whatsapp_business_account","entry":[],"note":"café"}'.encode()
    assert escaped(raw) == BODY


@pytest.mark.parametrize("text", ["plain", "é", "日本", "👍🏽 ok", 'quote " and \\ back', "a\u2028b"])
def test_escaped_json_means_the_same(text: str) -> None:
    found = escaped(orjson.dumps({"text": text}))
    assert found.isascii()
    assert orjson.loads(found) == {"text": text}
    assert found == found.replace(b"\\U", b"\\u")


@pytest.mark.parametrize("length", range(7, 40))
def test_message_ids_always_have_padding(length: int) -> None:
    for by_customer in (False, True):
        found = wamid("1" * length, by_customer=by_customer)
        assert found.endswith("=")
        assert base64.b64decode(found[6:])[3 : 3 + length] == b"1" * length


def test_user_ids_begin_with_the_country() -> None:
    assert [country(phone) for phone in ("4915112345678", "15550001111", "351911234567", None)] == [
        "DE",
        "US",
        "PT",
        "US",
    ]
    assert bsuid("5511987654321").startswith("BR.")


def test_the_endless_set_remembers_and_can_be_dumped() -> None:
    seen = Seen()
    assert all(seen.add(f"out_{n}") for n in range(5000))
    copy = Seen()
    copy.restore(seen.dump())
    assert not any(copy.add(f"out_{n}") for n in range(5000))
    assert copy.add("out_5000")


def test_a_journal_can_be_rewritten_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    assert journal.replay(lambda _: None) == 0
    journal.append({"k": "a", "body": b'{"raw":1}'})
    journal.rewrite([{"k": "b"}])
    journal.append({"k": "c"})
    assert [orjson.loads(line)["k"] for line in path.read_bytes().splitlines()] == ["b", "c"]
    assert path.stat().st_mode & 0o077 == 0


def entry(seq: int) -> dict:
    return {
        "seq": seq,
        "t": float(seq),
        "kind": "other",
        "path": "/",
        "method": "GET",
        "status": 200,
        "body": b"null",
        "answer": b"null",
    }


def test_the_log_keeps_the_newest_entries() -> None:
    log = Log()
    for seq in range(1, KEPT + 101):
        log.add(entry(seq))
    kept = [each.seq for each in log.since(0)]
    assert (len(kept), kept[0], kept[-1]) == (KEPT, 101, KEPT + 100)
    assert log.before(500.0) == 499
    assert [each.seq for each in log.since(KEPT + 98)] == [KEPT + 99, KEPT + 100]


def test_chats_are_bounded_but_played_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats_module, "CHATS", 10)
    monkeypatch.setattr(chats_module, "PER_CHAT", 5)
    people = People()
    chats = Chats(people)
    played = people.put({"customer": {"key": "p", "phone": "1", "played": True}})
    chats.open("n", played)
    for n in range(100, 130):
        chat = chats.open("n", people.meet(str(n)))
        for m in range(8):
            chats.add(chat, Message(id=f"{n}/{m}", mine=True, type="text", t=0.0, body=b"{}", state="sent"))
    assert len(list(chats.recent("n"))) == 10
    assert chats.get("n", played) is not None
    assert len(list(people)) == 10
    newest = chats.holding("129/7")
    assert newest is not None and list(newest.messages) == [f"129/{m}" for m in range(3, 8)]
    assert chats.holding("129/0") is None


def world(home: Path) -> World:
    settings = Settings(
        host="127.0.0.1",
        port=1,
        smtp_port=1,
        threads=32,
        home=home,
        journal=True,
        verify_token="v",
        number=Number("100", "200", "+1 555 000 0100", "Shop", "token", "secret", "http://127.0.0.1:9/"),
    )
    return World(settings)


def test_a_rewritten_journal_brings_the_same_world_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "start", lambda _: None)
    first = world(tmp_path)
    said = speak(first, {"from": "+15550001111", "user_id": "US.1", "type": "text", "text": {"body": "Hi"}})
    customer = first.people.find("15550001111")
    assert customer is not None
    prefer(first, first.numbers.demo, customer, stop=True)
    plan = [[first.outbox.uid(), 2.0, 1.0, "sent", None]]
    sent = {"k": "sent", "seq": 1, "t": 1.0, "kind": "message", "path": "/", "method": "POST", "to": "15550001111"}
    sent |= {
        "biz": "o1",
        "body": b'{"text":{"body":"x"}}',
        "status": 200,
        "answer": b"{}",
        "num": "100",
        "id": "wamid.1=",
    }
    sent |= {"type": "text", "dialled": "15550001111", "phone": "15550001111", "user": "US.1", "group": None}
    sent |= {
        "contact": orjson.dumps(customer.contact()),
        "pricing": ["regular", "utility"],
        "shown": True,
        "plan": plan,
    }
    first.commit(sent)
    first.commit({"k": "template_gone", "waba": "200", "id": first.templates.of("200")[0].id})
    first.commit({"k": "done", "u": [3]})
    first.compact()
    first.journal.close()

    second = world(tmp_path)
    assert second.stats.public() == first.stats.public()
    assert [each.public()["message_id"] for each in second.log.since(0)] == ["wamid.1="]
    assert second.outbox.health() == first.outbox.health()
    assert [each.name for each in second.templates.of("200")] == [each.name for each in first.templates.of("200")]
    chat = second.chats.holding(said.id)
    assert chat is not None and chat.stopped and list(chat.messages) == [said.id, "wamid.1="]
    assert list(chat.unviewed) == ["wamid.1="]
    assert [event["k"] for event in second.outbox.snapshot()] == [event["k"] for event in first.outbox.snapshot()]
    second.journal.close()


def test_a_rewritten_journal_brings_gateways_mails_and_receivers_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sender, "start", lambda _: None)
    first = world(tmp_path)
    route = {"kind": "sms", "to": "+15550001111", "from": "+1", "url": "http://127.0.0.1:9/"}
    call = {"uid": first.outbox.uid(), "due": 2.0, "kind": "sms", "key": "SM1", "url": route["url"], "fields": {"a": 1}}
    entry = {"t": 1.0, "path": "/", "method": "POST", "to": None, "biz": "k1", "status": 200, "answer": b"{}"}
    entry |= {"body": b"null"}
    mail = facts("ML1", 1.0, "smtp", "shop@example.org", ["ann@example.org"], b"Subject: x\r\n\r\n\xff")
    took = {"k": "took", "seq": 1, "kind": "sms", "id": "SM1", "key": "sms\nk1", "route": route, "calls": [call]}
    first.commit(entry | took | {"mail": mail})
    first.commit({"k": "opted", "phone": "15550001111", "out": True})
    first.commit({"k": "gateways", "gateways": {"sms": {"token": "t1"}}})
    first.commit({"k": "hook_rule", "name": "orders", "answer": {"statuses": [500, 503], "secret": "whsec_MDEy"}})
    came = {"k": "hooked", "seq": 2, "kind": "hook", "name": "orders", "headers": [["A", "b"]], "text": "x"}
    first.commit(entry | came | {"base64": False, "verified": "ok"})
    first.compact()
    first.journal.close()

    second = world(tmp_path)
    assert second.accounts == first.accounts and second.accounts.sms.token == "t1"
    assert second.accounts.sms.secret == "secret"
    assert "sms\nk1" in second.register and second.register.opted_out == {"15550001111"}
    assert second.register.get("SM1") == route
    kept = second.mailbox.get("ML1")
    assert kept is not None and (kept.raw, second.mailbox.total) == (b"Subject: x\r\n\r\n\xff", 1)
    assert second.hooks.answer("orders")[1] == 503 and second.hooks.counts() == {"orders": 1}
    assert [each.public() for each in second.hooks.since(0, None, 9)] == [
        each.public() for each in first.hooks.since(0, None, 9)
    ]
    assert list(second.outbox.snapshot()) == list(first.outbox.snapshot()) == [{"k": "callback", **call}]
    assert second.stats.public() == first.stats.public()
    second.journal.close()


def test_an_event_that_cannot_be_applied_does_not_prevent_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sender, "start", lambda _: None)
    journal = tmp_path / "sandbox" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_text('{"k":"said"}\n{"k":"no such kind"}\n{"k":"limits","limits":{"batch":7}}\n[1]\n')
    found = world(tmp_path)
    assert found.limits.batch == 7
    found.journal.close()
