"""Mail as servers and mailbox providers send it back (RFC 3464, RFC 5965)."""

from tests.providers.mails import ID


def returned_headers() -> str:
    """Return the headers of ours that are returned."""
    return (
        f"From: shop@example.com\r\nTo: ann@example.net\r\nMessage-ID: <{ID}@example.com>\r\nX-CRM-Message: {ID}\r\n"
        "Subject: Hello\r\n"
    )


def bounce(
    *,
    action: str = "failed",
    status: str = "5.1.1",
    diagnostic: str = "smtp; 550 5.1.1 no such user",
    to: str = f"bounces+{ID.hex}@example.com",
    envelope_id: str = "",
    headers: str | None = None,
    headers_type: str = "message/rfc822",
    recipient: str = "ann@example.net",
    more: str = "",
) -> bytes:
    """Return a bounce."""
    envelope = f"Original-Envelope-Id: {envelope_id}\r\n" if envelope_id else ""
    headers = returned_headers() if headers is None else headers
    said = f"Diagnostic-Code: {diagnostic}\r\n" if diagnostic else ""
    return (
        f"Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nTo: {to}\r\nAuto-Submitted: auto-replied\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"\r\n\r\n'
        "--=_b\r\nContent-Type: text/plain\r\n\r\nI am sorry: 5.2.2 mailbox full, says the text.\r\n"
        "--=_b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; mx.example.net\r\n{envelope}\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n{said}{more}\r\n"
        f"--=_b\r\nContent-Type: {headers_type}\r\n\r\n{headers}\r\n--=_b--\r\n"
    ).encode("latin-1")


def complaint(*, kind: str = "abuse", recipient: str = "ann@example.net", headers: str | None = None) -> bytes:
    """Return a complaint by way of a feedback loop."""
    return (
        "From: fbl@mailbox.example\r\nTo: abuse@example.com\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="=_c"\r\n\r\n'
        "--=_c\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"
        "--=_c\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nUser-Agent: FBL/1.0\r\nVersion: 1\r\nOriginal-Rcpt-To: <{recipient}>\r\n\r\n"
        f"--=_c\r\nContent-Type: message/rfc822\r\n\r\n{returned_headers() if headers is None else headers}\r\nHi\r\n"
        "--=_c--\r\n"
    ).encode("latin-1")
