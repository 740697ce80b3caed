"""Files of ours on their way to the provider: brought once for many messages, and again when it has forgotten them."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.config import settings
from crm_tasks.core import db, holds
from crm_tasks.core.errors import Invalid, Permanent
from crm_tasks.core.jobs.model import JobState
from crm_tasks.media.models import Media, MediaState, MediaUpload
from crm_tasks.media.service import files
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import outbox
from crm_tasks.providers import links
from crm_tasks.providers.storage import storage
from tests.core.ledger import update
from tests.fixtures import Demo, make_demo
from tests.harness import eventually
from tests.media.samples import PDF, PNG, media_until, ours
from tests.messages.apply import one, wrote
from tests.messages.outgoing import ANN, AT_MOST, fault, job_until, message, send_job, until
from tests.outside import Sandbox
from tests.providers.servers import says, server


def post(demo: Demo, kind: str, content: dict[str, Any], to: str = ANN) -> uuid.UUID:
    with db.transaction() as session:
        wrote(session, demo, to)
        new = outbox.NewMessage(type=kind, content=content)
        wrote(session, demo, to)
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, to, new).id


def uploads(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [each for each in sandbox.log("media") if each["method"] == "POST"]


def sent_id(sandbox: Sandbox, kind: str = "image") -> set[str]:
    return {each["body"][kind]["id"] for each in sandbox.sends()}


def brought() -> dict[str, str | None]:
    with db.transaction() as session:
        return {str(each.media_id): each.provider_media_id for each in session.scalars(sa.select(MediaUpload))}


@pytest.mark.usefixtures("sender")
def test_a_file_is_brought_once_for_many_messages(shop: Demo, sandbox: Sandbox) -> None:
    media_id = ours(shop)
    sent = [post(shop, "image", {"id": str(media_id), "caption": str(n)}, f"+1555000{1000 + n}") for n in range(6)]
    for each in sent:
        until(each, MessageState.ACCEPTED)
    assert len(uploads(sandbox)) == 1
    assert sent_id(sandbox) == set(brought().values())
    assert message(sent[0]).content["id"] == str(media_id)
    assert message(sent[0]).media_id == media_id


@pytest.mark.usefixtures("sender")
def test_what_the_provider_has_forgotten_is_brought_again(shop: Demo, sandbox: Sandbox) -> None:
    media_id = ours(shop)
    until(post(shop, "image", {"id": str(media_id)}), MessageState.ACCEPTED)
    with db.transaction() as session:
        session.execute(sa.text("UPDATE media_uploads SET expires_at = now() + interval '59 minutes'"))
    until(post(shop, "image", {"id": str(media_id)}), MessageState.ACCEPTED)
    assert len(uploads(sandbox)) == len(sent_id(sandbox)) == 2


@pytest.mark.usefixtures("sender")
def test_an_upload_that_fails_is_tried_again_before_anything_is_sent(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(
        {"match": {"kind": "media"}, "action": {"status": 500, "error_code": 2}, "times": 1}, fault(statuses="none")
    )
    sent = until(post(shop, "image", {"id": str(ours(shop))}), MessageState.ACCEPTED)
    job = send_job(sent.id)
    assert (job.attempt, len(sandbox.sends())) == (1, 1)


@pytest.mark.usefixtures("sender")
def test_a_file_that_the_provider_does_not_take_fails_its_message(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults({"match": {"kind": "media"}, "action": {"status": 400, "error_code": 131053}})
    failed = until(post(shop, "image", {"id": str(ours(shop))}), MessageState.FAILED)
    assert failed.error is not None
    assert (send_job(failed.id).errors[-1]["code"], sandbox.sends()) == ("whatsapp:131053", [])


@pytest.mark.usefixtures("sender")
def test_a_no_to_the_whole_account_at_an_upload_holds_the_channel(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(
        {"match": {"kind": "media"}, "action": {"status": 403, "error_code": 368}, "times": 1}, fault(statuses="none")
    )
    sent = post(shop, "image", {"id": str(ours(shop))})
    job = job_until(sent, lambda job: job.claim_no == 1 and job.state is JobState.QUEUED, "put off")
    with db.transaction() as session:
        (hold,) = [each for each in holds.listed(session) if each.scope == f"channel:{shop.channel_id}"]
        assert "368" in hold.reason
        assert (job.attempt, message(sent).state, sandbox.sends()) == (0, MessageState.QUEUED, [])
        holds.release(session, hold.id, actor="test")
    update([job.id], "run_at = crm_now()")
    until(sent, MessageState.ACCEPTED)


@pytest.mark.usefixtures("sender")
def test_a_message_whose_file_was_removed_says_so(shop: Demo, sandbox: Sandbox) -> None:
    media_id = ours(shop)
    storage().delete(str(one(Media).storage_key))
    failed = until(post(shop, "image", {"id": str(media_id)}), MessageState.FAILED)
    assert failed.error is not None
    assert (failed.error["code"], failed.error["title"]) == ("media_not_stored", "its file was removed")
    assert send_job(failed.id).state is JobState.DEAD


@pytest.mark.usefixtures("sender")
def test_headers_of_interactive_messages_and_templates_have_files_too(shop: Demo, sandbox: Sandbox) -> None:
    picture, paper = str(ours(shop)), str(ours(shop, PDF, "application/pdf"))
    buttons = [{"type": "reply", "reply": {"id": "ok", "title": "Yes"}}]
    first = post(
        shop,
        "interactive",
        {
            "type": "button",
            "header": {"type": "image", "image": {"id": picture}},
            "body": {"text": "Right?"},
            "action": {"buttons": buttons},
        },
    )
    parameters = [{"type": "document", "document": {"id": paper, "filename": "a.pdf"}}]
    template = {
        "name": "order_update",
        "language": {"code": "en_US"},
        "components": [{"type": "header", "parameters": parameters}],
    }
    second = post(shop, "template", template)
    until(first, MessageState.ACCEPTED)
    eventually(lambda: len(sandbox.sends()) == 2, "both asked for", AT_MOST)
    known = brought()
    bodies = [each["body"] for each in sandbox.sends()]
    assert bodies[0]["interactive"]["header"]["image"]["id"] == known[picture]
    assert bodies[1]["template"]["components"][0]["parameters"][0]["document"]["id"] == known[paper]
    assert (message(first).media_id, message(second).media_id) == (uuid.UUID(picture), uuid.UUID(paper))


@pytest.mark.usefixtures("sender")
def test_links_and_the_providers_own_ids_pass_as_they_are(shop: Demo, sandbox: Sandbox) -> None:
    until(post(shop, "image", {"link": "https://cdn.example.test/a.png"}), MessageState.ACCEPTED)
    assert sandbox.sends()[0]["body"]["image"] == {"link": "https://cdn.example.test/a.png"}
    assert uploads(sandbox) == []


def from_link(shop: Demo, kind: str, data: bytes, status: str = "200 OK") -> Media:
    """Have a file fetched from a server that says this, and wait for what becomes of it."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nLocation: /x\r\nContent-Length: {len(data)}\r\n\r\n"
    with server(says(head.encode() + data)) as there:
        with db.transaction() as session:
            files.add_link(session, shop.workspace_id, shop.channel_id, f"{there.url}a")
        return media_until(MediaState.STORED, MediaState.FAILED)


@pytest.mark.usefixtures("sender")
def test_a_file_from_a_link_is_fetched_and_then_brought(shop: Demo, sandbox: Sandbox) -> None:
    media = from_link(shop, "text/plain; charset=utf-8", b"Hello")
    assert (media.sniffed_type, media.mime_type, media.size) == ("text/plain", "text/plain", 5)
    until(post(shop, "document", {"id": str(media.id), "filename": "a.txt"}), MessageState.ACCEPTED)
    assert len(uploads(sandbox)) == 1


@pytest.mark.usefixtures("sender")
@pytest.mark.parametrize(
    ("kind", "data", "status", "code"),
    [
        ("application/json", b'{"a": 1}', "200 OK", "type_not_supported"),
        ("image/png", PDF, "200 OK", "other_type"),
        ("image/png", PNG, "404 Not Found", "link_refused"),
        ("image/png", PNG, "302 Found", "link_redirects"),
    ],
)
def test_a_link_to_what_cannot_be_sent_fails_and_says_why(
    shop: Demo, kind: str, data: bytes, status: str, code: str
) -> None:
    media = from_link(shop, kind, data, status)
    assert (media.state, media.reason_code, media.storage_key) == (MediaState.FAILED, code, None)
    with pytest.raises(Invalid, match="could not be fetched"):
        post(shop, "document", {"id": str(media.id)})


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example.test/a",
        "https://10.0.0.1/a",
        "https://169.254.169.254/latest",
        "https://[fd00::1]/",
        "https://a",
    ],
)
def test_a_link_into_the_network_behind_is_neither_taken_nor_opened(
    shop: Demo, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    strict = replace(settings(), webhook_allow_private=False)
    monkeypatch.setattr("crm_tasks.providers.outbound.settings", lambda: strict)
    with pytest.raises(Permanent) as refused, links.opened(url):
        pass
    assert refused.value.code == "private_address"
    with pytest.raises(Invalid) as wrong, db.transaction() as session:
        files.add_link(session, shop.workspace_id, shop.channel_id, url)
    assert wrong.value.fields[0].field == "url"


@pytest.mark.parametrize(
    ("kind", "mime", "why"),
    [("video", "image/png", "cannot be sent as video"), ("sticker", "application/pdf", "cannot be sent as sticker")],
)
def test_a_file_is_sent_only_as_what_it_is(shop: Demo, kind: str, mime: str, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        post(shop, kind, {"id": str(ours(shop, PNG, mime))})
    assert (refused.value.fields[0].field, why in refused.value.message) == (f"{kind}.id", True)


def test_a_file_of_another_workspace_is_no_file(shop: Demo) -> None:
    theirs = ours(make_demo(number="20002"))
    with pytest.raises(Invalid) as refused:
        post(shop, "image", {"id": str(theirs)})
    assert refused.value.code == "media_not_found"


def test_two_messages_do_not_bring_the_same_file_at_once(shop: Demo) -> None:
    from crm_tasks.core.errors import Snooze
    from crm_tasks.media.service import uploading
    from crm_tasks.workspaces.models import Channel

    media_id, first, second = ours(shop), uuid.uuid4(), uuid.uuid4()
    with db.transaction() as session:
        channel = session.get_one(Channel, shop.channel_id)
        (upload,) = uploading.begin(session, channel, [media_id], by=first)
        assert uploading.begin(session, channel, [media_id], by=first)  # its own next try
        with pytest.raises(Snooze):
            uploading.begin(session, channel, [media_id], by=second)
        uploading.brought(session, upload, "900")
        assert uploading.known(session, channel.id, [media_id]) == {media_id: "900"}
