"""What scripts do with the gateways: accounts, texts from people, and news of messages that nobody planned."""

import time

from flask import Response, current_app, request

from sandbox import fields
from sandbox.control import answer, blueprint, payload, world
from sandbox.fields import BadInput, Json
from sandbox.gateways import accounts, twilio
from sandbox.gateways.gate import callback, receipt
from sandbox.gateways.sms import E164, failure, plain
from sandbox.ids import random_id
from sandbox.log import iso
from sandbox.mail.replies import words
from sandbox.mail.server import Server
from sandbox.world import World

_INBOUND = ("from", "to", "message", "url", "gateway")
_STOP = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT")
_START = ("START", "YES", "UNSTOP")
STATUSES = {
    "sms": ("sent", "delivered", "failed"),
    "twilio": ("queued", "sent", "delivered", "undelivered", "failed"),
    "email": ("delivered", "bounced", "complained"),
}


@blueprint.get("/gateways")
def get_gateways() -> Response:
    """Give the accounts without their secrets, and where the SMTP server listens."""
    here = world()
    shown = here.accounts.public()
    server: Server = current_app.extensions["smtp"]
    shown["smtp"] |= {"host": server.host, "port": server.port, "certificate": str(server.certificate)}
    return answer(shown)


@blueprint.route("/gateways", methods=["PUT", "PATCH"])
def put_gateways() -> Response:
    """Change the accounts: PUT begins with the defaults, PATCH with what holds."""
    here = world()
    with here.lock:
        base = here.accounts if request.method == "PATCH" else here.default_accounts
        changed = accounts.parse(payload(), base)
        here.commit({"k": "gateways", "gateways": changed.changes(here.default_accounts)})
    return get_gateways()


@blueprint.post("/sms/inbound")
def inbound_sms() -> Response:
    """Let a person send a text to the business; STOP and its like opt them out of Twilio's texts."""
    here = world()
    given = fields.known(payload(), _INBOUND)
    kind = fields.text(given, "gateway", "sms")
    if kind not in ("sms", "twilio"):
        raise BadInput("gateway must be sms or twilio.", "gateway")
    account = here.accounts.named(kind)
    sender, message = _phone(fields.text(given, "from"), "from"), fields.text(given, "message")
    to = fields.text(given, "to", account.address)
    url = accounts.url(given, "url") if given.get("url") else account.callback_url
    if url is None:
        raise BadInput(f"There is nowhere to send it: name a url, or set callback_url of {kind} in /gateways.", "url")
    message_id, now = random_id("SM"), time.time()
    if kind == "twilio":
        told = twilio.inbound_fields(account.account, message_id, sender, to, message)
    else:
        told = {"type": "inbound", "messageId": message_id, "from": sender, "to": to, "message": message}
        told["timestamp"] = iso(now)
    with here.lock:
        _opt(here, sender, message)
        here.commit({"k": "callback", **callback(here, {"kind": kind, "url": url}, sender, told, now)})
    return answer({"id": message_id}, 202)


@blueprint.post("/messages/<message_id>/status")
def tell(message_id: str) -> Response:
    """Send one more callback about a message that a gateway took: a late failure, a complaint."""
    here = world()
    given = fields.known(payload(), ("status", "code", "url"))
    with here.lock:
        route = here.register.get(message_id)
        if route is None:
            raise BadInput(f"No gateway took a message {message_id}.", status=404)
        kind, status = route["kind"], fields.text(given, "status")
        if status not in STATUSES[kind]:
            raise BadInput(f"status must be one of {', '.join(STATUSES[kind])}.", "status")
        url = accounts.url(given, "url") if given.get("url") else route["url"]
        if not url:
            raise BadInput("There is nowhere to send it: name a url.", "url")
        told = _told(route, message_id, status, fields.whole(given, "code", most=999_999))
        here.commit({"k": "callback", **callback(here, route | {"url": url}, message_id, told, time.time())})
    return answer({"queued": True}, 202)


def _told(route: Json, message_id: str, status: str, code: int) -> Json:
    if route["kind"] == "twilio":
        return twilio.status_fields(route["told"], message_id, status, code)
    error = None
    if status in ("failed", "bounced"):
        error = (code or 550, words(code or 550)) if status == "bounced" else failure(code or 30008)
    return receipt(route, message_id, status, time.time(), error)


def _opt(here: World, sender: str, message: str) -> None:
    word = message.strip().upper()
    if word in _STOP or word in _START:
        here.commit({"k": "opted", "phone": plain(sender), "out": word in _STOP})


def _phone(text: str, key: str) -> str:
    if not E164.fullmatch(text):
        raise BadInput(f"{key} must be a phone number such as +15550001111.", key)
    return text
