"""Templates: the ones an account starts with, the checks of a send, and their management."""

from typing import Any

import pytest
from playground import CUSTOMER, NUMBER, WABA, Receiver, Sandbox, wait_for


def body(*texts: str) -> dict:
    return {"type": "BODY", "parameters": [{"type": "text", "text": text} for text in texts]}


def send(sandbox: Sandbox, name: str, *components: dict, language: str = "en_US", **more: Any) -> Any:
    template = {"name": name, "language": {"code": language}, "components": list(components)}
    message = {"messaging_product": "whatsapp", "to": CUSTOMER, "type": "template", "template": template, **more}
    return sandbox.post(message)


IMAGE = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://cdn.example.test/a.jpg"}}]}


def url_button(index: object, text: str = "A-1") -> dict:
    return {"type": "button", "sub_type": "url", "index": index, "parameters": [{"type": "text", "text": text}]}


NAMED = {
    "type": "body",
    "parameters": [{"type": "text", "parameter_name": name, "text": "x"} for name in ("hour", "first_name", "day")],
}


@pytest.mark.parametrize(
    ("name", "components", "language"),
    [
        ("hello_world", [], "en_US"),
        ("order_update", [body("Ann", "A-1")], "en_US"),
        ("order_update", [body("Ana", "A-1")], "pt_BR"),
        ("order_photo", [IMAGE, body("A-1", "Ann"), url_button("0")], "en_US"),
        ("order_photo", [IMAGE, body("A-1", "Ann"), url_button(0)], "en_US"),
        ("appointment_reminder", [NAMED], "es"),
        ("verify_code", [body("123456"), url_button(0, "123456")], "en_US"),
        (
            "order_update",
            [
                {
                    "type": "body",
                    "parameters": [
                        {"type": "currency", "currency": {"fallback_value": "$5", "code": "USD", "amount_1000": 5000}},
                        {"type": "date_time", "date_time": {"fallback_value": "1 May 2027"}},
                    ],
                },
                {
                    "type": "button",
                    "sub_type": "quick_reply",
                    "index": "1",
                    "parameters": [{"type": "payload", "payload": "STOP"}],
                },
            ],
            "en_US",
        ),
    ],
)
def test_a_fitting_template_is_accepted(sandbox: Sandbox, name: str, components: list, language: str) -> None:
    answer = send(sandbox, name, *components, language=language)
    assert answer.status_code == 200, answer.text
    assert answer.json()["messages"][0]["message_status"] == "accepted"


@pytest.mark.parametrize(
    ("name", "components", "language", "code"),
    [
        ("no_such", [], "en_US", 132001),
        ("hello_world", [], "fr", 132001),
        ("feedback_request", [body("Ann")], "en_US", 132001),
        ("guaranteed_win", [], "en_US", 132001),
        ("weekly_offers", [body("tea")], "en_US", 132015),
        ("daily_offers", [body("tea")], "en_US", 132016),
        ("order_update", [], "en_US", 132000),
        ("order_update", [body("Ann")], "en_US", 132000),
        ("order_update", [body("Ann", "A-1", "B-2")], "en_US", 132000),
        ("hello_world", [body("Ann")], "en_US", 132000),
        ("order_update", [body("Ann", "two\nlines")], "en_US", 132012),
        ("order_update", [body("Ann", "")], "en_US", 131008),
        ("order_update", [body("Ann", "x" * 1024)], "en_US", 132005),
        ("order_photo", [body("A-1", "Ann"), url_button(0)], "en_US", 132012),
        ("order_photo", [IMAGE, body("A-1", "Ann")], "en_US", 131008),
        ("order_photo", [IMAGE, body("A-1", "Ann"), url_button(0), url_button(7)], "en_US", 131009),
        ("order_photo", [IMAGE, body("A-1", "Ann"), url_button("x")], "en_US", 131009),
        ("appointment_reminder", [body("a", "b", "c")], "es", 132000),
        ("order_update", [{"type": "hat", "parameters": []}], "en_US", 100),
    ],
)
def test_a_template_that_does_not_fit_gets_metas_error(
    sandbox: Sandbox, name: str, components: list, language: str, code: int
) -> None:
    answer = send(sandbox, name, *components, language=language)
    assert answer.json()["error"]["code"] == code, answer.text


def test_an_authentication_template_needs_a_phone_number(sandbox: Sandbox) -> None:
    answer = send(sandbox, "verify_code", body("1"), url_button(0), to=None, recipient="US.123")
    assert answer.json()["error"]["code"] == 131062


def test_templates_are_listed_in_pages_with_a_summary(sandbox: Sandbox) -> None:
    first = sandbox.graph("GET", f"{WABA}/message_templates", params={"limit": 5, "summary": "total_count"}).json()
    total = first["summary"]["total_count"]
    seen = [template["id"] for template in first["data"]]
    page = first
    while "next" in page["paging"]:
        page = sandbox.graph(
            "GET", f"{WABA}/message_templates", params={"limit": 5, "after": page["paging"]["cursors"]["after"]}
        ).json()
        seen += [template["id"] for template in page["data"]]
    assert len(set(seen)) == len(seen) == total
    states = {template["status"] for template in listed(sandbox)}
    assert states == {"APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED"}


def listed(sandbox: Sandbox, **query: object) -> list[dict]:
    return sandbox.graph("GET", f"{WABA}/message_templates", params={"limit": 100, **query}).json()["data"]


def test_templates_are_filtered_and_cut_to_the_wanted_fields(sandbox: Sandbox) -> None:
    assert {t["language"] for t in listed(sandbox, name="order_update")} == {"en_US", "pt_BR"}
    assert [t["name"] for t in listed(sandbox, status="PAUSED")] == ["weekly_offers"]
    assert all(set(t) == {"id", "name"} for t in listed(sandbox, fields="name"))


NEW = {
    "name": "welcome_back",
    "language": "en_US",
    "category": "UTILITY",
    "components": [
        {"type": "BODY", "text": "Hello {{1}}, good to see you.", "example": {"body_text": [["Ann"]]}},
        {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Hi"}]},
    ],
}


def test_a_new_template_is_reviewed_and_the_web_app_told(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"template_review_ms": 150})
    made = sandbox.graph("POST", f"{WABA}/message_templates", json=NEW).json()
    assert made["status"] == "PENDING"
    assert send(sandbox, "welcome_back", body("Ann")).json()["error"]["code"] == 132001
    told = wait_for(lambda: receiver.changes("message_template_status_update"), "the review")[0]
    assert told["event"] == "APPROVED"
    assert told["message_template_id"] == int(made["id"])
    assert send(sandbox, "welcome_back", body("Ann")).status_code == 200
    again = sandbox.graph("POST", f"{WABA}/message_templates", json=NEW).json()["error"]
    assert again["error_subcode"] == 2388024
    assert sandbox.graph("DELETE", f"{WABA}/message_templates", params={"name": "welcome_back"}).json()["success"]
    assert send(sandbox, "welcome_back", body("Ann")).json()["error"]["code"] == 132001


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Welcome Back"},
        {"language": "english"},
        {"category": "FUN"},
        {"components": []},
        {"components": [{"type": "BODY", "text": "{{1}} hello", "example": {"body_text": [["Ann"]]}}]},
        {"components": [{"type": "BODY", "text": "Hello {{1}}!"}]},
        {"components": [{"type": "BODY", "text": "x" * 1025}]},
        {"components": [*NEW["components"], {"type": "FOOTER", "text": "x" * 61}]},
    ],
)
def test_a_bad_template_cannot_be_created(sandbox: Sandbox, change: dict) -> None:
    answer = sandbox.graph("POST", f"{WABA}/message_templates", json=NEW | change)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)


def test_a_script_can_put_a_template_into_a_state(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PUT", "templates", {"name": "order_update", "status": "PAUSED"})
    assert send(sandbox, "order_update", body("Ann", "A-1")).json()["error"]["code"] == 132015
    told = wait_for(lambda: receiver.changes("message_template_status_update"), "the webhook")[0]
    assert (told["event"], told["message_template_name"]) == ("PAUSED", "order_update")
    paused = next(t for t in listed(sandbox, name="order_update") if t["language"] == "en_US")
    assert sandbox.graph("POST", f"{paused['id']}/unpause").json() == {"success": True}
    assert send(sandbox, "order_update", body("Ann", "A-1")).status_code == 200


def test_a_template_can_be_read_and_edited(sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "limits", {"template_review_ms": 0})
    found = listed(sandbox, name="hello_world")[0]
    assert sandbox.graph("GET", found["id"], params={"fields": "status"}).json() == {
        "id": found["id"],
        "status": "APPROVED",
    }
    edited = sandbox.graph("POST", found["id"], json={"components": [{"type": "BODY", "text": "Anything new"}]})
    assert edited.json()["success"]
    assert sandbox.graph("GET", found["id"]).json()["components"][0]["text"] == "Anything new"


def test_marketing_messages_take_marketing_templates_only(sandbox: Sandbox) -> None:
    template = {"name": "spring_sale", "language": {"code": "ar"}, "components": [body("20%")]}
    message = {"messaging_product": "whatsapp", "to": CUSTOMER, "type": "template", "template": template}
    path = f"{NUMBER}/marketing_messages"
    assert sandbox.graph("POST", path, json={**message, "message_activity_sharing": True}).status_code == 200
    message["template"] = {"name": "hello_world", "language": {"code": "en_US"}}
    assert sandbox.graph("POST", path, json=message).json()["error"]["code"] == 131055
