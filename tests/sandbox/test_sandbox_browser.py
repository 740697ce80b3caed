"""The pages in a real browser: a person plays a customer, and nothing comes from anywhere else."""

import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playground import CUSTOMER, Receiver, Sandbox, wait_for

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, sandbox: Sandbox) -> Iterator[Any]:
    """A page that fails the test for any error on its console or any request elsewhere."""
    problems: list[str] = []
    opened = browser.new_page(viewport={"width": 1200, "height": 850})
    opened.set_default_timeout(8000)
    opened.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda asked: problems.append(asked.url) if not asked.url.startswith((sandbox.url, "blob:", "data:")) else None,
    )
    yield opened
    opened.close()
    assert not problems


def test_a_person_plays_a_customer(page: Any, sandbox: Sandbox, receiver: Receiver) -> None:
    page.goto(sandbox.url)
    page.get_by_role("button", name="Add a customer").last.click()
    page.get_by_label("Name", exact=True).fill("Ann Bo")
    page.get_by_label("Phone number", exact=True).fill(CUSTOMER)
    page.get_by_role("button", name="Add", exact=True).click()

    page.get_by_label("Message to the business").fill("Is *this* a test?")
    page.keyboard.press("Enter")
    page.locator(".item.mine b", has_text="this").wait_for()
    said = wait_for(receiver.messages, "the message")[0]
    assert said["text"]["body"] == "Is *this* a test?"
    sandbox.post(
        {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": said["id"],
            "typing_indicator": {"type": "text"},
        }
    )
    page.locator(".meta .read").wait_for()
    page.locator(".typing .dots").wait_for()

    question = sandbox.send(
        type="interactive",
        interactive={
            "type": "button",
            "body": {"text": "Well?"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "ok", "title": "Yes, it is"}}]},
        },
    )
    page.get_by_role("button", name="Yes, it is").click()
    reply = wait_for(lambda: receiver.messages()[1:], "the reply")[0]
    assert reply["interactive"] == {"type": "button_reply", "button_reply": {"id": "ok", "title": "Yes, it is"}}
    assert reply["context"] == {"from": "15550783881", "id": question}
    wait_for(lambda: "read" in receiver.names(question), "the read status of what is on the screen")

    page.locator(f'.item[data-id="{said["id"]}"]').focus()
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="React with 👍").click()
    page.locator(".chip", has_text="👍").wait_for()
    assert wait_for(lambda: receiver.messages()[2:], "the reaction")[0]["reaction"]["message_id"] == said["id"]

    page.get_by_label("Message to the business").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_label("Message to the business").fill("It is a test.")
    page.keyboard.press("Enter")
    page.locator(".item.mine", has_text="edited").wait_for()
    assert wait_for(lambda: receiver.messages()[3:], "the edit")[0]["type"] == "edit"


def test_a_list_opens_and_a_file_is_sent(page: Any, sandbox: Sandbox, receiver: Receiver, tmp_path: Path) -> None:
    key = sandbox.control("POST", "chat/customers", {"name": "Ann", "phone": CUSTOMER}, status=201)["key"]
    rows = [{"id": "r1", "title": "First row"}, {"id": "r2", "title": "Second row", "description": "cheaper"}]
    action = {"button": "Open", "sections": [{"title": "Rows", "rows": rows}]}
    sandbox.send(type="interactive", interactive={"type": "list", "body": {"text": "Pick"}, "action": action})
    page.goto(f"{sandbox.url}/#{key}")
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_role("button", name="Second row").click()
    chosen = wait_for(receiver.messages, "the choice")[0]["interactive"]["list_reply"]
    assert chosen == {"id": "r2", "title": "Second row", "description": "cheaper"}
    file = tmp_path / "note.txt"
    file.write_text("hello")
    page.get_by_role("button", name="Attach").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("menuitem", name="Document").click()
    chooser.value.set_files(file)
    page.get_by_role("button", name="Send").click()
    page.locator(".card", has_text="note.txt").wait_for()
    assert wait_for(lambda: receiver.messages()[1:], "the file")[0]["document"]["filename"] == "note.txt"


def test_the_log_shows_requests_and_sets_faults(page: Any, sandbox: Sandbox) -> None:
    sandbox.send(body="look at me")
    page.goto(f"{sandbox.url}/log")
    page.locator("summary", has_text="look at me").click()
    page.locator("pre", has_text="look at me").wait_for()
    page.get_by_role("button", name="Marketing cap").click()
    wait_for(lambda: sandbox.control("GET", "faults")["data"], "the fault")
    assert sandbox.control("GET", "faults")["data"][0]["action"] == {"status_code": 131049}
    page.get_by_role("button", name="Clear all").click()
    wait_for(lambda: not sandbox.control("GET", "faults")["data"], "no fault")


def test_a_mail_is_read_and_bounced(browser: Any, sandbox: Sandbox, receiver: Receiver) -> None:
    html = "<h1>Hello Ann</h1><script>document.body.textContent = 'ran'</script><img src='http://127.0.0.1:9/x.png'>"
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port) as client:
        head = "From: shop@example.org\r\nTo: ann@example.org\r\nSubject: <b>Your order</b>\r\n"
        client.sendmail("shop@example.org", "ann@example.org", f"{head}Content-Type: text/html\r\n\r\n{html}\r\n")
    opened = browser.new_page(color_scheme="dark")
    opened.set_default_timeout(8000)
    asked: list[str] = []
    opened.on("requestfinished", lambda request: asked.append(request.url))
    opened.goto(f"{sandbox.url}/mail")
    opened.get_by_role("button", name="<b>Your order</b>").click()
    opened.frame_locator("iframe").get_by_role("heading", name="Hello Ann").wait_for()
    assert opened.locator("iframe").get_attribute("sandbox") == ""
    assert opened.get_by_role("heading", name="<b>Your order</b>").is_visible()
    opened.get_by_role("button", name="Headers").click()
    opened.locator("pre", has_text="To: ann@example.org").wait_for()
    opened.get_by_role("button", name="Bounce it").click()
    opened.get_by_label("Post it to").fill(receiver.url)
    opened.get_by_role("button", name="Make it").click()
    wait_for(lambda: receiver.requests, "the bounce")
    assert b"Final-Recipient: rfc822; ann@example.org" in receiver.requests[0][1]
    assert all(url.startswith(sandbox.url) for url in asked)
    opened.close()


def test_webhooks_show_up_by_themselves_and_answers_are_set(page: Any, sandbox: Sandbox) -> None:
    page.goto(f"{sandbox.url}/hooks")
    page.get_by_text("Nothing received yet").wait_for()
    sandbox.session.post(f"{sandbox.url}/hooks/orders", json={"type": "message.received", "data": {"id": "m_1"}})
    page.locator("summary", has_text="message.received").click()
    page.locator("pre .s", has_text="m_1").wait_for()
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_label("First answer these").fill("503")
    page.get_by_role("button", name="Save").click()
    wait_for(lambda: sandbox.control("GET", "hooks")["answers"], "the answer")
    assert sandbox.session.post(f"{sandbox.url}/hooks/orders").status_code == 503
    page.locator(".status.bad", has_text="503").wait_for()


def test_a_person_sends_a_text(page: Any, sandbox: Sandbox, receiver: Receiver) -> None:
    key = sandbox.control("POST", "chat/customers", {"name": "Ann", "phone": CUSTOMER}, status=201)["key"]
    page.goto(f"{sandbox.url}/#{key}")
    page.get_by_role("button", name="More about this chat").click()
    page.get_by_role("menuitem", name="Send an SMS").click()
    page.get_by_label("Text", exact=True).fill("By SMS")
    page.get_by_label("Address of the CRM").fill(receiver.url)
    page.get_by_role("button", name="Send", exact=True).last.click()
    body = wait_for(receiver.bodies, "the text")[0]
    assert (body["type"], body["from"], body["message"]) == ("inbound", CUSTOMER, "By SMS")
