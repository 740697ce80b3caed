"""The SMS gateway: `POST /sms/send-sms`, receipts, and texts from people."""

import re

from flask import Response

from sandbox.fields import Json
from sandbox.gateways import blueprint
from sandbox.gateways.gate import Taken, receipt, receipts, text
from sandbox.gateways.json_gate import accepted, answer, callback_url, identify, refused
from sandbox.ids import digits
from sandbox.intake import Intake

E164 = re.compile(r"\+?[1-9]\d{6,14}")
LONGEST = 1600
# Twilio's numbers and words for why a text did not arrive.
FAILURES = {
    30003: "Unreachable destination handset",
    30004: "Message blocked",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Message filtered",
    30008: "Unknown error",
    21610: "Attempt to send to unsubscribed recipient",
}


@blueprint.post("/sms/send-sms")
def send_sms() -> Response:
    """Answer `POST /sms/send-sms`."""
    return answer("sms", lambda body: plain(text(body, "to")), _take)


def plain(phone: str | None) -> str | None:
    """Return a phone number's digits, as the log and the faults know it."""
    return digits(phone) or phone if phone else None


def failure(code: int) -> tuple[int, str]:
    """Return a failure with its words."""
    return code, FAILURES.get(code, "The failure was ordered")


def _take(here: Intake, body: Json) -> Taken:
    to, message = text(body, "to"), text(body, "message")
    if to is None or not E164.fullmatch(to):
        raise refused(400, "to must be a phone number in E.164, such as +15550001111.", "invalid_recipient")
    if message is None:
        raise refused(400, "message must be a text that is not empty.", "invalid_message")
    if len(message) > LONGEST:
        raise refused(400, f"message must have at most {LONGEST} characters.", "message_too_long")
    url = callback_url(here, body)
    message_id, key, again = identify(here, "SM")
    route = {"kind": "sms", "to": to, "from": here.world.accounts.sms.address, "url": url}
    taken = Taken(message_id, accepted(message_id), again=again, key=key, route=route)
    if not again:
        timing, code = here.world.limits.statuses, here.effect.status_code
        error = failure(code) if code else None
        steps = [("sent", timing.sent_ms), ("failed" if error else "delivered", timing.delivered_ms)]
        taken.calls = receipts(
            here,
            route,
            steps,
            message_id,
            lambda name, moment: receipt(route, message_id, name, moment, error if name == "failed" else None),
        )
    return taken
