"""E-mails and templates by the API: what is taken, and what is refused by field."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from crm_tasks.email.models import EmailAttachment
from crm_tasks.messages.models import Message
from tests.email.shop import ANN, Shop, make_shop
from tests.fixtures import make_demo
from tests.messages.apply import one, rows
from tests.messages.outgoing import send_jobs
from tests.webapp.api import Api, error, fields


@pytest.fixture
def shop(empty: None) -> Shop:
    return make_shop()


@pytest.fixture
def api(client: FlaskClient, shop: Shop) -> Api:
    return Api(client, shop.api_key)


def body(shop: Shop, *, to: str = ANN, **email: Any) -> dict[str, Any]:
    words = email if "template" in email else {"subject": "Hello", "html": "<p>Hi</p>"} | email
    return {"channel_id": str(shop.channel_id), "to": to, "type": "email", "email": words}


def file(data: bytes = b"hello", **changes: str) -> dict[str, str]:
    return {"name": "a.txt", "media_type": "text/plain", "data": b64encode(data).decode()} | changes


def test_an_email_is_accepted_with_its_job_and_its_files(shop: Shop, api: Api) -> None:
    answer = api.post("/messages", body(shop, to=" Ann@Example.NET ", attachments=[file(), file(b"", name="b.txt")]))
    assert answer.status_code == 202, answer.get_json()
    found = answer.get_json()
    assert (found["state"], found["text"], found["content"]["html"]) == ("queued", "Hello", "<p>Hi</p>")
    assert [each["size"] for each in found["content"]["attachments"]] == [5, 0]
    assert [bytes(each.data) for each in _files()] == [b"hello", b""]
    (job,) = send_jobs(one(Message).id, "email.send")
    assert (job.queue, job.max_attempts, str(job.id)) == ("email", 5, found["job_id"])


def _files() -> list[EmailAttachment]:
    from crm_tasks.core import db

    with db.transaction() as session:
        return list(session.query(EmailAttachment).order_by(EmailAttachment.position))


def test_twenty_megabytes_are_taken_and_a_byte_more_is_not(shop: Shop, api: Api) -> None:
    most = 20 * 1024 * 1024
    assert api.post("/messages", body(shop, attachments=[file(bytes(most))])).status_code == 202
    refused = api.post("/messages", body(shop, attachments=[file(bytes(most)), file(b"x")]))
    assert (refused.status_code, list(fields(refused))) == (422, ["email.attachments"])
    assert api.post("/messages", body(shop, attachments=[file(bytes(30 * 1024 * 1024))])).status_code == 413
    assert len(rows(Message)) == 1


def test_without_a_key_nothing_large_is_read(client: FlaskClient, shop: Shop) -> None:
    sent = client.post("/api/v1/messages", data=b"x" * (4 * 1024 * 1024), content_type="application/json")
    assert sent.status_code == 401


WRONG = [
    ({"to": "ann"}, "to"),
    ({"to": "+15550001111"}, "to"),
    ({"to": "a@b.com\r\nBcc: c@d.com"}, "to"),
    ({"subject": "a\r\nBcc: x"}, "email.subject"),
    ({"subject": "x" * 999}, "email.subject"),
    ({"subject": " "}, "email.subject"),
    ({"html": ""}, "email.html"),
    ({"reply_to": "nobody"}, "email.reply_to"),
    ({"headers": {"Bcc": "eve@example.com"}}, "email.headers.Bcc"),
    ({"headers": {"X-A": "b\nc"}}, "email.headers.X-A"),
    ({"attachments": [file() | {"data": "not base64!"}]}, "email.attachments.0.data"),
    ({"attachments": [file(media_type="text")]}, "email.attachments.0.media_type"),
    ({"attachments": [file(name="a\nb")]}, "email.attachments.0.name"),
    ({"attachments": [file()] * 11}, "email.attachments"),
    ({"html": "<style>p{}</style>" + "<div>" * 6000}, "email.html"),
    ({"colour": "red"}, "email.colour"),
    ({"attachments": [{"name": "a"}]}, "email.attachments.0.data"),
    ({"attachments": [{"data": ""}]}, "email.attachments.0.name"),
    ({"template": "7"}, "email.template"),
]


@pytest.mark.parametrize(("change", "field"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_field_is_named(shop: Shop, api: Api, change: dict[str, Any], field: str) -> None:
    refused = api.post("/messages", body(shop, **change))
    assert (refused.status_code, field in fields(refused)) == (422, True), refused.get_json()
    assert (rows(Message), _files()) == ([], [])


def test_a_type_belongs_to_its_channel(shop: Shop, api: Api) -> None:
    new = {"channel_id": str(shop.channel_id), "to": ANN, "type": "text", "text": {"body": "Hi"}}
    assert error(api.post("/messages", new))["code"] == "type_not_supported"
    demo = make_demo()
    new = body(shop) | {"channel_id": str(demo.channel_id)}
    assert error(Api(api.client, demo.api_key).post("/messages", new))["code"] == "type_not_supported"


def test_an_uploaded_file_goes_along_and_somebody_elses_does_not(shop: Shop, api: Api) -> None:
    from crm_tasks.core import db
    from crm_tasks.core.types import new_id
    from crm_tasks.media.service import files

    media_id = new_id()
    stored = files.keep(BytesIO(b"%PDF-hello"), media_id)
    with db.transaction() as session:
        how = {"mime_type": "application/pdf", "filename": "invoice.pdf"}
        files.add(session, shop.workspace_id, shop.channel_id, stored, media_id=media_id, **how)
    named = [{"media_id": str(media_id)}, {"media_id": str(media_id), "name": "b.pdf"}]
    found = api.post("/messages", body(shop, attachments=named)).get_json()["content"]["attachments"]
    assert [(each["name"], each["media_type"], each["size"]) for each in found] == [
        ("invoice.pdf", "application/pdf", 10),
        ("b.pdf", "application/pdf", 10),
    ]
    assert [bytes(each.data) for each in _files()] == [b"%PDF-hello"] * 2
    other = make_shop(name="Other")
    refused = Api(api.client, other.api_key).post("/messages", body(other, attachments=named[:1]))
    assert list(fields(refused)) == ["email.attachments.0.media_id"]


# --- templates ---------------------------------------------------------------------------------------------------

TEMPLATE = {"name": "Order", "subject": "Order {{ no }}", "html": "<p>Dear {{ name }}</p>", "text": ""}


def made(api: Api, **changes: str) -> str:
    answer = api.post("/email-templates", TEMPLATE | changes)
    assert answer.status_code == 201, answer.get_json()
    return str(answer.get_json()["id"])


def test_a_template_is_kept_listed_changed_and_forgotten(api: Api) -> None:
    first, second = made(api), made(api, name="Other")
    assert [each["id"] for each in api.get("/email-templates").get_json()["data"]] == [second, first]
    changed = api._call("PATCH", f"/email-templates/{first}", {"json": {"subject": "New", "name": "Order"}})
    assert (changed.status_code, changed.get_json()["subject"]) == (200, "New")
    taken = api._call("PATCH", f"/email-templates/{first}", {"json": {"name": "Other"}})
    assert error(taken)["code"] == error(api.post("/email-templates", TEMPLATE))["code"] == "template_exists"
    assert api.delete(f"/email-templates/{first}").status_code == 204
    assert api.get(f"/email-templates/{first}").status_code == 404


def test_a_template_is_looked_at_with_values(api: Api) -> None:
    shown = api.post(f"/email-templates/{made(api)}/preview", {"variables": {"no": 7, "name": "<b>"}})
    assert shown.get_json() == {"subject": "Order 7", "html": "<p>Dear &lt;b&gt;</p>", "text": ""}


def test_a_message_of_a_template_has_its_words(shop: Shop, api: Api) -> None:
    answer = api.post("/messages", body(shop, template=made(api), variables={"no": 7, "name": "Ann"}))
    assert answer.status_code == 202, answer.get_json()
    assert (answer.get_json()["text"], answer.get_json()["content"]["html"]) == ("Order 7", "<p>Dear Ann</p>")


def test_a_value_that_is_missing_is_named(shop: Shop, api: Api) -> None:
    refused = api.post("/messages", body(shop, template=made(api), variables={"no": 7}))
    assert fields(refused) == {"email.variables": "html: Line 1: 'name' is undefined."}


def test_a_value_makes_no_header(shop: Shop, api: Api) -> None:
    variables = {"no": "7\r\nBcc: eve@example.com", "name": "Ann"}
    refused = api.post("/messages", body(shop, template=made(api), variables=variables))
    assert list(fields(refused)) == ["email.subject"]


def test_a_template_that_cannot_be_read_is_not_kept(api: Api) -> None:
    refused = api.post("/email-templates", TEMPLATE | {"html": "a\n{% for %}", "text": "{{ ''.format() }}"})
    assert sorted(fields(refused)) == ["html", "text"]


def test_a_template_of_another_business_is_not_there(shop: Shop, api: Api, client: FlaskClient) -> None:
    theirs = made(Api(client, make_shop(name="Other").api_key))
    assert api.get(f"/email-templates/{theirs}").status_code == 404
    assert api.post("/messages", body(shop, template=theirs)).status_code == 404
