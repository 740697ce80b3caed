"""From a customer's webhook to the answer at the provider, at 20 messages a second, each from another customer.

Three queues take part (receive, language model, send). Measured from the moment the webhook is sent to the moment the
sandbox receives the answer; model and provider are the sandbox's, which adds no delay of its own.
"""

import hashlib
import hmac
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import orjson
import requests

from benchmarks import ingestion, lab, measure
from tests import harness
from tests.fixtures import NUMBER, make_demo
from tests.outside import Sandbox

RATE = 20


@dataclass(frozen=True, slots=True)
class Answered:
    """How long customers waited, in milliseconds."""

    answers: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    redis_connections: dict[str, int]


def ours(seconds: int) -> Answered:
    """Measure the processes of `make run`."""
    from crm_tasks.core import db
    from crm_tasks.workspaces import service
    from crm_tasks.workspaces.models import Workspace

    lab.clean()
    demo = make_demo(base_url=f"http://127.0.0.1:{lab.SANDBOX_PORT}")
    with db.transaction() as session:
        service.set_auto_reply(session, session.get_one(Workspace, demo.workspace_id), on=True)
    hook = f"http://127.0.0.1:{lab.WEB_PORT}/webhooks/whatsapp"
    outside = Sandbox(harness.sandbox(lab.HOME, lab.SANDBOX_PORT, hook, NUMBER), lab.SANDBOX_PORT)
    web = harness.web(lab.HOME, lab.WEB_PORT, WEB_WORKERS=str(lab.WEB_PROCESSES))
    worker = harness.worker(lab.HOME, "messages", "ai", concurrency=20)
    with lab.programs((outside.program, ""), (web, ""), (worker, ""), (harness.beat(lab.HOME), "")):
        measure.until(lambda: _live(f"http://127.0.0.1:{lab.WEB_PORT}/live"), 30)
        measure.until(lambda: _live(f"{outside.url}/_sandbox/health"), 30)
        outside.control("PUT", "limits", {"messages_per_second": 1000})
        _speak(hook, demo.app_secret, 2 * RATE, first=1_000_000)
        measure.until(lambda: len(outside.sends()) == 2 * RATE, 60, every=0.1)
        sent = _speak(hook, demo.app_secret, seconds * RATE, first=0)
        connections = {program.name: _most_connections(program) for program in (web, worker)}
        measure.until(lambda: len(outside.sends()) == (seconds + 2) * RATE, 60, every=0.1)
        return _waited(sent, outside, connections)


def _most_connections(program: harness.Program) -> int:
    """Return how many connections to Valkey that process of a program has which has most."""
    return max(measure.connections(process, lab.VALKEY_PORT) for process in measure.family(program.pid))


def _live(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=1).ok
    return False


def _speak(url: str, secret: str, count: int, *, first: int) -> dict[str, float]:
    """Send webhooks at the rate; return when each customer's left."""
    some, sent, http = random.Random(first), {}, requests.Session()
    start = time.time()
    with ThreadPoolExecutor(8) as pool:
        for number in range(count):
            body = ingestion.webhook(some, first + number)
            wa_id = orjson.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["from"]
            mac = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
            time.sleep(max(0.0, start + number / RATE - time.time()))
            sent[wa_id] = time.time()
            pool.submit(http.post, url, data=body, headers={"X-Hub-Signature-256": f"sha256={mac}"}, timeout=10)
    return sent


def _waited(sent: dict[str, float], outside: Sandbox, connections: dict[str, int]) -> Answered:
    waits = []
    for entry in outside.sends():
        to = entry["to"].lstrip("+")
        if to in sent:
            waits.append((datetime.fromisoformat(entry["time"]).timestamp() - sent[to]) * 1000)
    cuts = statistics.quantiles(waits, n=100)
    return Answered(len(waits), statistics.median(waits), cuts[94], cuts[98], connections)
