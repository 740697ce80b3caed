"""Several processes, one Valkey: whatever they ask for, no limit is broken, and hardly anything allowed is unused."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from crm_tasks.core.redis import manager
from crm_tasks.stack import home
from crm_tasks.stack.process import Process
from crm_tasks.stack.stores import wait_for
from crm_tasks.stack.valkey import Valkey
from tests.core.ledger import execute
from tests.harness import ROOT, eventually, free_ports

PROCESSES = 3
Order = dict[str, Any]


class Pacer:
    """A process of tests.core.pacer."""

    def __init__(self, *argv: str, **env: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.core.pacer", *argv],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LOG_LEVEL": "WARNING", **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def tell(self, order: Order) -> None:
        """Give it an order."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(orjson.dumps(order) + b"\n")
        self.popen.stdin.flush()

    def answer(self) -> Any:
        """Return what it says next."""
        assert self.popen.stdout is not None
        while not (line := self.popen.stdout.readline()).startswith(b'{"starts"'):
            assert line, "a pacer ended"
        return orjson.loads(line)

    def end(self) -> None:
        """Let it end."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.popen.wait(20)


@pytest.fixture(scope="module")
def pacers(stores: None) -> Iterator[list[Pacer]]:
    """Give some processes to the whole module."""
    made = [Pacer() for _ in range(PROCESSES)]
    yield made
    for pacer in made:
        pacer.end()


def together(pacers: list[Pacer], orders: list[Order]) -> list[Any]:
    for pacer, order in zip(pacers, orders, strict=True):
        pacer.tell(order)
    return [pacer.answer() for pacer in pacers]


def new_redis() -> None:
    """Empty Valkey, as one that has been there for long."""
    manager().client().flushall()
    manager().client().hset("crm:pace", "since", 1)


def excess(starts: list[float], rate: float, burst: int) -> float:
    """Return by how many starts the worst of all windows holds more than it may."""
    starts = sorted(starts)
    # A window from start i to start j holds j - i + 1: the worst is found in one pass.
    worst, least = 0.0, float("inf")
    for index, start in enumerate(starts):
        least = min(least, index - start * rate)
        worst = max(worst, index - start * rate - least + 1 - burst)
    return worst


def least_apart(arrivals: list[float], count: int) -> float:
    """Return the shortest time from any arrival to the one that is so many later."""
    arrivals = sorted(arrivals)
    return min((later - earlier for earlier, later in zip(arrivals, arrivals[count:], strict=False)), default=math.inf)


def most_members(starts: list[tuple[float, str]], window: float) -> int:
    """Return how many different members the fullest window holds."""
    return max(
        (len({member for at, member in starts if end - window < at <= end}) for end, _ in starts),
        default=0,
    )


def a_bucket(name: str) -> st.SearchStrategy[Order]:
    return st.fixed_dictionaries(
        {
            "name": st.just(name),
            "rate": st.sampled_from([7, 20, 80, 300]),
            "burst": st.sampled_from([1, 2, 5, 20]),
            "share": st.sampled_from([0.0, 0.1, 0.4]),
        }
    )


def some_members(name: str) -> st.SearchStrategy[Order]:
    return st.fixed_dictionaries(
        {"name": st.just(name), "limit": st.integers(1, 8), "window": st.sampled_from([0.2, 0.7])}
    )


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Order], list[list[Any]]]:
    """Return limits, and for each process its calls."""
    limits = [draw(a_bucket("a")), draw(a_bucket("b")), draw(some_members("m"))]
    call = st.tuples(
        st.sampled_from([0, 0, 0.001, 0.005, 0.05]),
        st.lists(st.sampled_from(range(3)), min_size=1, max_size=3, unique=True).map(sorted),
        st.sampled_from([1, 3, 5, 10]),
        st.sampled_from("abcdefghijkl"),
        st.sampled_from([False, False, False, True]),
    )
    calls = st.lists(call, min_size=20, max_size=80)
    return limits, [draw(calls) for _ in range(PROCESSES)]


# Processes at work do not repeat themselves: there is nothing to shrink.
@settings(max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(plan=plans())
def test_no_window_of_any_bucket_is_ever_exceeded(
    empty: None, pacers: list[Pacer], plan: tuple[list[Order], list[list[Any]]]
) -> None:
    limits, by_process = plan
    new_redis()
    orders = [
        {"calls": [(delay, [limits[n] for n in chosen], *rest) for delay, chosen, *rest in calls]}
        for calls in by_process
    ]
    answers = together(pacers, orders)
    # A process that Redis left without an answer for seconds goes on alone, which is another test's.
    assume(not any(answer["alone"] for answer in answers))
    done = [
        (chosen, priority, member, at)
        for calls, starts in zip(by_process, answers, strict=True)
        for (_, chosen, priority, member, _), at in zip(calls, starts["starts"], strict=True)
        if at is not None
    ]
    for number, limit in enumerate(limits):
        mine = [(at, priority, member) for chosen, priority, member, at in done if number in chosen]
        if "window" in limit:
            assert most_members([(at, member) for at, _, member in mine], limit["window"]) <= limit["limit"]
            continue
        assert excess([at for at, _, _ in mine], limit["rate"], limit["burst"]) < 0.01
        if limit["burst"] > 1 and limit["share"]:
            low = [at for at, priority, _ in mine if priority > 3]
            assert excess(low, limit["rate"] * (1 - limit["share"]), limit["burst"]) < 0.01


@st.composite
def sends(draw: st.DrawFn) -> tuple[Order, list[list[Any]]]:
    """Return a window, and for each process its requests: twice as many as it lets pass."""
    count = draw(st.sampled_from([10, 20, 80, 150]))
    window = {"name": "w", "count": count, "seconds": draw(st.sampled_from([1.0, 0.6]))}
    request = st.tuples(
        st.just(PROCESSES * window["seconds"] / count / 2),
        st.sampled_from([1, 5, 5]),
        st.sampled_from([0, 0.001, 0.02, 0.1, 0.19, 0.3]),
        st.sampled_from([0, 0.003, 0.05]),
        st.sampled_from([True, True, True, False]),
    )
    several = st.lists(request, min_size=count, max_size=count)
    return window, [draw(several) for _ in range(PROCESSES)]


@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(plan=sends())
def test_no_window_holds_more_arrivals_than_its_count_however_late_they_are(
    empty: None, pacers: list[Pacer], plan: tuple[Order, list[list[Any]]]
) -> None:
    window, by_process = plan
    new_redis()
    answers = together(pacers, [{"requests": requests, "window": window} for requests in by_process])
    assume(not any(answer["alone"] for answer in answers))
    arrivals = [at for answer in answers for at in answer["starts"]]
    assert len(arrivals) > window["count"]
    # A microsecond is what the clocks are read to.
    assert least_apart(arrivals, window["count"]) > window["seconds"] - 2e-6


@pytest.mark.parametrize(
    "limits",
    [
        [{"name": "a", "rate": 60}],
        [{"name": "a", "rate": 80, "burst": 8}, {"name": "b", "rate": 60, "burst": 6, "share": 0}],
        [{"name": "w", "count": 60, "share": 0}],
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_allowed_is_used_and_nobody_polls(
    empty: None, pacers: list[Pacer], limits: list[Order], at_once: bool
) -> None:
    new_redis()
    # Three times what is allowed for four seconds; or the work of four seconds, all there at the beginning.
    jobs = 80 if at_once else 240
    order = {"seconds": 4 if not at_once else 20, "jobs": jobs, "every": 0 if at_once else 1 / 60, "limits": limits}
    answers = together(pacers, [{**order, "tick": 0.5, "priority": 5}] * PROCESSES)
    starts = sorted(at for answer in answers for at in answer["starts"])
    if "count" in limits[-1]:
        assert least_apart(starts, 60) >= 1
    else:
        assert excess(starts, 60, limits[-1].get("burst", 1)) < 0.01
    assert len(starts) >= 0.95 * 60 * (starts[-1] - starts[0])
    assert starts[-1] - starts[0] > 3.5
    away = [times for answer in answers for times in answer["away"]]
    if at_once:
        assert len(starts) == PROCESSES * jobs
        assert sum(away) / len(away) < 2


@pytest.fixture
def own_valkey(empty: None, tmp_path: Path) -> Iterator[tuple[Valkey, list[Process]]]:
    """Give a Valkey that a test may stop and kill."""
    home.make(tmp_path)
    valkey = Valkey(tmp_path, port=free_ports(1)[0], password="of-this-test")
    processes = [Process(valkey.program())]
    processes[0].start()
    wait_for(valkey, processes[0])
    yield valkey, processes
    processes[-1].ask_to_stop()
    eventually(processes[-1].ended)


def stop_and_continue(valkey: Valkey, processes: list[Process]) -> None:
    assert processes[-1].pid
    os.kill(processes[-1].pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(processes[-1].pid, signal.SIGCONT)


def kill_and_restart(valkey: Valkey, processes: list[Process]) -> None:
    assert processes[-1].pid
    os.kill(processes[-1].pid, signal.SIGKILL)
    eventually(processes[-1].ended)
    time.sleep(4)
    processes.append(Process(valkey.program()))
    processes[-1].start()
    wait_for(valkey, processes[-1])


BURSTS = {"name": "channel", "rate": 40, "burst": 4, "share": 0}
COUNTED = {"name": "channel", "count": 40, "share": 0}


@pytest.mark.parametrize(
    ("count", "absence", "limit"),
    [(2, stop_and_continue, BURSTS), (4, kill_and_restart, BURSTS), (4, stop_and_continue, COUNTED)],
)
def test_without_redis_each_takes_its_part_and_no_limit_is_broken(
    own_valkey: tuple[Valkey, list[Process]],
    absence: Callable[[Valkey, list[Process]], None],
    count: int,
    limit: Order,
) -> None:
    valkey, processes = own_valkey
    pacers = [Pacer("worker", REDIS_URL=valkey.url) for _ in range(count)]
    eventually(lambda: execute("SELECT count(*) FROM processes WHERE pool = 'threads'")[0][0] == count)
    order = {"seconds": 14, "jobs": 1680 // count, "every": count / 120, "tick": 0, "limits": [limit], "priority": 5}
    for pacer in pacers:
        pacer.tell(order)
    time.sleep(4)
    began = time.time()
    absence(valkey, processes)
    ended = time.time()
    answers = [pacer.answer() for pacer in pacers]
    for pacer in pacers:
        pacer.end()
    starts = sorted(at for answer in answers for at in answer["starts"])
    assert all(answer["alone"] for answer in answers)
    if limit is COUNTED:
        assert least_apart(starts, 40) >= 1
    else:
        assert excess(starts, 40, 4) < 0.01
    # Before, meanwhile, and after.
    assert [any(a < at < b for at in starts) for a, b in [(0, began), (began + 1, ended), (ended + 2, math.inf)]] == [
        True,
        True,
        True,
    ]
