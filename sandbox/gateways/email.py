"""The e-mail gateway: `POST /email/send-email`; what it takes lies in the same mailbox as what came by SMTP."""

from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP as BY_SMTP
from email.utils import formatdate, parseaddr

from flask import Response

from sandbox.fields import Json
from sandbox.gateways import blueprint
from sandbox.gateways.gate import Refused, Taken, receipt, receipts, text
from sandbox.gateways.json_gate import accepted, answer, callback_url, identify, refused
from sandbox.intake import Intake
from sandbox.mail.mailbox import facts
from sandbox.mail.replies import words

DOMAIN = "sandbox.example"


@blueprint.post("/email/send-email")
def send_email() -> Response:
    """Answer `POST /email/send-email`."""
    return answer("email", lambda body: text(body, "to"), _take)


def _take(here: Intake, body: Json) -> Taken:
    to, sender = _address(body, "to"), here.world.accounts.email.address
    sender = _address(body, "from") if body.get("from") else sender
    if text(body, "subject") is None:
        raise refused(400, "subject must be a text that is not empty.", "invalid_subject")
    if text(body, "html") is None and text(body, "text") is None:
        raise refused(400, "html or text is needed.", "invalid_content")
    url = callback_url(here, body)
    message_id, key, again = identify(here, "EM")
    route = {"kind": "email", "to": to, "from": sender, "url": url}
    taken = Taken(message_id, accepted(message_id), again=again, key=key, route=route)
    if not again:
        raw = _composed(body, message_id, sender, to, here.t)
        taken.mail = facts(message_id, here.t, "email", parseaddr(sender)[1], [parseaddr(to)[1]], raw)
        timing, code = here.world.limits.statuses, here.effect.status_code
        error = (code, words(code)) if code else None
        taken.calls = receipts(
            here,
            route,
            [("bounced" if error else "delivered", timing.delivered_ms)],
            message_id,
            lambda name, moment: receipt(route, message_id, name, moment, error),
        )
    return taken


def _address(body: Json, key: str) -> str:
    found = text(body, key)
    local, at, domain = parseaddr(found or "")[1].rpartition("@")
    if found is None or not found.isprintable() or not (local and at and domain) or " " in domain:
        raise refused(400, f"{key} must be an e-mail address.", "invalid_recipient" if key == "to" else "invalid_from")
    return found


def _composed(body: Json, message_id: str, sender: str, to: str, t: float) -> bytes:
    """Return the message a gateway would hand to the next server."""
    mail = EmailMessage(BY_SMTP)
    try:
        mail["From"], mail["To"] = sender, to
        mail["Subject"] = " ".join(str(body["subject"]).split())
    except (MessageError, ValueError, IndexError) as error:
        raise _unusable(error) from None
    mail["Date"] = formatdate(t)
    mail["Message-ID"] = f"<{message_id}@{DOMAIN}>"
    plain, html = text(body, "text"), text(body, "html")
    if plain is not None:
        mail.set_content(plain)
    if html is not None and plain is not None:
        mail.add_alternative(html, subtype="html")
    elif html is not None:
        mail.set_content(html, subtype="html")
    return mail.as_bytes()


def _unusable(error: Exception) -> Refused:
    return refused(400, f"An address or the subject cannot be used: {type(error).__name__}.", "invalid_address")
