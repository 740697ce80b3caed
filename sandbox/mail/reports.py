"""What mail servers send back: a delivery status notification (RFC 3464) and an abuse report (RFC 5965)."""

import time
from email.message import Message
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.mime.text import MIMEText
from email.parser import BytesParser, Parser
from email.policy import SMTP, compat32
from email.utils import formatdate, make_msgid

from sandbox.mail.mailbox import Mail

HOST = "mail.sandbox.example"
ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")


def bounce(mail: Mail, recipient: str, *, action: str, status: str, diagnostic: str) -> bytes:
    """Return the message that tells a mail's sender what became of it; `status` is an RFC 3463 code."""
    subject = {"delivered": "Successful Mail Delivery Report", "delayed": "Delayed Mail"}.get(
        action, "Undelivered Mail"
    )
    text = f"This is the mail system at host {HOST}.\n\n<{recipient}>: {action} ({status}): {diagnostic}\n"
    per_message = f"Reporting-MTA: dns; {HOST}\nArrival-Date: {formatdate(mail.t)}\n"
    if mail.message_id:
        per_message += f"X-Original-Message-ID: {mail.message_id}\n"
    per_recipient = f"Final-Recipient: rfc822; {recipient}\nOriginal-Recipient: rfc822; {recipient}\n"
    per_recipient += f"Action: {action}\nStatus: {status}\nDiagnostic-Code: smtp; {diagnostic}\n"
    if action == "failed":
        per_recipient += f"Remote-MTA: dns; {HOST}\nLast-Attempt-Date: {formatdate(time.time())}\n"
    report = MIMENonMultipart("message", "delivery-status")
    # Its content is groups of header fields, which the library keeps as messages without a body.
    report.set_payload([_block(per_message), _block(per_recipient)])
    sender = f"Mail Delivery System <MAILER-DAEMON@{HOST}>"
    return _report("delivery-status", sender, mail.sender, subject, text, report, mail)


def complaint(mail: Mail, recipient: str, *, feedback: str) -> bytes:
    """Return the message with which a mailbox provider passes on that somebody called a mail spam."""
    fields = f"Feedback-Type: {feedback}\nUser-Agent: Sandbox-FBL/1.0\nVersion: 1\n"
    fields += f"Original-Mail-From: <{mail.sender}>\nOriginal-Rcpt-To: <{recipient}>\n"
    fields += f"Arrival-Date: {formatdate(mail.t)}\nReported-Domain: {mail.sender.rpartition('@')[2] or HOST}\n"
    text = f"This is an email abuse report for a message received on {formatdate(mail.t)}.\n"
    report = MIMENonMultipart("message", "feedback-report")
    report.set_payload(fields)
    sender = f"Feedback Loop <fbl@{HOST}>"
    return _report("feedback-report", sender, mail.sender, "Abuse report", text, report, mail)


def _report(kind: str, sender: str, to: str, subject: str, text: str, report: Message, mail: Mail) -> bytes:
    message = MIMEMultipart("report")
    message.set_param("report-type", kind)
    message["From"] = sender
    message["To"] = to or f"postmaster@{HOST}"
    message["Subject"] = subject
    message["Date"] = formatdate(time.time())
    message["Message-ID"] = make_msgid(domain=HOST)
    message["Auto-Submitted"] = "auto-replied"
    message.attach(MIMEText(text, "plain", "utf-8"))
    message.attach(report)
    message.attach(MIMEMessage(BytesParser(policy=compat32).parsebytes(mail.raw)))
    return message.as_bytes(policy=SMTP)


def _block(fields: str) -> Message:
    return Parser(policy=compat32).parsestr(fields + "\n")
