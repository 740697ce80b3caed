"""The processes of `make run` as a whole that can be killed one by one: web, each worker, the scheduler, Valkey."""

import os
import random
import shlex
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks import lab, measure
from tests import harness
from tests.fixtures import NUMBER, Demo, make_demo
from tests.harness import ROOT, Program
from tests.outside import Sandbox, Site

HOOK = f"http://127.0.0.1:{lab.WEB_PORT}/webhooks/whatsapp"
FLUSH = "FLUSHALL"
VALKEY, WORKS = "valkey", "worker-io"
_READY = 60.0
# What does all the work, and its door, die more often than the rest.
_OFTEN = (WORKS, WORKS, "web")
# An outside world that takes its time, so that a kill finds requests under way, and is at times rude: a connection cut
# before it has taken a message or after, an error that says "again". Of many sends it tells nothing for longer than a
# killed worker is away: who would then send again what was under way, would send it twice.
RUDE = (
    {"kind": "message", "delay": 0.3, "probability": 0.5},
    {"kind": "chat_completion", "delay": 0.3, "probability": 0.5},
    {"kind": "message", "late": 10, "probability": 0.5},
    {"kind": "message", "drop": "before", "probability": 0.005},
    {"kind": "message", "drop": "after", "probability": 0.005},
    {"kind": "message", "status": 503, "error_code": 131016, "probability": 0.01},
)
# How long a killed process stays away, as with a supervisor that backs off.
_AWAY = (0.2, 2.0)


@dataclass(slots=True)
class Kill:
    """What was killed, when (seconds since the epoch), and how long it took until it served again."""

    name: str
    at: float
    away: float
    back_after: float
    said_before: int


class System:
    """Stores, programs and the outside world, running for the length of `running()`."""

    def __init__(self) -> None:
        self.outside = Sandbox(harness.sandbox(lab.HOME, lab.SANDBOX_PORT, HOOK, NUMBER), lab.SANDBOX_PORT)
        self.programs = {program.name: program for program in _of_the_procfile()}
        self.web = Site(self.programs["web"], lab.WEB_PORT)
        self.demo: Demo

    @property
    def killable(self) -> list[str]:
        """What is killed in a round, and the flush."""
        return [*self.programs, VALKEY, FLUSH, *_OFTEN]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run all of it, with a demo workspace that answers by itself."""
        from crm_tasks.core import db, migrate
        from crm_tasks.stack import home
        from crm_tasks.stack.postgres import Postgres
        from crm_tasks.stack.stores import running
        from crm_tasks.stack.valkey import Valkey

        home.make(lab.HOME)
        self._store = Valkey(lab.HOME, port=lab.VALKEY_PORT, password=lab.PASSWORD)
        with running(Postgres(lab.HOME, port=lab.POSTGRES_PORT, password=lab.PASSWORD)):
            try:
                migrate.upgrade()
                self.demo = _demo(self.outside.url)
                self._start()
                yield
            finally:
                self._stop()
                db.dispose()

    def _start(self) -> None:
        from crm_tasks.stack.process import Process

        self._valkey = Process(self._store.program())
        self._start_valkey()
        self.outside.start("/_sandbox/health")
        statuses = {"sent_ms": 20, "delivered_ms": 100, "auto_read": False}
        self.outside.control("PUT", "limits", {"statuses": statuses})
        self.outside.faults(*RUDE)
        for program in self.programs.values():
            program.start()
        for name in self.programs:
            self._wait_for(name)

    def _start_valkey(self) -> None:
        from crm_tasks.stack.stores import wait_for

        self._valkey.start()
        wait_for(self._store, self._valkey)

    def _stop(self) -> None:
        for program in [*self.programs.values(), self.outside.program]:
            if program.popen is not None:
                with suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
                program.popen.wait(10)
        if hasattr(self, "_valkey") and self._valkey.pid:
            os.killpg(self._valkey.pid, signal.SIGKILL)

    def kill(self, name: str, some: random.Random, said: int) -> Kill:
        """Kill one with -9, leave it away for a moment, start it, and return once it serves again."""
        if name == WORKS:
            _until_it_sends()
        at, away = time.time(), some.uniform(*_AWAY)
        if name == FLUSH:
            from crm_tasks.core.redis import manager

            manager().client("broker").flushall()
            return Kill(name, at, 0.0, 0.0, said)
        (self._kill_valkey if name == VALKEY else self._kill_program)(name, away)
        return Kill(name, at, away, time.time() - at, said)

    def _kill_program(self, name: str, away: float) -> None:
        self.end(name)
        time.sleep(away)
        self.bring_back(name)

    def end(self, name: str) -> None:
        """Kill a program and all below it with -9."""
        program = self.programs[name]
        os.killpg(program.pid, signal.SIGKILL)
        assert program.popen is not None
        program.popen.wait(10)

    def bring_back(self, name: str) -> None:
        """Start a program, and return once it serves."""
        self.programs[name].start()
        self._wait_for(name)

    def _kill_valkey(self, _name: str, away: float) -> None:
        assert self._valkey.popen is not None
        self._valkey.popen.kill()
        measure.until(self._valkey.ended, 10)
        time.sleep(away)
        self._start_valkey()

    def _wait_for(self, name: str) -> None:
        if name == "web":
            measure.until(lambda: self.web._answers("/live"), _READY)
        else:
            measure.until(lambda: _is_announced(self.programs[name].pid), _READY, every=0.05)

    def complaints(self) -> dict[str, dict[str, int]]:
        """Return how often each program logged which error, and how often a bare traceback."""
        found = {name: _complaints(program.said()) for name, program in self.programs.items()}
        return {name: counted for name, counted in found.items() if counted}


def _of_the_procfile() -> list[Program]:
    """Return the programs of the Procfile that do the work; Flower only looks on."""
    from crm_tasks.stack import procfile

    programs = []
    for line in procfile.read(ROOT / "Procfile"):
        words = shlex.split(line.command)
        if words[:2] == ["python", "-m"]:
            env = {"HOST": "127.0.0.1", "PORT": str(lab.WEB_PORT)} if line.name == "web" else {}
            programs.append(Program(line.name, words[2:], lab.HOME, env))
    return programs


def _demo(outside: str) -> Demo:
    from crm_tasks.core import db
    from crm_tasks.workspaces import service
    from crm_tasks.workspaces.models import Workspace

    demo = make_demo(base_url=outside)
    with db.transaction() as session:
        service.set_auto_reply(session, session.get_one(Workspace, demo.workspace_id), on=True)
    return demo


def _is_announced(pid: int) -> bool:
    """Say whether a worker or a scheduler has begun its pulse: it does so when it is ready."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.transaction() as session:
        return session.scalar(sa.text("SELECT count(*) FROM processes WHERE pid = :pid"), {"pid": pid}) > 0


def _until_it_sends() -> None:
    """Wait for a message that is under way for some time already, so that the kill cuts a request off; not for long."""
    seen = _sending()
    deadline = time.monotonic() + _READY / 6
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = _sending()
        if seen & now:
            return
        seen = now


def _sending() -> set[Any]:
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.transaction() as session:
        return set(session.scalars(sa.text("SELECT id FROM messages WHERE state = 'sending'")))


def _complaints(log: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for line in log.splitlines():
        entry = orjson.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if entry.get("level") in ("error", "critical") or "exception" in entry:
            found[f"{entry['event']:.60} {entry.get('exception', {}).get('type', '')}".strip()] += 1
        elif line.startswith("Traceback"):
            found["Traceback"] += 1
    return dict(found)
