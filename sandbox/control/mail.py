"""What scripts learn of the mailbox, and the bounces and complaints they make of what is in it."""

import re
from urllib.parse import quote

import requests
from flask import Response, request

from sandbox import fields
from sandbox.control import answer, blueprint, payload, whole_query, world
from sandbox.fields import BadInput, Json
from sandbox.gateways.accounts import url
from sandbox.mail import reports
from sandbox.mail.contents import contents
from sandbox.mail.mailbox import KEPT, Mail
from sandbox.mail.replies import WORDS
from sandbox.sender import Posting, new_session, plain, send
from sandbox.updates import signature

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_FEEDBACK = ("abuse", "fraud", "virus", "other", "not-spam")
# What a stranger's HTML may do in the page's frame: be looked at.
_FRAMED = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


@blueprint.get("/mail")
def mails() -> Response:
    """Give the mails, the newest first; `to`, `q` and `limit` narrow it down."""
    here = world()
    limit = whole_query("limit", KEPT)
    with here.lock:
        found = here.mailbox.newest(limit, request.args.get("to", ""), request.args.get("q", ""))
        return answer({"data": [mail.public() for mail in found], "total": here.mailbox.total})


@blueprint.get("/mail/<mail_id>")
def mail(mail_id: str) -> Response:
    """Give a mail with its headers, its text, its HTML and the names of its files."""
    found = _mail(mail_id)
    return answer(found.public() | contents(found).public())


@blueprint.get("/mail/<mail_id>/raw")
def raw(mail_id: str) -> Response:
    """Give a mail as it was transferred."""
    return Response(_mail(mail_id).raw, mimetype="message/rfc822", headers=_download(f"{mail_id}.eml"))


@blueprint.get("/mail/<mail_id>/html")
def html(mail_id: str) -> Response:
    """Give a mail's HTML for a frame in which nothing runs and nothing is fetched."""
    page = contents(_mail(mail_id)).page()
    if page is None:
        raise BadInput("The mail has no HTML.", status=404)
    headers = {
        "Content-Security-Policy": _FRAMED,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Response(page, mimetype="text/html", headers=headers)


@blueprint.get("/mail/<mail_id>/attachments/<int:n>")
def attachment(mail_id: str, n: int) -> Response:
    """Give a file of a mail, to be saved and not shown."""
    files = contents(_mail(mail_id)).files
    if n >= len(files):
        raise BadInput("The mail has no such attachment.", status=404)
    return Response(files[n].data, mimetype="application/octet-stream", headers=_download(files[n].name))


@blueprint.post("/mail/<mail_id>/bounce")
def bounce(mail_id: str) -> Response:
    """Make the message that says what became of a mail (RFC 3464), and post it if a url is given."""
    found = _mail(mail_id)
    given = fields.known(_given(), ("recipient", "action", "status", "diagnostic", "url"))
    action, status = fields.text(given, "action", "failed"), fields.text(given, "status", "5.1.1")
    if action not in reports.ACTIONS:
        raise BadInput(f"action must be one of {', '.join(reports.ACTIONS)}.", "action")
    if not _STATUS.fullmatch(status):
        raise BadInput("status must look like 5.1.1.", "status")
    usual = next(
        (f"{code} {text}" for code, text in WORDS.items() if text.startswith(status)), f"{status[0]}50 {status}"
    )
    diagnostic = " ".join(fields.text(given, "diagnostic", usual).split())
    recipient = _recipient(found, given)
    return _handed_out(given, reports.bounce(found, recipient, action=action, status=status, diagnostic=diagnostic))


@blueprint.post("/mail/<mail_id>/complaint")
def complaint(mail_id: str) -> Response:
    """Make the message that says that somebody called a mail spam (RFC 5965), and post it if a url is given."""
    found = _mail(mail_id)
    given = fields.known(_given(), ("recipient", "feedback", "url"))
    feedback = fields.text(given, "feedback", "abuse")
    if feedback not in _FEEDBACK:
        raise BadInput(f"feedback must be one of {', '.join(_FEEDBACK)}.", "feedback")
    return _handed_out(given, reports.complaint(found, _recipient(found, given), feedback=feedback))


def _mail(mail_id: str) -> Mail:
    found = world().mailbox.get(mail_id)
    if found is None:
        raise BadInput(f"There is no mail {mail_id}.", status=404)
    return found


def _given() -> Json:
    return fields.mapping(payload() if request.content_length else {})


def _recipient(mail: Mail, given: Json) -> str:
    found = fields.text(given, "recipient", (mail.recipients or [""])[0])
    if not found.isprintable() or " " in found:
        raise BadInput("recipient must be an e-mail address.", "recipient")
    return found


def _handed_out(given: Json, message: bytes) -> Response:
    """Answer with a message, or tell what the address answered to which it was posted."""
    if not given.get("url"):
        return Response(message, mimetype="message/rfc822")
    headers = {"Content-Type": "message/rfc822", "X-Signature-256": signature(world().accounts.email.secret, message)}
    posting = Posting(url(given, "url"), message, headers)
    try:
        with new_session() as session:
            got = send(session, posting, world().limits.webhook_timeout)
    except requests.RequestException as problem:
        return answer({"status": None, "error": plain(problem)}, 502)
    return answer({"status": got.status_code, "body": got.text[:10_000], "size": len(message)})


def _download(name: str) -> dict[str, str]:
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
