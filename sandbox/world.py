"""The state of the sandbox. It changes only through events: written to the journal, then applied, under one lock."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from sandbox.callbacks import Callback
from sandbox.chats import Chats
from sandbox.faults import Faults
from sandbox.fields import BadInput, Json
from sandbox.gateways.accounts import Accounts, default
from sandbox.gateways.register import Register
from sandbox.hooks.store import Hooks
from sandbox.journal import Journal
from sandbox.limits import Gate, Limits
from sandbox.log import Log
from sandbox.mail.mailbox import Mailbox
from sandbox.media import MediaStore
from sandbox.numbers import Numbers
from sandbox.outbox import Batch, Outbox
from sandbox.people import People
from sandbox.reducers import REDUCERS
from sandbox.sender import Posting, Sender, webhook
from sandbox.settings import Settings
from sandbox.stats import Stats
from sandbox.templates import Templates
from sandbox.updates import envelope, signature

_log = logging.getLogger("sandbox")
_PATIENCE = 3.0


class World:
    """Everything the sandbox knows. Hold `lock` over what must not change between looking and committing."""

    people: People
    chats: Chats
    log: Log
    stats: Stats
    gate: Gate
    templates: Templates
    outbox: Outbox
    media: MediaStore
    numbers: Numbers
    faults: Faults
    accounts: Accounts
    register: Register
    mailbox: Mailbox
    hooks: Hooks

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.journal = Journal(settings.folder / "journal.jsonl" if settings.journal else None)
        self.numbers = Numbers(settings.number)
        self.outbox = Outbox()
        self.sender = Sender(self.outbox, self._render, self._posted)
        self.faults = Faults()
        self.media = MediaStore(settings.folder / "media")
        self.started = time.time()
        self.empty()
        self.replaying = True
        self.replayed = self.journal.replay(self._remember)
        self.replaying = False
        self.sender.start()

    @property
    def default_accounts(self) -> Accounts:
        """The gateways' accounts when no script has changed them."""
        return default(self.settings.number)

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self.outbox.limits

    def empty(self) -> None:
        """Begin with nothing but the numbers."""
        self.people = People()
        self.chats = Chats(self.people)
        self.log = Log()
        self.stats = Stats()
        self.gate = Gate()
        self.templates = Templates()
        self.outbox.limits = Limits()
        self.accounts = self.default_accounts
        self.register = Register()
        self.mailbox = Mailbox()
        self.hooks = Hooks()

    def commit(self, event: Json) -> Any:
        """Write an event to the journal and apply it."""
        with self.lock:
            self.journal.append(event)
            result = self._apply(event)
            if self.journal.large:
                self.compact()
            return result

    def compact(self) -> None:
        """Rewrite the journal as the shortest story that ends in this world."""
        with self.lock:
            self.journal.rewrite(self._snapshot())

    def clear(self) -> None:
        """Forget everything but the numbers. A webhook under way is waited for, so that none comes later."""
        with self.lock:
            version = self.chats.version
            self.outbox.clear()
            self.media.clear()
            self.faults.put({"rules": []})
            self.empty()
            self.chats.version = version + 1
            self.compact()
        self.outbox.settle(_PATIENCE)

    def _apply(self, event: Json) -> Any:
        return REDUCERS[event["k"]](self, event)

    def _remember(self, event: Json) -> None:
        """Apply an event of an earlier life; one that cannot be applied must not keep the sandbox from starting."""
        try:
            self._apply(event)
        except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
            _log.warning("An event of kind %r was left out: %r.", event.get("k"), error)

    def _render(self, batch: Batch) -> Posting | None:
        """Return the request that carries a batch; None when its number is gone, and with it the wish to hear of it."""
        first = batch.updates[0]
        if isinstance(first, Callback):
            body, headers = first.request(self.accounts.named(first.kind).secret)
            return Posting(first.url, body, headers)
        number = self.numbers.get(batch.num)
        if number is None:
            return None
        body = envelope(number, [update for update in batch.updates if not isinstance(update, Callback)])
        return webhook(number.target, body, signature(number.app_secret, body))

    def _posted(self, batch: Batch, error: str | None) -> None:
        """Take note of a webhook request that was made."""
        if not self.outbox.owns(batch):
            return
        if error is None:
            self.commit({"k": "done", "u": [update.uid for update in batch.updates]})
        else:
            self.commit({"k": "failed"})

    def _snapshot(self) -> Iterator[Json]:
        """Yield the events a fresh world would have to apply to be this one."""
        yield from self.numbers.snapshot()
        yield {"k": "limits", "limits": self.limits.public()}
        yield from self.faults.snapshot()
        yield from self.templates.snapshot()
        yield from self.media.snapshot()
        yield from self.people.snapshot()
        yield from self.chats.snapshot()
        yield from self.log.snapshot()
        yield from self.outbox.snapshot()
        yield from self.stats.snapshot()
        yield {"k": "gateways", "gateways": self.accounts.changes(self.default_accounts)}
        yield from self.register.snapshot()
        yield from self.mailbox.snapshot()
        yield from self.hooks.snapshot()
