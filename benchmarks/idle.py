"""What `make run` needs when nothing happens: memory of each process, and connections of each to Redis."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import requests

from benchmarks import lab, measure
from tests.harness import ROOT, free_ports

_SETTLE = 8.0


@dataclass(frozen=True, slots=True)
class Resident:
    """One process."""

    name: str
    pss_mb: float
    redis_connections: int


def ours() -> list[Resident]:
    """Start `crm up` with a home of its own, let it come to rest, look, stop it."""
    ports = free_ports(6)
    names = ("PORT", "FLOWER_PORT", "SANDBOX_PORT", "POSTGRES_PORT", "VALKEY_PORT", "SANDBOX_SMTP_PORT")
    env = {name: value for name, value in os.environ.items() if name not in _OURS}
    env |= dict(zip(names, map(str, ports), strict=True)) | {"CRM_HOME": str(lab.HOME / "up"), "PYTHONPATH": str(ROOT)}
    log = (lab.HOME / "up.log").open("wb")
    leader = subprocess.Popen([sys.executable, "-m", "crm_tasks.cli", "up"], env=env, cwd=ROOT, stdout=log, stderr=log)
    try:
        measure.until(lambda: _live(ports[0]) and _live(ports[2]), 120, every=0.2)
        time.sleep(_SETTLE)
        return [_look(process, ports[4]) for process in measure.family(leader.pid)]
    finally:
        leader.send_signal(signal.SIGTERM)
        leader.wait(60)


_PARTS = ("webapp", "sandbox", "worker -n io", "worker -n campaigns", "worker -n bulk", "beat", "flower", "guard")
_OURS = {"DATABASE_URL", "REDIS_URL", "CRM_ENV", "AI_BASE_URL", "AI_API_KEY", "MALLOC_ARENA_MAX", "LOG_LEVEL"}


def _live(port: int) -> bool:
    try:
        requests.get(f"http://127.0.0.1:{port}/live", timeout=1)
    except requests.RequestException:
        return False
    return True


def _look(process: psutil.Process, valkey: int) -> Resident:
    return Resident(_name(process), measure.pss_mb(process), measure.connections(process, valkey))


def _name(process: psutil.Process) -> str:
    """Return what a process is, shorter than its command line."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return "?"
    line = " ".join(words)
    for part in _PARTS:
        if f" {part}" in line or f"/{part}" in line:
            return part.removeprefix("worker -n ")
    if "valkey" in words[0] or words[0].startswith("postgres"):
        return line[:40]
    return "postgres" if words[0].endswith("/postgres") else "crm up"
