"""Handing a message to a mail server. Three results: accepted, refused, or nobody knows.

The moment that matters is the final dot: before it the server has no message, so anything may be tried again; after
it and without a reply, the server may have taken it.
"""

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from crm_tasks.config import settings
from crm_tasks.providers import tape
from crm_tasks.providers.mail import codes
from crm_tasks.providers.mail.codes import Kind
from crm_tasks.providers.mail.compose import Composed
from crm_tasks.providers.provider import CHECK_TIMEOUT, Accepted, Action, Checked, Refusal, Result, Unknown


class Security(StrEnum):
    """How the way to the server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server that takes our messages. `cafile` holds certificates to trust beside the system's."""

    host: str
    port: int
    security: Security = Security.STARTTLS
    user: str = ""
    password: str = field(default="", repr=False)
    cafile: str = ""


class Step(StrEnum):
    """What was being done when the server said no."""

    HELLO = "connecting"
    TLS = "starting TLS"
    LOGIN = "logging in"
    SENDER = "naming the sender"
    RECIPIENT = "naming the recipient"
    DATA = "sending the message"


# Where in the dialogue a no is about us or the server rather than about the recipient.
_ABOUT_US = (Step.HELLO, Step.TLS, Step.LOGIN)
_ACTIONS = {
    Kind.AGAIN: Action.RETRY,
    Kind.FULL: Action.RETRY,
    Kind.ADDRESS: Action.PERSON,
    Kind.DISABLED: Action.PERSON,
    Kind.OURS: Action.STOP,
    Kind.SIZE: Action.MESSAGE,
    Kind.POLICY: Action.MESSAGE,
    Kind.MESSAGE: Action.MESSAGE,
}


def send(server: Server, mail: Composed, *, timeout: float | None = None) -> Result:
    """Hand one message to a server.

    Args:
        timeout: seconds for all of it, from the name's resolution to the reply after the final dot.
    """
    client = _Client(time.monotonic() + (timeout or settings().http_timeout))
    step = Step.HELLO
    with tape.dialogue(f"{server.host}:{server.port}, {server.security}", mail.data) as heard:
        try:
            with _deadline(client), _closing(client):
                for step, act in _dialogue(client, server, mail):
                    code, text = act()
                    heard(step, f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}")
                    if not 200 <= code < 300:
                        return refusal(step, code, text)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            heard(step, f"{type(error).__name__}: {error}")
            return _broken(client, step, error)
    # The server's own id has no standard place in its reply, and bounces name ours.
    return Accepted(str(mail.message_id))


def check(server: Server) -> Checked:
    """Go as far as the login, and send nothing."""
    client = _Client(time.monotonic() + CHECK_TIMEOUT)
    step = Step.HELLO
    try:
        with _deadline(client), _closing(client):
            for step, act in _entrance(client, server):
                code, text = act()
                if not 200 <= code < 300:
                    return Checked(False, refusal(step, code, text).message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        broken = _broken(client, step, error)
        return Checked(False, broken.message if isinstance(broken, Refusal) else type(error).__name__)
    return Checked(True, "the server takes us" + (" and our login" if server.user else ""))


def _dialogue(client: "_Client", server: Server, mail: Composed) -> Iterator[tuple[Step, Any]]:
    yield from _entrance(client, server)
    options = [f"SIZE={len(mail.data)}"] if client.has_extn("size") else []
    if client.has_extn("dsn"):  # RFC 3461: a bounce then names our id, and returns headers rather than all of it
        options += ["RET=HDRS", f"ENVID={mail.message_id}"]
    yield Step.SENDER, lambda: client.mail(mail.sender, options)
    yield Step.RECIPIENT, lambda: client.rcpt(mail.to)
    yield Step.DATA, lambda: client.deliver(mail.data)


def _entrance(client: "_Client", server: Server) -> Iterator[tuple[Step, Any]]:
    yield Step.HELLO, lambda: client.reach(server)
    yield Step.HELLO, client.hello
    if server.security is Security.STARTTLS:
        yield Step.TLS, lambda: client.starttls(context=_context(server))
        yield Step.TLS, client.hello
    if server.user:
        yield Step.LOGIN, lambda: client.login(server.user, server.password)


def refusal(step: Step, code: int, text: bytes | str) -> Refusal:
    """Return what a reply of 400 and above means. Its text stays out: it may name the recipient."""
    said = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    status = codes.enhanced(said)
    told = f"{code} {status}" if status and not status.endswith(".0.0") else str(code)
    if code < 500:
        return Refusal(Action.RETRY, code, f"{told} while {step}: not now")
    kind, meaning = codes.meaning(code, status)
    action = _ACTIONS[kind]
    if step in _ABOUT_US or (step is Step.SENDER and kind is not Kind.SIZE and action is not Action.RETRY):
        action = Action.STOP
    elif step is Step.SENDER and kind is Kind.FULL:  # RFC 1870: announced as too big
        action, kind, meaning = Action.MESSAGE, Kind.SIZE, codes.ENHANCED["3.4"][1]
    elif step is Step.DATA and kind is Kind.ADDRESS and status is None:
        # A bare 550 after the content is about the content: the recipient was taken a moment before.
        action, kind, meaning = Action.MESSAGE, Kind.POLICY, "refused after the content was seen"
    verdict = codes.VERDICTS.get(kind) if step in (Step.RECIPIENT, Step.DATA) else None
    return Refusal(action, code, f"{told} while {step}: {meaning}", verdict=verdict)


def _broken(client: "_Client", step: Step, error: Exception) -> Result:
    """Return what a dialogue without a reply means."""
    reason = "Timeout" if client.late() else type(error).__name__
    if client.dotted:
        return Unknown(f"no reply after the final dot: {reason}")
    if type(error) is smtplib.SMTPException and step is Step.LOGIN:
        return Refusal(Action.STOP, -1, "the server offers no way to log in that we know")
    match error:
        case smtplib.SMTPResponseException():
            return refusal(step, error.smtp_code, error.smtp_error)
        case smtplib.SMTPNotSupportedError():
            return Refusal(Action.STOP, -1, f"the server has not what is needed for {step}")
        case ssl.SSLCertVerificationError() if not client.late():
            return Refusal(Action.STOP, -1, f"the server's certificate is not good: {error.verify_message}")
    return Refusal(Action.RETRY, -1, f"no connection while {step}: {reason}")


def _context(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.cafile:
        context.load_verify_locations(server.cafile)
    return context


# --- the client --------------------------------------------------------------------------------------------------


class _Client(smtplib.SMTP):
    """smtplib's, with one deadline over everything, and with the final dot as a moment of its own."""

    def __init__(self, end: float) -> None:
        super().__init__(local_hostname=_own_name(), timeout=settings().http_timeout)
        self.end = end
        self.dotted = False
        self._cut = False

    def late(self) -> bool:
        return self._cut or time.monotonic() >= self.end

    def reach(self, server: Server) -> tuple[int, bytes]:
        """Connect, by TLS at once if that is how the server has it, and read the greeting."""
        self._host = server.host  # the name that a certificate must have
        self._wrap = _context(server) if server.security is Security.TLS else None
        return self.connect(server.host, server.port)

    def hello(self) -> tuple[int, bytes]:
        code, text = self.ehlo()
        return (code, text) if 200 <= code < 300 else self.helo()

    def deliver(self, data: bytes) -> tuple[int, bytes]:
        """Send the message. What breaks before the dot leaves the server with nothing."""
        code, text = self.docmd("DATA")
        if code != 354:
            return code if code >= 400 else 451, text
        body = smtplib._quote_periods(data)  # type: ignore[attr-defined]
        self.send(body if body.endswith(b"\r\n") else body + b"\r\n")
        self.dotted = True
        self.send(b".\r\n")
        code, text = self.getreply()
        self.dotted = False
        return code, text

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        if not 200 <= code < 600:  # -1 is what smtplib makes of a reply without a number
            self.close()
            raise smtplib.SMTPServerDisconnected("a reply without a code")
        return code, text

    def cut(self) -> None:
        """End the connection from outside: a reply that trickles would keep a worker for ever."""
        self._cut = True
        if self.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        error: OSError = OSError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(max(0.05, min(settings().http_connect_timeout, self.end - time.monotonic())))
                made.connect(address)
                made.settimeout(max(0.05, self.end - time.monotonic()))
                # Known from now on, so that the deadline reaches a handshake too.
                self.sock = made
                return self._wrap.wrap_socket(made, server_hostname=host) if self._wrap else made
            except OSError as problem:
                made.close()
                self.sock, error = None, problem
        raise error


@contextmanager
def _deadline(client: _Client) -> Iterator[None]:
    timer = threading.Timer(max(0.05, client.end - time.monotonic()), client.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _closing(client: _Client) -> Iterator[None]:
    """Say goodbye, but never let a goodbye change what has happened."""
    try:
        yield
    finally:
        dotted = client.dotted
        with suppress(OSError, smtplib.SMTPException, ValueError):
            if client.sock is not None and not dotted and not client.late():
                client.sock.settimeout(max(0.05, min(1.0, client.end - time.monotonic())))
                client.docmd("QUIT")
        client.close()
        client.dotted = dotted


def _own_name() -> str:
    """Return the name that we greet with: of the public address, as the machine's own often means nothing outside."""
    host = urlsplit(settings().public_url).hostname or ""
    return host if "." in host else "[127.0.0.1]"
