"""RabbitMQ for a broker: a smoke test with a server of its own, a worker and a scheduler that know it by BROKER_URL."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kombu import Connection

from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.model import Job, JobState
from tests.core.conftest import Start
from tests.core.ledger import EVERY_MINUTE, NOTE, counted_by, jobs, lines, states
from tests.harness import ROOT, beat, eventually, free_ports, worker

# Debian's command on the PATH changes to an account that cannot see a test's directory; the program itself does not.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
SERVER = str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")
pytestmark = [
    pytest.mark.skipif(SERVER is None or shutil.which("epmd") is None, reason="rabbitmq-server is not installed"),
    pytest.mark.timeout(300),
]

ENQUEUE = """
import sys
from datetime import UTC, datetime, timedelta
from crm_tasks.core import db
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many
from tests import tasks
path = sys.argv[1]
soon = datetime.now(UTC) + timedelta(seconds=2)
note = "messages.test_note"
wanted = [NewJob(task=note, args={"path": path, "text": str(n)}, priority=n % 10 + 1) for n in range(50)]
wanted += [NewJob(task=note, args={"path": path, "text": "later"}, run_at=soon)]
wanted += [NewJob(task="notifications.test_nap", args={"seconds": 0, "path": path}, priority=1)]
db.retrying(enqueue_many, wanted)
assert ring.flush(20), "the rings are not out"
"""


@dataclass
class Rabbit:
    """A broker of its own."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        """Return its address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def listens(self) -> bool:
        """Say whether it answers as a broker."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                pass
            with Connection(self.url, connect_timeout=5) as connection:
                connection.ensure_connection(max_retries=1)
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    home = tmp_path_factory.mktemp("rabbit")
    port, distribution, epmd_port = free_ports(3)
    # No plugins: the management's would need more memory than all else here.
    (home / "plugins").write_text("[].\n")
    env = {
        **os.environ,
        "HOME": str(home),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"crm-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
    }
    with (home / "log.txt").open("wb") as log:
        options = {"env": env, "stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        names = subprocess.Popen([shutil.which("epmd") or "epmd"], **options)
        server = subprocess.Popen([str(SERVER)], **options)
    made = Rabbit(port, home / "log.txt")
    try:
        eventually(lambda: server.poll() is not None or made.listens(), "RabbitMQ listens", 150)
        assert server.poll() is None, made.log.read_text()[-3000:]
        yield made
    finally:
        for program in (server, names):
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.wait(10)


def enqueue(broker: Rabbit, path: Path) -> None:
    """Enqueue from a process that knows this broker."""
    env = {**os.environ, "BROKER_URL": broker.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ENQUEUE, str(path)], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "ring.failed" not in done.stderr, done.stderr[-2000:]


def test_jobs_of_all_priorities_and_a_delayed_one_run_exactly_once_over_rabbitmq(
    rabbit: Rabbit, start: Start, tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    start(worker(tmp_path, "messages", "notifications", include="tests.tasks", BROKER_URL=rabbit.url))
    enqueue(rabbit, noted)
    # What is rung at once needs no scheduler, as everywhere.
    eventually(lambda: states()["succeeded"] >= ring.BACKLOG, "what was rung runs", 60)
    start(beat(tmp_path, BROKER_URL=rabbit.url))
    eventually(lambda: states() == {"succeeded": 52}, "all run", 60)
    [nap] = jobs(Job.task == "notifications.test_nap")
    assert Counter(lines(noted)) == dict.fromkeys([*map(str, range(50)), "later", str(nap.id)], 1)
    assert {(row.claim_no, row.attempt, row.crashes) for row in jobs(Job.task != EVERY_MINUTE)} == {(1, 0, 0)}
    [late] = [row for row in jobs(Job.task == NOTE) if row.args["text"] == "later"]
    assert late.started_at is not None and late.started_at >= late.run_at
    assert counted_by("w@test", "rings_foreign") == 0


def test_its_queues_are_quorum_queues(rabbit: Rabbit, empty: None, tmp_path: Path) -> None:
    enqueue(rabbit, tmp_path / "noted")
    with Connection(rabbit.url) as connection, connection.channel() as channel:
        # Declaring it as another kind is refused with what kind it is.
        with pytest.raises(connection.channel_errors, match="quorum"):
            channel.queue_declare("messages", durable=True, auto_delete=False)
    with Connection(rabbit.url) as connection:
        assert connection.default_channel.queue_declare("messages", passive=True).message_count >= ring.BACKLOG


def test_a_worker_killed_with_its_hands_full_loses_nothing_and_doubles_nothing(
    rabbit: Rabbit, start: Start, tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    first = start(
        worker(tmp_path, "messages", "notifications", include="tests.tasks", concurrency=2, BROKER_URL=rabbit.url)
    )
    start(beat(tmp_path, BROKER_URL=rabbit.url))
    enqueue(rabbit, noted)
    eventually(lambda: states()["succeeded"] >= 1, timeout=60)
    first.kill()
    start(worker(tmp_path, "messages", "notifications", name="second", include="tests.tasks", BROKER_URL=rabbit.url))
    # Those that it ran when it was killed come back with their lease, a minute later: not for this test to wait for.
    eventually(lambda: states()["succeeded"] + states()["running"] == 52, "all that waited run", 90)
    finished = {row.args["text"] for row in jobs(Job.task == NOTE, Job.state == JobState.SUCCEEDED)}
    counts = Counter(line for line in lines(noted) if line in finished)
    assert counts == dict.fromkeys(finished, 1)
