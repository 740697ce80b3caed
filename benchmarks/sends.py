"""Sends per second, a job for each message, at a provider that takes 50 ms; and the CPU of all that takes part.

Ours: one worker as `make run` starts it, with ledger, last look, pace, breaker and history. The peers: BullMQ with 200
concurrent jobs, which keep the job and no more, and a bare asyncio loop, which keeps nothing: the machine's limit.
"""

import asyncio
import time
from dataclasses import dataclass

import psutil
import requests

from benchmarks import lab, measure
from tests import harness
from tests.fixtures import make_demo

THREADS, CONCURRENCY = 60, 200
OPENS = 3.0  # seconds that an emptied Redis grants nothing for, and some
TEMPLATE = {"name": "hello_world", "language": {"code": "en_US"}}
BODY = b'{"messaging_product":"whatsapp","to":"+15550001111","type":"text","text":{"body":"Hello"}}'


@dataclass(frozen=True, slots=True)
class Sent:
    """One run. CPU seconds per 1,000 sends: of the sender alone, and with the stores."""

    per_second: float
    cpu_s_per_1000: float
    all_cpu_s_per_1000: float


def ours(messages: int) -> Sent:
    """Measure two workers and a scheduler; the messages are accepted before."""
    lab.clean()
    (port,) = harness.free_ports(1)
    demo = make_demo(base_url=f"http://127.0.0.1:{port}")
    workers = [harness.worker(lab.HOME, "messages", name=f"w{n}", concurrency=THREADS) for n in range(2)]
    provider = harness.Program("provider", ["benchmarks.provider", str(port)], lab.HOME)
    hold_id = _accept(demo, messages)
    started = ((worker, "") for worker in workers)
    with lab.programs((provider, ""), (harness.beat(lab.HOME), ""), *started):
        measure.until(lambda: lab.scalar("SELECT count(*) FROM processes WHERE kind = 'worker'") >= 2, 60)
        _settle()
        stores = cpu_of_stores()
        before = sum(measure.cpu_seconds(worker.pid) for worker in workers)
        _release(hold_id)
        measure.until(
            lambda: lab.scalar("SELECT count(*) FROM messages WHERE state = 'accepted'") == messages, 300, 0.2
        )
        span = lab.scalar("SELECT extract(epoch FROM max(accepted_at) - min(j.started_at)) FROM messages, jobs j")
        cpu = sum(measure.cpu_seconds(worker.pid) for worker in workers) - before
        assert taken(port) == messages
        return Sent(messages / span, cpu / messages * 1000, (cpu + cpu_of_stores() - stores) / messages * 1000)


def bullmq(messages: int) -> Sent:
    """Measure BullMQ: a worker of 200 concurrent jobs, each one HTTP request with keep-alive."""
    lab.clean()
    (port,) = harness.free_ports(1)
    provider = harness.Program("provider", ["benchmarks.provider", str(port)], lab.HOME)
    peer = lab.Node(
        "sends.js",
        REDIS_URL=lab.REDIS_URL,
        PROVIDER=f"http://127.0.0.1:{port}/v26.0/1/messages",
        JOBS=str(messages),
        CONCURRENCY=str(CONCURRENCY),
    )
    with lab.programs((provider, "")):
        measure.until(lambda: taken(port) == 0, 10)
        stores = cpu_of_stores()
        with lab.programs((peer, "filled")):
            measure.until(lambda: taken(port) > 0, 60, 0.001)
            started = time.monotonic()
            measure.until(lambda: "done" in peer.said(peer.mark), 120)
            seconds, cpu = time.monotonic() - started, measure.cpu_seconds(peer.pid)
            measure.until(lambda: taken(port) == messages, 5)
        return Sent(messages / seconds, cpu / messages * 1000, (cpu + cpu_of_stores() - stores) / messages * 1000)


def bare(messages: int) -> Sent:
    """Measure a bare loop of 200 connections in this process."""
    (port,) = harness.free_ports(1)
    provider = harness.Program("provider", ["benchmarks.provider", str(port)], lab.HOME)
    with lab.programs((provider, "")):
        measure.until(lambda: taken(port) == 0, 10)
        cpu, started = time.process_time(), time.monotonic()
        asyncio.run(_loop(port, messages))
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    return Sent(messages / seconds, cpu / messages * 1000, cpu / messages * 1000)


async def _loop(port: int, messages: int) -> None:
    head = f"POST /v26.0/1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

    async def connection(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(share):
            writer.write(head + BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(connection(messages // CONCURRENCY) for _ in range(CONCURRENCY)))


def _accept(demo: object, messages: int) -> object:
    import sqlalchemy as sa

    import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
    from crm_tasks.core import db, holds
    from crm_tasks.messages.service import outbox
    from crm_tasks.workspaces.models import Channel

    with db.transaction() as session:
        # What is measured is the sending and not its limit, which is asked all the same.
        session.execute(sa.update(Channel).values(settings={"per_second": 100_000}))
        hold = holds.place(session, "queue:messages", reason="until all are accepted", actor="bench")
    for first in range(0, messages, 500):
        with db.transaction() as session:
            for number in range(first, min(first + 500, messages)):
                new = outbox.NewMessage(type="template", content=TEMPLATE)
                outbox.send_to(session, demo.workspace_id, demo.channel_id, f"+1555{number:07d}", new)  # type: ignore[attr-defined]
    with db.transaction() as session:
        session.execute(sa.text("DELETE FROM jobs WHERE task = 'messages.sync_templates'"))
    return hold.id


def _settle() -> None:
    """Wait for what a living system has: tables with statistics, and an account of the pace that is open."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    time.sleep(OPENS)


def _release(hold_id: object) -> None:
    from crm_tasks.core import db, holds

    with db.transaction() as session:
        holds.release(session, hold_id, actor="bench")  # type: ignore[arg-type]


def taken(port: int) -> int:
    try:
        return int(requests.get(f"http://127.0.0.1:{port}/count", timeout=2).text)
    except requests.ConnectionError:
        return -1


def cpu_of_stores() -> float:
    """Return what Postgres and Valkey have used so far, backends that have ended included."""
    return sum(_cpu(measure.listener(port)) for port in (lab.POSTGRES_PORT, lab.VALKEY_PORT))


def _cpu(pid: int) -> float:
    found = psutil.Process(pid)
    times = found.cpu_times()
    ended = times.children_user + times.children_system
    living = sum(sum(child.cpu_times()[:2]) for child in found.children(recursive=True))
    return times.user + times.system + ended + living
