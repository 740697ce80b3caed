"""@kapso/whatsapp-cloud-api, a real client out of npm, unmodified: only its official option `baseUrl` is set."""

import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playground import CUSTOMER, NUMBER, SECRET, TOKEN, WABA, Receiver, Sandbox, wait_for

PACKAGE = "@kapso/whatsapp-cloud-api@0.3.0"
HEAD = """
import { WhatsAppClient, buildTemplateSendPayload } from "@kapso/whatsapp-cloud-api";
import { normalizeWebhook, verifySignature } from "@kapso/whatsapp-cloud-api/server";
const { baseUrl, accessToken, phoneNumberId, businessAccountId, to, ...given } = JSON.parse(process.argv[2]);
const client = new WhatsAppClient({ baseUrl, accessToken });
const { messages, media, templates, phoneNumbers } = client;
const out = await (async () => {
"""
TAIL = """
})();
console.log(JSON.stringify(out));
"""
Run = Callable[..., Any]

pytestmark = [
    pytest.mark.skipif(not (shutil.which("npm") and shutil.which("node")), reason="there is no npm here"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it."""
    made = tmp_path_factory.mktemp("kapso")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(made), PACKAGE]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr.strip()[-300:]}")
    return made


@pytest.fixture
def run(folder: Path, sandbox: Sandbox) -> Run:
    """Run a few lines of JavaScript with a client and return what they return."""

    def _run(script: str, **given: Any) -> Any:
        (folder / "run.mjs").write_text(HEAD + script + TAIL)
        known = {"baseUrl": sandbox.url, "accessToken": TOKEN, "phoneNumberId": NUMBER, "businessAccountId": WABA}
        argument = json.dumps(known | {"to": CUSTOMER} | given)
        done = subprocess.run(
            ["node", "run.mjs", argument], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return _run


def test_messages_of_every_kind_are_accepted(run: Run, sandbox: Sandbox) -> None:
    said = sandbox.inbound()
    answers = run(
        """
        const all = { phoneNumberId, to };
        const bytes = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
        const file = new Blob([bytes], { type: "image/png" });
        const { id } = await media.upload({ phoneNumberId, type: "image/png", file, fileName: "a.png" });
        const button = { subType: "quick_reply", parameters: [{ type: "payload", payload: "WHERE" }] };
        const template = buildTemplateSendPayload({ name: "order_update", language: "en_US",
          body: [{ type: "text", text: "Ann" }, { type: "text", text: "A-100" }],
          buttons: [{ type: "button", index: 0, ...button }] });
        return [
          await messages.sendText({ ...all, body: "Hello", previewUrl: true, contextMessageId: given.said }),
          await messages.sendText({ phoneNumberId, recipient: "US.13491208655302741918", body: "By id" }),
          await messages.sendTemplate({ ...all, template }),
          await messages.sendImage({ ...all, image: { id, caption: "Look" } }),
          await messages.sendInteractiveButtons({ ...all, header: { type: "image", image: { id } }, bodyText: "Well?",
            footerText: "Shop", buttons: [{ id: "ok", title: "Yes" }, { id: "no", title: "No" }] }),
          await messages.sendInteractiveList({ ...all, bodyText: "Pick", buttonText: "Open",
            sections: [{ title: "S", rows: [{ id: "r1", title: "Row 1", description: "first" }] }] }),
          await messages.sendLocation({ ...all, location: { latitude: 1.5, longitude: 2.5, name: "Depot" } }),
          await messages.sendContacts({ ...all, contacts: [{ name: { formattedName: "Bo Li", firstName: "Bo" } }] }),
          await messages.sendReaction({ ...all, reaction: { messageId: given.said, emoji: "👍" } }),
          await messages.sendRaw({ phoneNumberId, payload: {
            messaging_product: "whatsapp", to, type: "text", text: { body: "raw" } } }),
        ];
        """,
        said=said,
    )
    taken = sandbox.log("message")
    assert [answer["messages"][0]["id"] for answer in answers] == [entry["message_id"] for entry in taken]
    assert {entry["status"] for entry in taken} == {200}
    kinds = [entry["body"]["type"] for entry in taken]
    assert kinds[:6] == ["text", "text", "template", "image", "interactive", "interactive"]
    assert taken[4]["body"]["interactive"]["action"]["buttons"][0]["reply"] == {"id": "ok", "title": "Yes"}
    assert sandbox.stats()["accepted"] == 10


def test_a_file_goes_up_and_comes_down_and_a_message_is_read(run: Run, sandbox: Sandbox) -> None:
    said = sandbox.inbound()
    found = run(
        """
        const file = new Blob([Buffer.from(given.data, "base64")], { type: "image/png" });
        const { id: mediaId } = await media.upload({ phoneNumberId, type: "image/png", file, fileName: "a.png" });
        const { mimeType } = await media.get({ mediaId, phoneNumberId });
        const down = Buffer.from(await media.download({ mediaId, phoneNumberId, auth: "always" })).toString("base64");
        const typingIndicator = { type: "text" };
        const read = await messages.markRead({ phoneNumberId, messageId: given.said, typingIndicator });
        return { mimeType, down, read, gone: await media.delete({ mediaId, phoneNumberId }) };
        """,
        said=said,
        data=b64encode(b"\x89PNG\r\n\x1a\n0000").decode(),
    )
    assert found == {
        "mimeType": "image/png",
        "down": b64encode(b"\x89PNG\r\n\x1a\n0000").decode(),
        "read": {"success": True},
        "gone": {"success": True},
    }
    assert sandbox.log("typing")[0]["body"]["message_id"] == said


def test_templates_and_the_number_are_managed(run: Run, sandbox: Sandbox) -> None:
    found = run(
        """
        const example = { bodyText: [["Ann"]] };
        const components = [{ type: "BODY", text: "Hi {{1}}, all is well.", example }];
        const made = await templates.create(
          { businessAccountId, name: "kapso_one", language: "en_US", category: "UTILITY", components });
        const listed = (await templates.list({ businessAccountId, limit: 100 })).data.map(({ name }) => name);
        await phoneNumbers.requestCode({ phoneNumberId, codeMethod: "SMS", language: "en_US" });
        await phoneNumbers.verifyCode({ phoneNumberId, code: "123456" });
        await phoneNumbers.register({ phoneNumberId, pin: "123456" });
        await phoneNumbers.businessProfile.update({ phoneNumberId, about: "Open until six" });
        const profile = await phoneNumbers.businessProfile.get({ phoneNumberId });
        await templates.delete({ businessAccountId, name: "kapso_one" });
        return { status: made.status, known: listed.includes("kapso_one"), about: profile.data[0].about };
        """
    )
    assert found == {"status": "PENDING", "known": True, "about": "Open until six"}


def test_errors_are_understood(run: Run, sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "message"}, action={"status": 429, "error_code": 131056}, times=1)
    errors = run(
        """
        const told = (error) => [error.name, error.httpStatus, error.code, error.category];
        return [
          await messages.sendText({ phoneNumberId, to, body: "x" }).catch(told),
          await messages.sendText({ phoneNumberId, to: "+15550783881", body: "me" }).catch(told),
        ];
        """
    )
    assert [error[:3] for error in errors] == [["GraphApiError", 429, 131056], ["GraphApiError", 400, 131021]]


def test_webhooks_pass_its_verifier_and_are_understood(run: Run, sandbox: Sandbox, receiver: Receiver) -> None:
    said = sandbox.inbound("Olá, é você?", name="Zoë")
    sent = sandbox.send()
    wait_for(lambda: len(receiver.status_updates(sent)) == 3, "the statuses")
    requests = [
        {"body": body.decode(), "signature": headers["X-Hub-Signature-256"]} for headers, body, _ in receiver.requests
    ]
    found = run(
        """
        const appSecret = given.secret;
        const checked = given.requests.map(({ body: rawBody, signature: signatureHeader }) => [
          verifySignature({ appSecret, rawBody, signatureHeader }),
          verifySignature({ appSecret, rawBody: rawBody + " ", signatureHeader })]);
        const heard = given.requests.map(({ body }) => normalizeWebhook(JSON.parse(body)));
        return { checked,
          texts: heard.flatMap(({ messages }) => messages.map(({ id, text }) => [id, text?.body])),
          statuses: heard.flatMap(({ statuses }) => statuses.map(({ id, status }) => [id, status])) };
        """,
        requests=requests,
        secret=SECRET,
    )
    assert found["checked"] == [[True, False]] * len(requests)
    assert found["texts"] == [[said, "Olá, é você?"]]
    assert sorted(found["statuses"]) == sorted([sent, status] for status in ("sent", "delivered", "read"))
