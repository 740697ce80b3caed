"""The SMTP server: takes every mail and delivers none, unless a fault says otherwise.

A fault of kind `smtp` whose path matches `RCPT` meets each recipient; one that matches `DATA`, or has no path, meets
the whole message once it has been transferred, with all its recipients.
"""

import asyncio
import logging
import threading
import time
from hmac import compare_digest
from pathlib import Path
from typing import Any

import orjson
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sandbox.faults import Effect
from sandbox.fields import Json
from sandbox.ids import random_id
from sandbox.intake import Intake
from sandbox.mail.certificate import context
from sandbox.mail.mailbox import Mail, facts
from sandbox.mail.replies import words
from sandbox.settings import SMTP_HOST
from sandbox.world import World

RCPT, DATA = "/smtp/RCPT", "/smtp/DATA"
_STARTED_WITHIN = 10.0
_TICK = 0.02
_CUT = "421 4.4.2 Connection dropped"


class Server:
    """A thread of its own with an event loop. Each connection has the settings that hold when it begins."""

    def __init__(self, world: World, port: int, folder: Path) -> None:
        self._world = world
        self._started = threading.Event()
        self._problem: OSError | None = None
        self.host, self.port = SMTP_HOST, port
        self._tls, self.certificate = context(folder)
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # each line of each session

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="smtp", daemon=True).start()
        self._started.wait(_STARTED_WITHIN)
        if self._problem is not None:
            raise self._problem

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: self._connection(loop), self.host, self.port)
        except OSError as problem:
            self._problem = problem
            return
        finally:
            self._started.set()
        await server.serve_forever()

    def _connection(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        wanted = self._world.accounts.smtp
        return SMTP(
            Handler(self._world),
            loop=loop,
            hostname="sandbox",
            ident="ESMTP sandbox",
            enable_SMTPUTF8=True,
            data_size_limit=wanted.largest,
            tls_context=None if wanted.starttls == "off" else self._tls,
            require_starttls=wanted.starttls == "required",
            auth_require_tls=False,
            authenticator=self._authenticated,
        )

    def _authenticated(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
    ) -> AuthResult:
        wanted = self._world.accounts.smtp
        if wanted.user is None or wanted.password is None:
            return AuthResult(success=True)
        right = compare_digest(given.login, wanted.user.encode())
        right &= compare_digest(given.password, wanted.password.encode())
        return AuthResult(success=right, handled=False, message=None if right else words(535))


class Handler:
    """What one connection is answered with."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the sender, if whoever speaks may send."""
        if self._world.accounts.smtp.user is not None and not session.authenticated:
            return words(530)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, unless a fault that names this stage objects."""
        effect = self._world.faults.meet("smtp", RCPT, address, named=True)
        here = self._intake(RCPT, {"from": envelope.mail_from, "to": [address]}, address, effect)
        await self._wait(effect.delay)
        if effect.drop:
            here.log(None, b"null", cut=True)
            return await _drop(server)
        if effect.refusal:
            return _refuse(server, here, effect.refusal)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message, unless a fault objects."""
        recipients = [str(address) for address in envelope.rcpt_tos]
        raw = envelope.original_content or b""
        found = facts(random_id("ML"), time.time(), "smtp", envelope.mail_from or "", recipients, raw)
        mail = Mail(found)
        effect = self._world.faults.meet("smtp", DATA, " ".join(recipients))
        shown = {"from": mail.sender, "to": recipients, "subject": mail.subject, "size": len(raw)}
        here = self._intake(DATA, shown, ", ".join(recipients), effect)
        here.biz = mail.message_id or None
        await self._wait(effect.delay)
        if effect.drop == "before":
            here.log(None, b"null", cut=True)
            return await _drop(server)
        if effect.refusal and not effect.refusal.get("accept"):
            return _refuse(server, here, effect.refusal)
        reply = f"250 2.0.0 OK: queued as {mail.id}"
        if effect.refusal:
            reply = _reply(effect.refusal)
        self._take(here, mail, found, None if effect.drop else reply)
        return await _drop(server) if effect.drop else reply

    def _take(self, here: Intake, mail: Mail, found: Json, reply: str | None) -> None:
        """Keep a mail; one with a known Message-ID and the same recipients is kept too, and counted as sent twice."""
        world = self._world
        key = f"smtp\n{mail.message_id}\n{mail.recipients}" if mail.message_id else None
        more: Json = {"cut": True} if reply is None else {}
        with world.lock:
            more["twice"] = key is not None and key in world.register
            status = int(reply[:3]) if reply else None
            event = here.facts("took", status, orjson.dumps(reply), id=mail.id, key=key, calls=[], mail=found, **more)
            world.commit(event)

    def _intake(self, path: str, body: Json, to: str, effect: Effect) -> Intake:
        stage = path.rpartition("/")[2]
        return Intake(self._world, "smtp", path, stage, orjson.dumps(body), "", time.time(), effect, to=to)

    async def _wait(self, seconds: float) -> None:
        """Wait as a fault says; other connections go on. When the faults change the wait is over."""
        if not seconds:
            return
        faults = self._world.faults
        until, generation = time.monotonic() + seconds, faults.generation
        while (left := until - time.monotonic()) > 0 and faults.generation == generation:
            await asyncio.sleep(min(_TICK, left))


def _reply(action: Json) -> str:
    """Return the reply a fault asks for, in one line."""
    text = action.get("body")
    return words(action["status"], " ".join(text.split()) if isinstance(text, str) else None)


def _refuse(server: SMTP, here: Intake, action: Json) -> str:
    reply = _reply(action)
    here.log(action["status"], orjson.dumps(reply), code=action["status"])
    if action["status"] == 421 and server.transport is not None:
        # RFC 5321 3.8: whoever says this hangs up; what is written already is sent before.
        asyncio.get_running_loop().call_soon(server.transport.close)
    return reply


async def _drop(server: SMTP) -> str:
    """End the connection without a word; losing it cancels whoever waits here."""
    transport: Any = server.transport
    if transport is not None:
        transport.abort()
    await asyncio.sleep(_STARTED_WITHIN)
    return _CUT
