"""`crm up`: everything in one terminal, from an empty directory to a web page, and down again.

Its one rule: whatever can be wrong is found before anything is started, and said in one line.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from crm_tasks.config import settings
from crm_tasks.core.errors import ConfigError
from crm_tasks.core.probe import probe_http, probe_postgres, probe_redis, wait_until_ready
from crm_tasks.stack import environment, ports, procfile, state, stores
from crm_tasks.stack import home as homes
from crm_tasks.stack.apart import apart
from crm_tasks.stack.output import Output
from crm_tasks.stack.postgres import Postgres
from crm_tasks.stack.process import Program
from crm_tasks.stack.supervisor import Interrupts, Stopped, Supervisor
from crm_tasks.stack.valkey import Valkey

_EXTERNAL_TIMEOUT = 30.0
_GUARD_PATIENCE = 6.0
_WEB_TIMEOUT = 60.0
Steps = Sequence[Callable[[], None]]


def up(*, sandbox: bool, prepare: Steps, ready: Callable[[], None] | None) -> None:
    """Run the whole system until a signal ends it.

    `prepare` runs in this process when the stores answer and before anything uses them (migrations, first
    workspace); `ready` runs when the web answers, and prints the URLs. Returns after an orderly stop.

    Raises:
        SystemExit: status 1, after one line on standard error, when the system cannot be started.
    """
    os.umask(0o077)
    output = Output(colour=environment.wants_colour())
    try:
        home = environment.location()
        homes.make(home)
        lock = homes.Lock(home)
        try:
            _Start(home, output, sandbox=sandbox).run(lock, prepare, ready)
        finally:
            lock.release()
    except ConfigError as error:
        print(f"crm up: {error}", file=sys.stderr)
        raise SystemExit(1) from None


class _Start:
    """One run of `crm up` on a CRM_HOME that is ours alone."""

    def __init__(self, home: Path, output: Output, *, sandbox: bool) -> None:
        self._home, self._output = home, output
        self._secrets = homes.generate(home)
        self._plan = environment.plan(home, sandbox=sandbox)
        self._grace = environment.stop_grace()
        self._procfile = procfile.find()
        self._lines = procfile.read(self._procfile)
        for line in self._lines:
            output.add(line.name)
        environment.apply(home, self._plan)
        self._config = settings()
        self._interrupts = Interrupts()

    def run(self, lock: homes.Lock, prepare: Steps, ready: Callable[[], None] | None) -> None:
        """Check, start, wait for the end, stop."""
        self._interrupts.install()
        lock.announce(environment.web_url(self._config))
        embedded = self._stores()
        self._clear(embedded)
        record = state.Record(self._home, environment.web_url(self._config))
        supervisor = Supervisor(self._output, record, self._interrupts)
        try:
            with suppress(Stopped):
                self._start_stores(supervisor, embedded)
                for step in prepare:
                    self._interrupts.breakable(step)
                self._interrupts.check()
                self._start_programs(supervisor)
                self._serve(supervisor, ready)
        finally:
            started = time.monotonic()
            self._output.say("stopping")
            supervisor.stop()
            self._interrupts.ignore()
            self._output.say(f"stopped in {time.monotonic() - started:.1f} s")

    def _stores(self) -> list[stores.Store]:
        found: list[stores.Store] = []
        if self._plan.postgres:
            password = self._secrets["POSTGRES_PASSWORD"]
            found.append(Postgres(self._home, port=self._config.postgres_port, password=password))
        if self._plan.valkey:
            found.append(Valkey(self._home, port=self._config.valkey_port, password=self._secrets["VALKEY_PASSWORD"]))
        return found

    def _clear(self, embedded: list[stores.Store]) -> None:
        """End what a power loss or a kill left behind, and make sure that the ports are free."""
        killed = state.was_killed(self._home)
        ended = state.end_leftovers(self._home)
        if ended:
            self._output.say(f"ended {ended} processes of an earlier run")
        for store in embedded:
            store.end_leftovers()
        # Its guard may be at work still.
        ports.check(self._ports(), patience=_GUARD_PATIENCE if killed else 0.0)

    def _ports(self) -> list[ports.Port]:
        config, names = self._config, {line.name for line in self._lines}
        wanted = [
            ("web" in names, ports.Port("PORT", config.host, config.port)),
            ("flower" in names, ports.Port("FLOWER_PORT", config.host, config.flower_port)),
            (self._plan.sandbox, ports.Port("SANDBOX_PORT", "127.0.0.1", config.sandbox_port)),
            (self._plan.sandbox, ports.Port("SANDBOX_SMTP_PORT", "127.0.0.1", config.sandbox_smtp_port)),
            (self._plan.postgres, ports.Port("POSTGRES_PORT", "127.0.0.1", config.postgres_port)),
            (self._plan.valkey, ports.Port("VALKEY_PORT", "127.0.0.1", config.valkey_port)),
        ]
        return [port for needed, port in wanted if needed]

    def _start_stores(self, supervisor: Supervisor, embedded: list[stores.Store]) -> None:
        self._interrupts.check()
        self._output.say(f"data, logs and secrets are in {self._home}")
        started = [(store, supervisor.start(store.program())) for store in embedded]
        for store, process in started:
            took = stores.wait_for(store, process, self._interrupts.check)
            self._output.say(f"{store.name} answers on 127.0.0.1:{store.port} ({took:.1f} s)")
        for embedded_here, probe, url in (
            (self._plan.postgres, probe_postgres, self._config.database_url),
            (self._plan.valkey, probe_redis, self._config.redis_url),
        ):
            if not embedded_here:
                waiting = partial(wait_until_ready, partial(probe, url), _EXTERNAL_TIMEOUT)
                found = apart(waiting, self._interrupts.check)
                self._output.say(found.message)

    def _start_programs(self, supervisor: Supervisor) -> None:
        env, cwd = environment.of_children(), self._procfile.parent
        if self._plan.sandbox:
            argv = [sys.executable, "-m", "sandbox"]
            supervisor.start(Program(name="sandbox", argv=argv, kind=procfile.SANDBOX, env=env, cwd=cwd))
        for line in self._lines:
            supervisor.start(line.program(env=env, cwd=cwd, stop_grace=self._grace))
        names = ", ".join(line.name for line in self._lines)
        self._output.say(f"started {names}" + (" and the sandbox" if self._plan.sandbox else ""))

    def _serve(self, supervisor: Supervisor, ready: Callable[[], None] | None) -> None:
        """Run until a signal; say `ready` when the web answers, however late that is."""
        started, said, answers = time.monotonic(), False, "web" not in {line.name for line in self._lines}
        while not self._interrupts.count:
            if answers:
                supervisor.step()
                continue
            supervisor.step(0.05)
            if probe_http(f"{environment.web_url(self._config)}/live", 0.5).ok:
                answers = True
                if ready:
                    ready()
            elif not said and time.monotonic() - started > _WEB_TIMEOUT:
                said = True
                self._output.say(f"!! the web has not answered for {_WEB_TIMEOUT:.0f} s: see its lines above")
