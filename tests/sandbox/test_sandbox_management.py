"""Numbers, profiles, blocks and subscriptions of the Graph API."""

import pytest
from playground import CUSTOMER, NUMBER, WABA, Receiver, Sandbox

OTHER = {
    "phone_number_id": "200",
    "waba_id": "300",
    "display_phone_number": "+49 30 1234567",
    "verified_name": "Second Shop",
    "access_token": "second-token",
    "app_secret": "second-secret",
}


def test_a_number_tells_of_itself(sandbox: Sandbox) -> None:
    whole = sandbox.graph("GET", NUMBER).json()
    assert whole["display_phone_number"] == "+1 555 078 3881"
    fields = sandbox.graph("GET", NUMBER, params={"fields": "verified_name,quality_rating"}).json()
    assert fields == {"verified_name": "Sandbox Shop", "quality_rating": "GREEN", "id": NUMBER}
    listed = sandbox.graph("GET", f"{WABA}/phone_numbers").json()["data"]
    assert NUMBER in [number["id"] for number in listed]
    assert sandbox.graph("GET", WABA).json()["id"] == WABA


def test_the_profile_can_be_written_and_read(sandbox: Sandbox) -> None:
    path = f"{NUMBER}/whatsapp_business_profile"
    profile = {"messaging_product": "whatsapp", "about": "Bags", "email": "shop@example.test", "websites": None}
    assert sandbox.graph("POST", path, json=profile).json() == {"success": True}
    read = sandbox.graph("GET", path, params={"fields": "about,email"}).json()["data"][0]
    assert read == {"messaging_product": "whatsapp", "about": "Bags", "email": "shop@example.test"}
    assert sandbox.graph("POST", path, json={"about": "x"}).status_code == 400
    assert sandbox.graph("POST", path, json={"messaging_product": "whatsapp", "hat": "x"}).status_code == 400


def test_a_blocked_user_is_neither_written_to_nor_heard(sandbox: Sandbox, receiver: Receiver) -> None:
    path = f"{NUMBER}/block_users"
    block = {"messaging_product": "whatsapp", "block_users": [{"user": CUSTOMER}, {"user_id": "US.77"}, {"user": "x"}]}
    answer = sandbox.graph("POST", path, json=block).json()["block_users"]
    assert answer["added_users"] == [
        {"input": CUSTOMER, "wa_id": "15550001111"},
        {"input": "US.77", "user_id": "US.77"},
    ]
    assert answer["failed_users"][0]["input"] == "x"
    assert len(sandbox.graph("GET", path).json()["data"]) == 2
    refused = sandbox.post({"messaging_product": "whatsapp", "to": CUSTOMER, "text": {"body": "x"}})
    assert refused.json()["error"]["code"] == 130403
    sandbox.control("POST", "inbound", {"from": CUSTOMER, "type": "text", "text": {"body": "hear me"}})
    removed = sandbox.graph("DELETE", path, json=block).json()["block_users"]["removed_users"]
    assert len(removed) == 2
    sandbox.inbound("again")
    assert [message["text"]["body"] for message in receiver.messages()] == ["again"]
    sandbox.send()


def test_a_webhook_address_of_its_own_must_prove_itself(sandbox: Sandbox, receiver: Receiver) -> None:
    path = f"{WABA}/subscribed_apps"
    wish = {"override_callback_uri": receiver.url, "verify_token": "wrong"}
    assert sandbox.graph("POST", path, json=wish).json()["error"]["code"] == 2201
    wish["verify_token"] = "sandbox-verify-token"
    assert sandbox.graph("POST", path, json=wish).json() == {"success": True}
    assert sandbox.graph("GET", path).json()["data"][0]["override_callback_uri"] == receiver.url
    assert sandbox.graph("DELETE", path).json() == {"success": True}
    assert "override_callback_uri" not in sandbox.graph("GET", path).json()["data"][0]
    own = {"webhook_configuration": wish}
    assert sandbox.graph("POST", f"{NUMBER}/", json=own).json() == {"success": True}
    assert sandbox.graph("GET", NUMBER).json()["webhook_configuration"]["phone_number"] == receiver.url
    sandbox.graph("POST", f"{NUMBER}/", json={"webhook_configuration": {"override_callback_uri": ""}})


def test_numbers_of_other_accounts_are_out_of_a_tokens_reach(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PUT", "numbers", [OTHER | {"webhook_url": receiver.url}])
    text = {"messaging_product": "whatsapp", "to": CUSTOMER, "text": {"body": "x"}}
    assert sandbox.post(text, number="200").json()["error"]["error_subcode"] == 33
    assert sandbox.post(text, number="200", token="second-token").status_code == 200
    assert sandbox.graph("GET", "300/message_templates").status_code == 400
    names = sandbox.graph("GET", "300/message_templates", token="second-token").json()["data"]
    assert any(template["name"] == "hello_world" for template in names)
    numbers = sandbox.control("GET", "numbers")["data"]
    assert numbers[0]["phone_number_id"] == NUMBER
    assert "second-token" not in str(numbers)


@pytest.mark.parametrize(
    "change", [{"phone_number_id": "x"}, {"display_phone_number": "12"}, {"webhook_url": "ftp://x"}, {"hat": 1}]
)
def test_a_bad_number_is_refused(sandbox: Sandbox, change: dict) -> None:
    sandbox.control("PUT", "numbers", [OTHER | change], status=400)


def test_the_handshake_can_be_tried(sandbox: Sandbox, receiver: Receiver) -> None:
    assert sandbox.control("POST", "verify", {})["verified"] is True
    assert sandbox.control("POST", "verify", {"verify_token": "no"}) == {"verified": False, "status": 403, "body": "no"}
