"""A mail server that does what it is told, a line each: what a client meets on a bad day."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class MailServer:
    """Speaks just enough SMTP. `replies` overrides the answer to a command, `cut` hangs up at a moment.

    Moments are `connect`, a command such as `RCPT`, `body` (within the message), `dot` (after the final dot).
    """

    replies: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    trickle: str = ""
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    offers: tuple[str, ...] = ("SIZE 31457280", "DSN", "AUTH PLAIN LOGIN")
    received: list[bytes] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._session, args=(raw,), daemon=True).start()

    def _session(self, raw: socket.socket) -> None:
        with suppress(OSError, EOFError), raw:
            if self.cut == "connect":
                return
            link = self.tls.wrap_socket(raw, server_side=True) if self.tls and self.implicit else raw
            self._say(link, "connect", "220 test ESMTP")
            self._dialogue(link)

    def _dialogue(self, link: socket.socket) -> None:
        file = link.makefile("rb")
        while line := file.readline():
            self.commands.append(line.decode().strip())
            verb = line.split()[0].decode().upper()
            if self.cut == verb:
                return
            if verb == "STARTTLS" and self.tls and verb not in self.replies:
                link.sendall(b"220 go on\r\n")
                link = self.tls.wrap_socket(link, server_side=True)
                file = link.makefile("rb")
            elif verb == "DATA":
                self._say(link, "DATA", "354 go on")
                if self.replies.get("DATA", "354").startswith("354"):
                    self._take(link, file)
            else:
                self._say(link, verb, self._usual(verb))
                if verb == "QUIT":
                    return

    def _take(self, link: socket.socket, file: Any) -> None:
        if self.cut == "body":
            file.readline()
            link.shutdown(socket.SHUT_RDWR)
            raise EOFError
        data = b""
        while (line := file.readline()) not in (b".\r\n", b""):
            data += line[1:] if line.startswith(b".") else line
        if not line:
            raise EOFError
        self.received.append(data)
        if self.cut == "dot":
            raise EOFError
        self._say(link, "dot", "250 2.0.0 taken")

    def _usual(self, verb: str) -> str:
        if verb != "EHLO":
            return {"AUTH": "235 2.7.0 welcome", "QUIT": "221 bye"}.get(verb, "250 ok")
        offers = [*self.offers, *(["STARTTLS"] if self.tls and not self.implicit else [])]
        return "\r\n".join(f"250-{each}" for each in ("test", *offers)) + "\r\n250 HELP"

    def _say(self, link: socket.socket, moment: str, usual: str) -> None:
        text = self.replies.get(moment, usual).encode() + b"\r\n"
        if self.trickle == moment:
            for byte in b"250-" + b"x" * 200:
                link.sendall(bytes([byte]))
                threading.Event().wait(0.05)
        link.sendall(text)


@contextmanager
def mail_server(**how: Any) -> Iterator[MailServer]:
    """Run one on a free port."""
    made = MailServer(**how)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]
        threading.Thread(target=made.serve, args=(listener,), daemon=True).start()
        try:
            yield made
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
