"""What survives `kill -9`: everything that was answered."""

import subprocess
import sys
import time
from pathlib import Path

from playground import CUSTOMER, NUMBER, ROOT, TOKEN, WABA, Receiver, Sandbox, free_port, wait_for

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100


def test_a_killed_sandbox_forgets_nothing(own: Sandbox, receiver: Receiver) -> None:
    number = {"phone_number_id": "900", "display_phone_number": "+1 555 900 0900", "access_token": "t9"}
    own.control("PUT", "numbers", [number | {"webhook_url": receiver.url}])
    own.control("PUT", "limits", {"messages_per_second": 500})
    own.control("PUT", "faults", [{"match": {"recipient": "^49"}, "action": {"status": 500}, "times": 3}])
    own.post({"messaging_product": "whatsapp", "to": "+49 151 1234567", "text": {"body": "x"}})
    said = own.inbound("Do you remember me?")
    sent = own.send(body="I do", biz_opaque_callback_data="o1")
    form = {"messaging_product": "whatsapp", "type": "image/png"}
    media = own.graph("POST", f"{NUMBER}/media", data=form, files={"file": ("a.png", PNG, "image/png")}).json()["id"]
    template = {
        "name": "mine",
        "language": "en_US",
        "category": "UTILITY",
        "components": [{"type": "BODY", "text": "x"}],
    }
    own.graph("POST", f"{WABA}/message_templates", json=template)
    own.graph("DELETE", f"{WABA}/message_templates", params={"name": "hello_world"})
    wait_for(lambda: len(receiver.names(sent)) == 3, "the statuses")
    own.quiet()
    log, stats, chat = own.log(), own.stats(), own.control("GET", "chat/state?open=15550001111")["chat"]["messages"]
    seen = len(receiver.requests)

    own.kill()
    own.start()

    assert own.log() == log
    assert own.stats() == stats
    assert own.control("GET", "chat/state?open=15550001111")["chat"]["messages"] == chat
    assert {message["id"] for message in chat} == {said, sent}
    assert own.control("GET", "limits")["messages_per_second"] == 500
    assert own.control("GET", "faults")["data"][0]["hits"] == 1
    assert own.control("GET", "numbers")["data"][1]["phone_number_id"] == "900"
    link = own.graph("GET", media).json()["url"]
    assert own.session.get(link, headers={"Authorization": f"Bearer {TOKEN}"}).content == PNG
    names = {t["name"] for t in own.graph("GET", f"{WABA}/message_templates", params={"limit": 100}).json()["data"]}
    assert "mine" in names and "hello_world" not in names
    own.send(biz_opaque_callback_data="o1")
    assert own.stats()["duplicates"] == stats["duplicates"] + 1
    assert [entry["seq"] for entry in own.log()] == list(range(1, len(log) + 5))
    own.quiet()
    assert all(said not in str(body) for body in receiver.bodies()[seen:])


def test_undelivered_webhooks_go_out_after_the_restart(own: Sandbox, receiver: Receiver) -> None:
    receiver.status = 503
    own.control("PUT", "limits", {"statuses": {"sent_ms": 0, "delivered_ms": 0, "read_ms": 0}})
    sent = own.send()
    own.control("POST", "inbound", {"from": CUSTOMER, "type": "text", "text": {"body": "hello?"}})
    wait_for(lambda: own.stats()["webhooks"]["failed_attempts"] >= 4, "the refusals")
    own.kill()
    receiver.status = 200
    own.start()
    own.quiet()
    assert sorted(set(receiver.names(sent))) == ["delivered", "read", "sent"]
    assert receiver.messages()[0]["text"]["body"] == "hello?"


def test_an_unfinished_last_line_is_dropped(own: Sandbox) -> None:
    own.send(body="kept")
    own.quiet()
    own.kill()
    journal = own.home / "sandbox" / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"k":"sent","seq":2,"t":17')
    own.start()
    own.send(body="and on")
    own.kill()
    own.start()
    assert [entry["body"]["text"]["body"] for entry in own.log()] == ["kept", "and on"]


def test_clearing_empties_the_journal_but_keeps_numbers(own: Sandbox) -> None:
    own.control("PUT", "numbers", [{"phone_number_id": "901", "display_phone_number": "+1 555 900 0901"}])
    own.send()
    own.control("DELETE", "state")
    own.kill()
    own.start()
    assert own.log() == []
    assert own.stats()["accepted"] == 0
    assert [number["phone_number_id"] for number in own.control("GET", "numbers")["data"]] == [NUMBER, "901"]


def test_it_stops_cleanly_and_at_once(own: Sandbox) -> None:
    own.send()
    started = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - started < 5


def test_without_a_journal_nothing_is_kept(tmp_path: Path, receiver: Receiver) -> None:
    sandbox = Sandbox(tmp_path, receiver.url, SANDBOX_JOURNAL="off")
    sandbox.send()
    assert sandbox.control("GET", "health")["journal"] is None
    sandbox.kill()
    sandbox.start()
    assert sandbox.log() == []
    sandbox.stop()
    assert not (tmp_path / "sandbox" / "journal.jsonl").exists()


def test_two_sandboxes_share_neither_port_nor_journal(own: Sandbox, tmp_path: Path) -> None:
    port = {**own.env, "CRM_HOME": str(tmp_path / "other")}
    smtp = {**port, "SANDBOX_PORT": str(free_port())}
    home = {**own.env, "SANDBOX_PORT": str(free_port()), "SANDBOX_SMTP_PORT": str(free_port())}
    outputs = [
        subprocess.Popen([sys.executable, "-m", "sandbox"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        for env in (port, smtp, home)
    ]
    errors = [process.communicate(timeout=25)[1] for process in outputs]
    assert all(process.returncode for process in outputs)
    assert "cannot listen on" in errors[0]
    assert f"cannot listen on 127.0.0.1:{own.smtp_port}" in errors[1]
    assert "Another sandbox keeps its journal" in errors[2]


def test_a_bad_environment_is_named(tmp_path: Path, receiver: Receiver) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox"],
        cwd=ROOT,
        env={"SANDBOX_PORT": "http", "PATH": "/usr/bin", "CRM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode != 0
    assert "SANDBOX_PORT" in done.stderr
