"""Twilio's way of sending a text: a form with basic auth; statuses come back as signed forms."""

from datetime import UTC, datetime
from email.utils import format_datetime

import orjson
from flask import Response, current_app, jsonify, request

from sandbox.fields import BadInput, Json
from sandbox.gateways import blueprint
from sandbox.gateways.accounts import url
from sandbox.gateways.gate import Refused, Taken, intake, receipts, serve
from sandbox.gateways.segments import segments
from sandbox.gateways.sms import E164, LONGEST, failure, plain
from sandbox.ids import random_id
from sandbox.intake import Intake

_VERSION = "2010-04-01"
_WORDS = {429: (20429, "Too Many Requests"), 401: (20003, "Authenticate"), 404: (20404, "Not found")}
_CODES = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "Internal Server Error",
    21211: "The 'To' number is not a valid phone number.",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21609: "The 'StatusCallback' URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21617: f"The concatenated message body exceeds the {LONGEST} character limit",
}


@blueprint.post(f"/twilio/{_VERSION}/Accounts/<sid>/Messages.json")
def send_message(sid: str) -> Response:
    """Answer `POST /2010-04-01/Accounts/{sid}/Messages.json` below /twilio."""
    form = request.form.to_dict()
    given = request.authorization
    user, password = (given.username, given.password) if given and given.type == "basic" else (None, None)

    def take(here: Intake) -> Taken:
        account = here.world.accounts.twilio
        if (user, password) != (account.account, account.token):
            raise refused(401, 20003)
        if sid != account.account:
            raise refused(404, 20404)
        return _take(here, sid, form)

    return serve(intake("twilio", orjson.dumps(form), password or "", plain(form.get("To"))), ordered, take)


def refused(status: int, code: int) -> Refused:
    """Return an error in Twilio's shape."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    message = _CODES.get(code, "The error was ordered.")
    return Refused(status, {"code": code, "message": message, "more_info": more, "status": status}, code)


def ordered(status: int, code: int | None) -> Refused:
    if code is None:
        code = _WORDS[status][0] if status in _WORDS else 20500 if status >= 500 else 20001
    return refused(status, code)


def _take(here: Intake, sid: str, form: dict[str, str]) -> Taken:
    world = here.world
    service, sender, body = form.get("MessagingServiceSid"), form.get("From"), form.get("Body", "")
    _check(world.register.opted_out, form)
    message_id = random_id("SM")
    route: Json = {"kind": "twilio", "to": form["To"], "from": sender or world.accounts.twilio.address}
    route["url"] = form.get("StatusCallback") or None
    status = "accepted" if service else "queued"
    answer = _message(sid, message_id, form, body, status)
    code, timing = here.effect.status_code, world.limits.statuses
    steps = [("queued", 0.0)] if service else []  # the status that was answered gives no callback
    steps += [("sent", timing.sent_ms), ("undelivered" if code else "delivered", timing.delivered_ms)]
    told = {"AccountSid": sid, "ApiVersion": _VERSION, "To": route["to"], "From": route["from"]}
    calls = receipts(here, route, steps, message_id, lambda name, _: status_fields(told, message_id, name, code))
    return Taken(message_id, orjson.dumps(answer), 201, route=route | {"told": told}, calls=calls)


@blueprint.get(f"/twilio/{_VERSION}/Accounts/<sid>.json")
def account(sid: str) -> tuple[Response, int]:
    """Answer `GET /2010-04-01/Accounts/{sid}.json` below /twilio."""
    given, known = request.authorization, current_app.extensions["sandbox"].accounts.twilio
    if given is None or (given.username, given.password) != (known.account, known.token):
        return jsonify(refused(401, 20003).body), 401
    if sid != known.account:
        return jsonify(refused(404, 20404).body), 404
    return jsonify({"sid": sid, "friendly_name": "Sandbox", "status": "active", "type": "Full"}), 200


def status_fields(told: Json, message_id: str, status: str, code: int | None) -> Json:
    """Return the form of a status callback."""
    form = told | {"MessageSid": message_id, "SmsSid": message_id, "MessageStatus": status, "SmsStatus": status}
    if code and status in ("undelivered", "failed"):
        form |= {"ErrorCode": str(code), "ErrorMessage": failure(code)[1]}
    return form


def inbound_fields(sid: str, message_id: str, sender: str, to: str, body: str) -> Json:
    """Return the form with which a person's text comes."""
    ids = {"MessageSid": message_id, "SmsSid": message_id, "SmsMessageSid": message_id, "AccountSid": sid}
    parts = {"NumMedia": "0", "NumSegments": str(segments(body)), "SmsStatus": "received", "ApiVersion": _VERSION}
    return ids | parts | {"From": sender, "To": to, "Body": body}


def _check(opted_out: set[str], form: dict[str, str]) -> None:
    """Raise the error that Twilio gives to a request like this."""
    to, body = form.get("To", ""), form.get("Body", "")
    if not E164.fullmatch(to):
        raise refused(400, 21211)
    if not form.get("From") and not form.get("MessagingServiceSid"):
        raise refused(400, 21603)
    if not body.strip():
        raise refused(400, 21602)
    if len(body) > LONGEST:
        raise refused(400, 21617)
    if plain(to) in opted_out:
        raise refused(400, 21610)
    if form.get("StatusCallback"):
        try:
            url(dict(form), "StatusCallback")
        except BadInput:
            raise refused(400, 21609) from None


def _message(sid: str, message_id: str, form: dict[str, str], body: str, status: str) -> Json:
    now = format_datetime(datetime.now(UTC))
    uri = f"/{_VERSION}/Accounts/{sid}/Messages/{message_id}"
    return {
        "account_sid": sid,
        "api_version": _VERSION,
        "body": body,
        "date_created": now,
        "date_sent": None,
        "date_updated": now,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form.get("From"),
        "messaging_service_sid": form.get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": str(segments(body)),
        "price": None,
        "price_unit": "USD",
        "sid": message_id,
        "status": status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form["To"],
        "uri": f"{uri}.json",
    }
