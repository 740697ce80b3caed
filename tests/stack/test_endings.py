"""How `crm up` ends: in order, in a hurry, by sudden death; and what the next start makes of it."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from crm_tasks.core.probe import probe_http
from crm_tasks.stack import guard, state, stores
from crm_tasks.stack.valkey import Valkey
from tests.harness import descendants, eventually, free_ports, lives

from .harness import Nobody, System


def test_the_stop_is_in_order_and_lets_a_job_finish(system: System) -> None:
    system.procfile(web="python3 web.py", job="python3 job.py 3 worker -P threads")
    system.start()
    system.says("job begins")
    started = time.monotonic()
    assert system.stop() == 0
    assert 3 <= time.monotonic() - started < 8
    assert (system.directory / "finished").exists()
    said = system.log.read_text()
    assert said.index("web is down") < said.index("job finished") < said.index("stopped in")
    # Stores last, and in peace.
    assert "database system is shut down" in (system.home / "log/postgres.log").read_text()
    assert "bye bye" in (system.home / "log/valkey.log").read_text()


def test_a_prefork_pool_finishes_its_task_and_gives_back_what_it_cannot_finish(system: System) -> None:
    system.procfile(
        web="python3 web.py",
        worker="celery -q -A tapp worker -P prefork -c 2 --without-mingle --without-gossip",
    )
    system.env["STOP_GRACE"] = "2"
    system.start()
    for name, seconds in (("short", 1.0), ("long", 120.0)):
        nap(system, name, seconds, queue="celery")
        eventually((system.directory / f"{name}.began").exists, name)
    assert system.stop() == 0
    assert (system.directory / "short.done").exists() and not (system.directory / "long.done").exists()
    store = Valkey(system.home, port=free_ports(1)[0], password=system.values()["VALKEY_PASSWORD"])
    with stores.running(store):
        client = redis.Redis.from_url(store.url)
        assert (client.llen("celery"), client.hlen("unacked")) == (1, 0)


def test_a_job_beyond_its_grace_is_ended(system: System) -> None:
    system.procfile(web="python3 web.py", job="python3 job.py 300 worker -P threads")
    system.env["STOP_GRACE"] = "0.5"
    system.start()
    system.says("job begins")
    started = time.monotonic()
    assert system.stop(signal.SIGHUP) == 0
    assert time.monotonic() - started < 6 and not (system.directory / "finished").exists()


def test_a_second_interrupt_hurries(system: System) -> None:
    system.procfile(web="python3 web.py", job="python3 job.py 300 worker -P threads")
    process = system.start()
    system.says("job begins")
    process.send_signal(signal.SIGINT)
    system.says("web is down")
    started = last = time.monotonic()
    while process.poll() is None:
        # Two in quick succession count as one, so: until it is heard.
        if time.monotonic() - last > 0.6:
            last = time.monotonic()
            process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert process.returncode == 0 and time.monotonic() - started < 6
    assert "database system is shut down" in (system.home / "log/postgres.log").read_text()


def test_an_interrupt_breaks_off_the_preparation(system: System) -> None:
    script = (system.directory / "go.py").read_text()
    slow = script.replace(
        '    print("prepared", flush=True)', '    print("prepared", flush=True); import time; time.sleep(60)'
    )
    (system.directory / "go.py").write_text(slow)
    process = system.start(until="prepared")
    below = descendants(process.pid)
    assert system.stop(timeout=10) == 0
    assert "web serves" not in system.log.read_text() and not any(lives(pid) for pid in below)


def test_a_preparation_that_fails_stops_everything(system: System) -> None:
    script = (system.directory / "go.py").read_text()
    (system.directory / "go.py").write_text(
        script.replace(
            '    print("prepared", flush=True)',
            '    raise __import__("crm_tasks.config").core.errors.ConfigError("no")',
        )
    )
    process = system.start(until="")
    assert process.wait(20) == 1
    assert system.log.read_text().endswith("crm up: no\n")
    assert state.status(system.home) is None


@pytest.mark.parametrize("with_guard", [True, False])
def test_a_killed_supervisor_leaves_no_process(system: System, with_guard: bool) -> None:
    """Web workers, one of them stuck in a request; prefork children, one of them in a long task; stores.

    Without the guard, which is killed too, the kernel alone ends all but the stuck one.
    """
    lines = {
        "web": "python3 web.py",
        "worker_bulk": "celery -q -A tapp worker -P prefork -c 2 -n bulk@%h --without-mingle --without-gossip",
    }
    if with_guard:
        lines["worker_io"] = "celery -q -A tapp worker -P threads -Q io -n io@%h --without-mingle --without-gossip"
        lines["beat"] = "celery -q -A tapp beat -s beat"
        lines["granian"] = "granian --interface wsgi --port $FLOWER_PORT --workers 2 --blocking-threads 4 plain:app"
    system.procfile(**lines)
    process = system.start()
    nap(system, "busy", 120, queue="celery")
    eventually((system.directory / "busy.began").exists)
    if with_guard:
        nap(system, "io", 120, queue="io")
        granian = f"http://127.0.0.1:{system.ports['FLOWER_PORT']}/"
        eventually(lambda: probe_http(granian, 1).ok, "granian")
        eventually((system.directory / "io.began").exists)
        stuck = socket.create_connection(("127.0.0.1", system.ports["PORT"]))
        stuck.sendall(b"GET /stuck HTTP/1.0\r\n\r\n")
        eventually((system.directory / "stuck").exists)
    below = descendants(process.pid)
    assert len(below) >= (19 if with_guard else 14)
    if not with_guard:
        (watcher,) = [pid for pid, line in below.items() if "guard.py" in line]
        os.kill(watcher, signal.SIGKILL)
    process.kill()
    process.wait()
    # The next one may come at once, and starts as if nothing had been.
    system.procfile(web="python3 web.py")
    killed = time.monotonic()
    system.start()
    eventually(lambda: not [line for pid, line in below.items() if lives(pid)], "nothing left")
    assert time.monotonic() - killed < 10
    assert system.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_killed_supervisor_of_root_leaves_no_process_of_another_account(
    shared_directory: Path, system: System
) -> None:
    process = system.start("setuid", str(shared_directory))
    (leader,) = [pid for pid, line in descendants(process.pid).items() if "postgres -D" in line]
    assert Path(f"/proc/{leader}").stat().st_uid != 0
    below = descendants(process.pid)
    process.kill()
    process.wait()
    eventually(lambda: not [line for pid, line in below.items() if lives(pid)], "nothing left", 8)
    system.start("setuid", str(shared_directory))
    assert system.query("SELECT count(*) FROM kept") == [(0,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_runs_it_from_a_private_directory(of_nobody: Nobody) -> None:
    system = System(of_nobody.directory)
    system.procfile(web=f"{of_nobody.python} web.py")
    system.python, system.account = of_nobody.python, of_nobody.account
    system.env |= of_nobody.env
    try:
        process = system.start()
        below = descendants(process.pid)
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in below} == {of_nobody.account["user"]}
        process.kill()
        process.wait()
        eventually(lambda: not [line for pid, line in below.items() if lives(pid)], "nothing left", 8)
        system.start()
        assert system.stop() == 0
    finally:
        system.end()


def test_after_a_power_loss_it_starts_as_ever(system: System) -> None:
    process = system.start()
    system.query("INSERT INTO kept VALUES ('hello')")
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    # What the disk may show after it: halves of files, and numbers of processes that are others' now.
    (system.home / "env.new").write_text("half")
    (system.home / "postgres/data.new").mkdir()
    pid_file = system.home / "postgres/data/postmaster.pid"
    pid_file.write_text("\n".join([str(os.getpid()), *pid_file.read_text().splitlines()[1:]]) + "\n")
    system.start()
    assert system.query("SELECT word FROM kept") == [("hello",)]


def test_a_dead_guard_is_replaced(system: System) -> None:
    process = system.start()
    (first,) = [pid for pid, line in descendants(process.pid).items() if "guard.py" in line]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: [pid for pid, line in descendants(process.pid).items() if "guard.py" in line and pid != first])
    below = descendants(process.pid)
    process.kill()
    process.wait()
    eventually(lambda: not [line for pid, line in below.items() if lives(pid)], "nothing left", 8)


def test_leftovers_of_a_dead_supervisor_are_ended_by_the_next(system: System) -> None:
    """As on a system that tells nobody of a parent's death, with the guard killed too."""
    system.start()
    system.stop()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as left, subprocess.Popen(["sleep", "60"]) as other:
        record = state.Record(system.home, "")
        entry = {"name": "web", "started_at": None, "restarts": 0, "state": "running", "death": int(signal.SIGTERM)}
        record.write(
            [
                {**entry, "pid": left.pid, "born": guard.birth(left.pid)},
                # The same number in an earlier life of the machine.
                {**entry, "pid": other.pid, "born": "another-boot:77"},
            ]
        )
        system.start()
        assert "ended 1 processes of an earlier run" in system.log.read_text()
        assert left.wait(5) == -signal.SIGTERM
        assert other.poll() is None
        other.kill()


def test_a_closed_terminal_does_not_end_it(system: System) -> None:
    """`crm up | head -1`: nobody reads on."""
    script = (system.directory / "go.py").read_text()
    (system.directory / "go.py").write_text(script.replace(", flush=True)", ", file=sys.stderr)"))
    process = subprocess.Popen(
        [system.python, "go.py"], cwd=system.directory, env=system.env, stdout=subprocess.PIPE, start_new_session=True
    )
    system.popen = process
    assert process.stdout and process.stdout.readline()
    process.stdout.close()
    eventually(lambda: probe_http(f"http://127.0.0.1:{system.ports['PORT']}/live", 1).ok, "the web")
    os.kill(system.pid("web"), signal.SIGKILL)
    eventually(lambda: next(i for i in system.status()["processes"] if i["name"] == "web")["restarts"] == 1)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert "database system is shut down" in (system.home / "log/postgres.log").read_text()


def nap(system: System, name: str, seconds: float, *, queue: str) -> None:
    """Give a worker a task."""
    script = "import sys, tapp; tapp.nap.apply_async((sys.argv[1], float(sys.argv[2])), queue=sys.argv[3])"
    env = {**system.env, **system.values()}
    subprocess.run([system.python, "-c", script, name, str(seconds), queue], cwd=system.directory, env=env, check=True)
