"""The threads that post webhooks. Only a 200 within the time limit counts as delivered; everything else comes again.

Of a gateway's callbacks any 2xx is good enough.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from queue import SimpleQueue

import requests

from sandbox.outbox import Batch, Outbox

THREADS = 12
CONNECT_TIMEOUT = 3.05
Done = Callable[[Batch, str | None], None]


@dataclass(frozen=True, slots=True)
class Posting:
    """One request as it goes out."""

    url: str
    body: bytes
    headers: dict[str, str]


class Sender:
    """One thread hands out what is due, a small pool posts it."""

    def __init__(self, outbox: Outbox, render: Callable[[Batch], Posting | None], done: Done) -> None:
        self._outbox = outbox
        self._render = render
        self._done = done
        self._work: SimpleQueue[Batch] = SimpleQueue()

    def start(self) -> None:
        """Start the threads; they end with the process."""
        self._outbox.start()
        threading.Thread(target=self._hand_out, name="webhooks", daemon=True).start()
        for n in range(THREADS):
            threading.Thread(target=self._post_all, name=f"webhooks-{n}", daemon=True).start()

    def _hand_out(self) -> None:
        while True:
            for batch in self._outbox.take():
                self._work.put(batch)

    def _post_all(self) -> None:
        session = new_session()
        while True:
            batch = self._work.get()
            if not self._outbox.owns(batch):
                self._outbox.finished(batch, None, answered=True)
                continue
            error, answered = self._post(session, batch)
            try:
                self._done(batch, error)
            except OSError as problem:  # the journal's disk: rather twice than never
                error = f"The journal cannot be written: {problem.strerror}."
            self._outbox.finished(batch, error, answered=answered)

    def _post(self, session: requests.Session, batch: Batch) -> tuple[str | None, bool]:
        """Post a batch; return what went wrong, and whether there was an answer at all."""
        posting = self._render(batch)
        if posting is None:
            return None, True
        try:
            answer = send(session, posting, self._outbox.limits.webhook_timeout)
        except (requests.RequestException, ValueError) as problem:
            return plain(problem), False
        good = 200 <= answer.status_code < 300 if batch.lane.alone else answer.status_code == 200
        return (None if good else f"The web app answered {answer.status_code}."), True


def new_session() -> requests.Session:
    """Return a session that keeps connections but neither cookies nor anybody's proxy settings."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def webhook(url: str, body: bytes, signed: str | None, kind: str = "application/json") -> Posting:
    """Return the request that carries a webhook's bytes with their signature."""
    headers = {"Content-Type": kind, "User-Agent": "facebookexternalua"}
    if signed is not None:
        headers["X-Hub-Signature-256"] = signed
    return Posting(url, body, headers)


def send(session: requests.Session, posting: Posting, timeout: float) -> requests.Response:
    """Post a request; a redirect is an answer like any other."""
    limits = (min(CONNECT_TIMEOUT, timeout), timeout)
    return session.post(posting.url, data=posting.body, headers=posting.headers, timeout=limits, allow_redirects=False)


def plain(problem: Exception) -> str:
    """Say in a few words why there was no answer."""
    if isinstance(problem, requests.Timeout):
        return f"No answer in time at {time.strftime('%H:%M:%S')}."
    if isinstance(problem, requests.ConnectionError):
        return "The web app cannot be reached."
    return f"The request failed: {type(problem).__name__}."
