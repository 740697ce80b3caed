"""Webhook ingestion, durable: a request is committed in Postgres and its work is queued before the 200.

64 connections, distinct signed bodies of about 730 bytes, two web processes on either side. The peer is what a team
would write in Node: fastify, `pg` with 16 connections a process, one BullMQ job per request.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import lab, measure
from tests import harness
from tests.fixtures import NUMBER, make_demo

CONNECTIONS, BODIES = 64, 100_000
_WARM_UP = 2
_WORDS = re.findall("[a-z]+", "hello order size when will my parcel arrive thanks price colour tomorrow please confirm")


@dataclass(frozen=True, slots=True)
class Ingested:
    """One run of wrk against one side."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    stored: int
    requests: int
    cpu_s_per_1000: float


def ours(seconds: int) -> Ingested:
    """Measure our web app as `make run` starts it."""
    lab.clean()
    demo = make_demo()
    program = harness.web(lab.HOME, lab.WEB_PORT, WEB_WORKERS=str(lab.WEB_PROCESSES), WEB_THREADS="32")
    return _run(program, demo.app_secret, seconds, "SELECT count(*) FROM inbound_events")


def peer(seconds: int) -> Ingested:
    """Measure the Node stack on the same stores."""
    lab.clean()
    secret = f"secret-of-{NUMBER}"
    program = lab.Node(
        "ingest.js",
        PORT=str(lab.WEB_PORT),
        PROCESSES=str(lab.WEB_PROCESSES),
        APP_SECRET=secret,
        PEER_DATABASE_URL=lab.DATABASE_URL,
    )
    return _run(program, secret, seconds, "SELECT count(*) FROM peer_events")


def _run(program: harness.Program, secret: str, seconds: int, count: str) -> Ingested:
    file = bodies(secret)
    with lab.programs((program, "")):
        measure.until(lambda: _listens(program), 30)
        warm = wrk(file, _WARM_UP, 0)["requests"]
        before = measure.cpu_seconds(program.pid)
        found = wrk(file, seconds, int(warm) + CONNECTIONS)
        used = measure.cpu_seconds(program.pid) - before
    return Ingested(
        per_second=found["requests"] / found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        errors=int(found["errors"]),
        stored=int(lab.scalar(count)),
        requests=int(warm + found["requests"]),
        cpu_s_per_1000=used / found["requests"] * 1000,
    )


def _listens(program: harness.Program) -> bool:
    return any(
        each.status == "LISTEN" and each.laddr.port == lab.WEB_PORT
        for process in measure.family(program.pid)
        for each in process.net_connections("tcp")
    )


def wrk(file: Path, seconds: int, offset: int) -> dict[str, float]:
    """Run wrk for some seconds and return what it says."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
    command += [
        "-s",
        str(Path(__file__).with_name("webhook.lua")),
        f"http://127.0.0.1:{lab.WEB_PORT}/webhooks/whatsapp",
    ]
    env = {**os.environ, "BENCH_WEBHOOKS": str(file), "BENCH_OFFSET": str(offset)}
    said = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said.splitlines()[-1]))


def bodies(secret: str) -> Path:
    """Write the webhooks once: signature, tab, body."""
    file = lab.HOME / "webhooks.tsv"
    if not file.exists():
        some = random.Random(7)
        with file.open("w") as out:
            for number in range(BODIES):
                body = webhook(some, number)
                signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
                out.write(f"sha256={signature}\t{body}\n")
    return file


def webhook(some: random.Random, number: int) -> str:
    """Return a text message as WhatsApp sends it."""
    wa_id = f"1650{some.randrange(10**7):07d}"
    wamid = "wamid." + base64.b64encode(b"\x1d\x0b" + some.randbytes(30) + number.to_bytes(4, "big")).decode()
    message = {
        "from": wa_id,
        "id": wamid,
        # Of now: who wrote longer than a day ago may only be answered with a template.
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": " ".join(some.choice(_WORDS) for _ in range(42))},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": NUMBER},
        "contacts": [{"profile": {"name": f"Customer {number}"}, "wa_id": wa_id}],
        "messages": [message],
    }
    change = {"value": value, "field": "messages"}
    envelope = {"object": "whatsapp_business_account", "entry": [{"id": f"9{NUMBER}", "changes": [change]}]}
    return json.dumps(envelope, separators=(",", ":"))


Side = Callable[[int], Ingested]
