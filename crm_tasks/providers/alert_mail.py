"""Notifications by e-mail, over the system's own mail server: ALERT_SMTP_URL, such as smtp://user:pass@host:587."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from crm_tasks.config import settings
from crm_tasks.core.errors import Permanent, Transient

TIMEOUT = 10.0
_PORTS = {"smtp": 587, "smtps": 465}


def send(address: str, told: dict[str, Any], *, message_id: str) -> None:
    """Send one notification.

    Args:
        told: `severity`, `title`, `text`, `link`, `count` of the notification.
        message_id: the same for every try, so that mailboxes can see that it is one.

    Raises:
        Transient: the server was away or said "later". Permanent: it refused, or none is set.
    """
    if not settings().alert_smtp_url:
        raise Permanent("ALERT_SMTP_URL is not set: there is no mail server for notifications", code="no_mail_server")
    mail = _mail(address, told, message_id)
    try:
        with _connected() as server:
            _log_in(server)
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        raise _refused(next(iter(error.recipients.values()))[0]) from None
    except smtplib.SMTPResponseException as error:
        raise _refused(error.smtp_code) from None
    except (smtplib.SMTPException, OSError) as error:
        raise Transient(f"the mail server did not answer: {type(error).__name__}", code="smtp_no_answer") from None


def _refused(code: int) -> Transient | Permanent:
    """Return what a reply means: 4xx is "later", 5xx "never" (RFC 5321, 4.2.1)."""
    kind = Permanent if code >= 500 else Transient
    return kind(f"the mail server answered {code}", code=f"smtp_{code}")


def _mail(address: str, told: dict[str, Any], message_id: str) -> EmailMessage:
    config = settings()
    mail = EmailMessage()
    mail["From"], mail["To"] = config.alert_from, address
    mail["Subject"] = _line(f"[{told['severity']}] {told['title']}")
    mail["Date"] = formatdate(usegmt=True)
    mail["Message-ID"] = f"<{message_id}@{parseaddr(config.alert_from)[1].rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    times = f"\n\nThis has happened {told['count']} times since {told['first_at']}." if told["count"] > 1 else ""
    link = f"\n\n{config.public_url.rstrip('/')}{told['link']}" if told["link"] and config.public_url else ""
    mail.set_content(f"{told['text']}{times}{link}\n")
    return mail


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


def _connected() -> smtplib.SMTP:
    url = urlsplit(settings().alert_smtp_url)
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=TIMEOUT)


def _log_in(server: smtplib.SMTP) -> None:
    url = urlsplit(settings().alert_smtp_url)
    if url.scheme == "smtp" and parse_qs(url.query).get("starttls", ["0"])[0] in ("1", "true", "yes"):
        server.starttls(context=ssl.create_default_context())
    if url.username:
        server.login(unquote(url.username), unquote(url.password or ""))
