"""A shop that writes e-mails to a mail server of ours, a worker that sends them, and a mailbox to look into."""

import email
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tests.core.conftest import end, started
from tests.email.shop import Shop, make_shop
from tests.harness import Program, beat, free_ports, worker
from tests.messages.conftest import QUICK


@dataclass
class Mailbox:
    """What a mail server took; `say` is what it says to recipients, one after the other, then `250`."""

    port: int
    taken: list[Envelope] = field(default_factory=list)
    say: list[str] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        """Answer a recipient."""
        if self.say:
            return self.say.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        """Take a message."""
        self.taken.append(envelope)
        return "250 2.0.0 taken"

    def mails(self) -> list[EmailMessage]:
        """Return what was taken, read."""
        found = [
            email.message_from_bytes(each.original_content or b"", policy=email.policy.default) for each in self.taken
        ]
        return [each for each in found if isinstance(each, EmailMessage)]


@pytest.fixture(scope="module")
def server() -> Iterator[Mailbox]:
    """A mail server for the whole module."""
    made = Mailbox(free_ports(1)[0])
    running = Controller(made, hostname="127.0.0.1", port=made.port, data_size_limit=40 * 1024 * 1024)
    running.start()
    yield made
    running.stop()


@pytest.fixture
def mailbox(server: Mailbox) -> Mailbox:
    """An empty mailbox."""
    server.taken.clear()
    server.say.clear()
    return server


@pytest.fixture
def shop(empty: None, mailbox: Mailbox) -> Shop:
    """A business with a channel that is the mail server."""
    return make_shop(port=mailbox.port)


@pytest.fixture(scope="module")
def sender(stores: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker for e-mails, and a scheduler."""
    log, quick = tmp_path_factory.mktemp("email"), QUICK | {"QUEUE_EMAIL_BACKOFF": "0.2"}
    programs = [beat(log, **quick), worker(log, "email", "messages", name="email", **quick)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)
