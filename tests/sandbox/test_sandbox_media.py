"""Media: upload, links that live five minutes, download with the token only, delete."""

import hashlib
import re
from base64 import b64encode

import pytest
from playground import CUSTOMER, NUMBER, TOKEN, Receiver, Sandbox, wait_for

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


def upload(sandbox: Sandbox, data: bytes = PNG, mime_type: str = "image/png", **form: str) -> object:
    fields = {"messaging_product": "whatsapp", "type": mime_type, **form}
    return sandbox.graph("POST", f"{NUMBER}/media", data=fields, files={"file": ("a.png", data, mime_type)})


def uploaded(sandbox: Sandbox, **kwargs: object) -> str:
    answer = upload(sandbox, **kwargs)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def test_what_is_uploaded_comes_back_through_a_link(sandbox: Sandbox) -> None:
    media_id = uploaded(sandbox)
    metadata = sandbox.graph("GET", media_id, params={"phone_number_id": NUMBER}).json()
    assert metadata["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert metadata["file_size"] == len(PNG)
    assert (metadata["mime_type"], metadata["id"], metadata["messaging_product"]) == ("image/png", media_id, "whatsapp")
    got = sandbox.session.get(metadata["url"], headers={"Authorization": f"Bearer {TOKEN}"})
    assert (got.content, got.headers["Content-Type"]) == (PNG, "image/png")


def test_a_link_needs_the_token_and_dies(sandbox: Sandbox) -> None:
    url = sandbox.graph("GET", uploaded(sandbox)).json()["url"]
    assert sandbox.session.get(url).status_code == 404
    assert sandbox.session.get(url, headers={"Authorization": "Bearer other"}).status_code == 404
    good = {"Authorization": f"Bearer {TOKEN}"}
    past = re.sub(r"ext=\d+", "ext=1700000000", url)
    later = re.sub(r"ext=(\d+)", lambda found: f"ext={int(found.group(1)) + 3600}", url)
    assert sandbox.session.get(past, headers=good).status_code == 404
    assert sandbox.session.get(later, headers=good).status_code == 404
    assert sandbox.session.get(url, headers=good).status_code == 200


@pytest.mark.parametrize(
    ("data", "mime_type", "details"),
    [
        (PNG, "image/gif", "supported types"),
        (PNG, "application/zip", "supported types"),
        (b"", "image/png", "empty"),
        (b"x" * (5 * 1024 * 1024 + 1), "image/jpeg", "too large"),
        (b"x" * (500 * 1024 + 1), "image/webp", "too large"),
    ],
)
def test_a_file_that_cannot_be_media_is_error_131053(
    sandbox: Sandbox, data: bytes, mime_type: str, details: str
) -> None:
    error = upload(sandbox, data, mime_type).json()["error"]
    assert error["code"] == 131053
    assert details in error["error_data"]["details"]


def test_parameters_of_the_type_do_not_matter(sandbox: Sandbox) -> None:
    media_id = uploaded(sandbox, data=b"OggS", mime_type="audio/ogg; codecs=opus")
    assert sandbox.graph("GET", media_id).json()["mime_type"] == "audio/ogg; codecs=opus"
    sandbox.send(type="audio", audio={"id": media_id, "voice": True})


def test_an_upload_needs_file_and_product(sandbox: Sandbox) -> None:
    no_product = sandbox.graph("POST", f"{NUMBER}/media", files={"file": ("a.png", PNG, "image/png")})
    assert no_product.json()["error"]["code"] == 131008
    no_file = sandbox.graph("POST", f"{NUMBER}/media", data={"messaging_product": "whatsapp"})
    assert no_file.json()["error"]["code"] == 131008


def test_a_deleted_medium_is_gone(sandbox: Sandbox) -> None:
    media_id = uploaded(sandbox)
    assert sandbox.graph("DELETE", media_id).json() == {"success": True}
    assert sandbox.graph("GET", media_id).json()["error"]["error_subcode"] == 33
    answer = sandbox.post({"messaging_product": "whatsapp", "to": CUSTOMER, "type": "image", "image": {"id": media_id}})
    assert answer.json()["error"]["code"] == 131009


def test_the_wrong_kind_of_file_fails_later(sandbox: Sandbox, receiver: Receiver) -> None:
    message_id = sandbox.send(type="audio", audio={"id": uploaded(sandbox)})
    failed = wait_for(lambda: receiver.status_updates(message_id), "the failed status")[0]
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131053)


def test_a_customers_file_can_be_downloaded_by_the_business(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.inbound(type="image", text=None, image={"data_base64": b64encode(PNG).decode(), "caption": "Look"})
    image = receiver.messages()[0]["image"]
    assert image["caption"] == "Look"
    assert image["sha256"] == b64encode(hashlib.sha256(PNG).digest()).decode()
    url = sandbox.graph("GET", image["id"]).json()["url"]
    assert sandbox.session.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).content == PNG


def test_a_customers_file_can_be_stored_first_and_named_later(sandbox: Sandbox, receiver: Receiver) -> None:
    files = {"file": ("price list.pdf", b"%PDF", "application/pdf")}
    stored = sandbox.session.post(f"{sandbox.url}/_sandbox/media", files=files).json()
    sandbox.inbound(type="document", text=None, document={"id": stored["id"], "filename": "price list.pdf"})
    document = receiver.messages()[0]["document"]
    assert document == {
        "id": stored["id"],
        "mime_type": "application/pdf",
        "sha256": stored["sha256"],
        "filename": "price list.pdf",
    }


def test_the_log_tells_of_media_without_the_bytes(sandbox: Sandbox) -> None:
    media_id = uploaded(sandbox)
    sandbox.graph("GET", media_id)
    first, second = sandbox.log("media")
    assert first["body"] == {"file": "a.png", "size": len(PNG), "type": "image/png", "messaging_product": "whatsapp"}
    assert second["path"] == f"/v26.0/{media_id}"
