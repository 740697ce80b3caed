"""Customers writing under load, with a provider between that behaves like Meta: it sends a webhook until it gets a 200.

What got no 200 is sent again, although it may have been stored; and now and then what was acknowledged comes twice.
"""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import requests

from tests import payloads
from tests.fixtures import Demo

AT_ONCE = 48
# Of a hundred acknowledged webhooks so many come again.
TWICE = 2
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 2.0
_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a customer, as a webhook."""

    number: int
    wamid: str
    wa_id: str
    body: bytes


@dataclass(slots=True)
class Door:
    """What happened at the web app's door."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    on_purpose: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Customers:
    """`count` messages at `rate` a second; `speak` sends them on threads of its own, `join` waits for the last."""

    def __init__(self, url: str, demo: Demo, *, count: int, rate: float, seed: int) -> None:
        self._url, self._secret, self._rate = url, demo.app_secret, rate
        self._some = random.Random(seed)
        people = [f"1650{number:07d}" for number in self._some.sample(range(10**7), max(1, count // 4))]
        self.said = [self._message(demo, number, self._some.choice(people)) for number in range(count)]
        self._demo = demo
        self.door = Door()
        self.spoken = 0
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._local = threading.local()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._speak, name="customers")

    def _message(self, demo: Demo, number: int, wa_id: str) -> Said:
        wamid = f"wamid.{self._some.randbytes(16).hex().upper()}{number:06d}"
        words = {"body": f"Question {number}: where is my order?"}
        message = payloads.message(wa_id, id=wamid, at=int(time.time()), text=words)
        return Said(number, wamid, wa_id, payloads.raw(payloads.told(demo, messages=[message])))

    def speak(self) -> None:
        """Begin."""
        self._thread.start()

    def one_more(self) -> None:
        """Send one message after all others, and return when it is acknowledged."""
        said = self._message(self._demo, len(self.said), self.said[-1].wa_id)
        self.said.append(said)
        self._tell(said, twice=False)

    def give_up(self) -> None:
        """Stop sending."""
        self._given_up.set()

    def unacknowledged(self) -> int:
        """Return how many messages have had no 200 yet."""
        return len(self.said) - len(self.door.acknowledged)

    def join(self, timeout: float) -> None:
        """Wait until every message is acknowledged.

        Raises:
            TimeoutError: some are not.
        """
        self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        if self._thread.is_alive():
            raise TimeoutError(f"{self.unacknowledged()} webhooks are still not acknowledged")

    def _speak(self) -> None:
        start = time.monotonic()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                told = []
                for said in self.said[:]:
                    self._given_up.wait(max(0.0, start + said.number / self._rate - time.monotonic()))
                    self.spoken = said.number + 1
                    told.append(pool.submit(self._tell, said, twice=self._some.randrange(100) < TWICE))
                for each in told:
                    each.result()
        except BaseException as error:  # noqa: BLE001  the main thread raises it
            self.error = error

    def _tell(self, said: Said, *, twice: bool) -> None:
        wait = _FIRST_WAIT
        while not self._post(said):
            if self._given_up.wait(wait):
                return
            wait = min(wait * 2, _LONGEST_WAIT)
        with self._lock:
            self.door.acknowledged.setdefault(said.wamid, time.time())
        if twice:
            self.door.on_purpose += 1
            self._post(said)

    def _post(self, said: Said) -> bool:
        outcome = "no answer"
        with suppress(requests.RequestException):
            headers = payloads.signed(self._secret, said.body)
            answer = self._http.post(self._url, data=said.body, headers=headers, timeout=_TIMEOUT)
            outcome = str(answer.status_code)
        with self._lock:
            self.door.requests += 1
            if outcome != "200":
                self.door.refused[outcome] += 1
        return outcome == "200"

    @property
    def _http(self) -> requests.Session:
        """Return this thread's own connection."""
        if not hasattr(self._local, "http"):
            self._local.http = requests.Session()
            self._local.http.trust_env = False
        return self._local.http
