"""Flower: never open, and it remembers."""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from crm_tasks.core.probe import probe_http
from crm_tasks.stack import home as homes
from crm_tasks.stack import stores
from crm_tasks.stack.valkey import Valkey
from tests.harness import ROOT, eventually, free_ports

from . import programs

CONFIG = ROOT / "crm_tasks/stack/flowerconfig.py"


class Flower:
    """Flower on a Valkey of its own."""

    def __init__(self, home: Path, directory: Path, redis_url: str) -> None:
        self.port, self.home, self.directory = free_ports(1)[0], home, directory
        self.env = {**os.environ, **homes.generate(home), "PYTHONPATH": str(ROOT)}
        self.env |= {"CRM_HOME": str(home), "REDIS_URL": redis_url, "FLOWER_PORT": str(self.port)}
        self.popen: subprocess.Popen[bytes] | None = None

    def celery(self, *arguments: str) -> subprocess.Popen[bytes]:
        program = Path(sys.executable).with_name("celery")
        command = [program, "-q", "-A", "tapp", *arguments]
        return subprocess.Popen(command, cwd=self.directory, env=self.env, start_new_session=True)

    def start(self) -> None:
        # A shorter interval than ours, for the sake of the test's length.
        self.popen = self.celery("flower", f"--conf={CONFIG}", "--state_save_interval=1000")
        eventually(lambda: probe_http(f"http://127.0.0.1:{self.port}/healthcheck", 1).ok, "flower")

    def kill(self) -> None:
        assert self.popen
        self.popen.kill()
        self.popen.wait()

    def get(self, path: str, *, password: str | None = None) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        login = f"admin:{password or self.env['FLOWER_PASSWORD']}".encode()
        if password != "":
            request.add_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read().decode()


@pytest.fixture
def flower(home: Path, tmp_path: Path) -> Iterator[Flower]:
    programs.write(tmp_path)
    store = Valkey(home, port=free_ports(1)[0], password="secret")
    with stores.running(store):
        made = Flower(home, tmp_path, store.url)
        yield made
        if made.popen and made.popen.poll() is None:
            made.kill()


def _holds(file: Path, task_ids: Iterable[str]) -> bool:
    content = file.read_bytes()
    return all(task_id.encode() in content for task_id in task_ids)


def test_its_task_list_survives_a_kill(flower: Flower) -> None:
    flower.start()
    worker = flower.celery("worker", "-E", "-P", "threads", "-c", "2", "--loglevel", "ERROR")
    try:
        script = "import tapp; [tapp.nap.delay(str(n), 0) for n in range(5)]"
        subprocess.run([sys.executable, "-c", script], cwd=flower.directory, env=flower.env, check=True)
        eventually(lambda: len(json.loads(flower.get("/api/tasks"))) == 5, "five tasks")
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    saved = flower.home / "flower"
    seen = json.loads(flower.get("/api/tasks")).keys()
    # A save may have begun before the last of them was there.
    eventually(lambda: saved.exists() and _holds(saved, seen), "a save of all five")
    flower.kill()
    flower.start()
    assert json.loads(flower.get("/api/tasks")).keys() == seen


def test_every_page_wants_the_password(flower: Flower) -> None:
    flower.start()
    assert "Workers" in flower.get("/")
    for path in ("/", "/tasks", "/api/tasks", "/api/workers", "/metrics", "/broker"):
        for password in ("", "wrong"):
            with pytest.raises(urllib.error.HTTPError) as raised:
                flower.get(path, password=password)
            assert raised.value.code == 401, path
            raised.value.close()
    sockets = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{flower.port:04X} 00000000:0000 0A" in sockets and f"00000000:{flower.port:04X} " not in sockets


def test_without_a_password_it_does_not_start(flower: Flower) -> None:
    flower.env["FLOWER_PASSWORD"] = ""
    homes.write(flower.home / "env", "")
    process = flower.celery("flower", f"--conf={CONFIG}")
    assert process.wait(20) != 0
