"""The guard ends what is left, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_tasks.stack import guard
from crm_tasks.stack.guard import Group
from tests.harness import eventually, lives

# A leader that ends at once when told, with a child in its group that nothing but SIGKILL ends.
STUBBORN_CHILD = """
import os, signal, time
child = os.fork()
if child == 0:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(300)
"""


@pytest.fixture
def stubborn() -> Iterator[tuple[subprocess.Popen[str], int]]:
    leader = subprocess.Popen(
        [sys.executable, "-c", STUBBORN_CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert leader.stdout
    child = int(leader.stdout.readline())
    yield leader, child
    leader.stdout.close()
    for pid in (leader.pid, child):
        if lives(pid):
            os.kill(pid, signal.SIGKILL)
    leader.wait()


def ignores(pid: int, number: signal.Signals) -> bool:
    (mask,) = (line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line[:6] == "SigIgn")
    return bool(int(mask, 16) >> (number - 1) & 1)


def group(pid: int, patience: float = 0.3) -> Group:
    return Group(pid, guard.birth(pid), signal.SIGTERM, patience)


def test_it_ends_children_that_their_leader_left_behind(stubborn: tuple[subprocess.Popen[str], int]) -> None:
    leader, child = stubborn
    watched = group(leader.pid)
    leader.terminate()
    leader.wait()
    assert lives(child)
    guard.end([watched])
    eventually(lambda: not lives(child))


def test_the_end_of_the_pipe_is_the_order(stubborn: tuple[subprocess.Popen[str], int]) -> None:
    leader, child = stubborn
    process = subprocess.Popen([sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, text=True)
    assert process.stdin
    eventually(lambda: all(ignores(process.pid, number) for number in (signal.SIGINT, signal.SIGTERM)))
    process.stdin.write(group(leader.pid).line())
    process.stdin.flush()
    # What reaches a whole terminal does not end it.
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert lives(child) and process.poll() is None
    process.stdin.close()
    leader.wait(5)
    eventually(lambda: not lives(child))
    assert process.wait(10) == 0


def test_what_was_forgotten_is_left_alone(stubborn: tuple[subprocess.Popen[str], int]) -> None:
    leader, child = stubborn
    orders = f"{group(leader.pid).line()}forget {leader.pid}\n"
    subprocess.run([sys.executable, "-I", "-S", guard.__file__], input=orders, text=True, check=True, timeout=10)
    assert lives(leader.pid) and lives(child)


def test_a_number_that_belongs_to_another_by_now_is_left_alone(stubborn: tuple[subprocess.Popen[str], int]) -> None:
    leader, child = stubborn
    assert guard.end([Group(leader.pid, "an-earlier-boot:12", signal.SIGKILL, 0.1)]) == []
    assert lives(leader.pid) and lives(child)
    assert not Group(leader.pid, "an-earlier-boot:12", signal.SIGKILL, 0.1).is_led()
    assert group(leader.pid).is_led()


def test_nothing_to_do_takes_no_time() -> None:
    started = time.monotonic()
    assert guard.end([]) == []
    assert time.monotonic() - started < 0.5
