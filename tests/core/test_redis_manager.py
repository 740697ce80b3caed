"""The Redis manager and the cache: one client per address, an answer or none within a second, nothing kept."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from crm_tasks.config import settings
from crm_tasks.core import cache, metrics
from crm_tasks.core import redis as redis_module
from crm_tasks.core.cache import TTL
from crm_tasks.core.errors import ConfigError
from crm_tasks.core.redis import RedisManager, manager
from crm_tasks.stack import home as homes
from crm_tasks.stack.stores import running
from crm_tasks.stack.valkey import Valkey
from tests.core.ledger import counted, in_threads, stopped, valkey_pid
from tests.harness import eventually, free_ports

MINUTE = timedelta(minutes=1)


@contextmanager
def using(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Iterator[RedisManager]:
    """Let this process have other addresses, and a manager of its own for them."""
    from dataclasses import replace

    changed = replace(settings(), **changes)
    with monkeypatch.context() as patch:
        patch.setattr(redis_module, "settings", lambda: changed)
        patch.setattr(redis_module, "_manager", None)
        yield manager()
        manager().close_all()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: None) -> Iterator[Valkey]:
    """Give this process a Valkey that the test may stop."""
    homes.make(tmp_path)
    yield Valkey(tmp_path, port=free_ports(1)[0], password="of-this-test")


# --- the manager -------------------------------------------------------------------------------------------------


def test_names_with_one_address_share_a_client_and_others_do_not(stores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert manager() is manager()
    assert manager().client("main") is manager().client("broker")
    with using(monkeypatch, redis_url=settings().redis_url.replace("/0", "/3")) as other:
        assert other.client("main") is not other.client("broker")
        assert other.client("main").get_connection_kwargs()["db"] == 3


def test_many_threads_at_the_start_make_one_client(stores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with using(monkeypatch):
        clients = in_threads(*[lambda: manager().client()] * 8)
        assert len(set(map(id, clients))) == 1


def test_it_keeps_at_most_two_connections_and_says_when_one_opens(
    stores: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with using(monkeypatch) as mine, caplog.at_level(logging.INFO):
        before = connections()
        assert in_threads(*[lambda: [mine.ping() for _ in range(20)]] * 10) == [[True] * 20] * 10
        assert 1 <= connections() - before <= 2
        assert 1 <= sum(record.message == "redis.connected" for record in caplog.records) <= 2
        mine.close_all()
        eventually(lambda: connections() <= before)
        assert caplog.records[-1].message == "redis.closed"
        assert not mine.is_connected()
        assert mine.ping() and mine.is_connected()  # opened again by its next use


def connections() -> int:
    """Return how many connections of ours the tests' Valkey has, beside the one that asks."""
    with redis.Redis.from_url(settings().redis_url, client_name="asking") as client:
        return sum(each["name"] == "crm" for each in client.client_list())


def test_a_broker_that_is_no_redis_cannot_be_asked(stores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with using(monkeypatch, broker_url="amqp://guest@127.0.0.1//") as mine:
        with pytest.raises(ConfigError, match="not Redis"):
            mine.client("broker")
        assert mine.ping("main")


def test_a_forked_child_has_a_manager_of_its_own(stores: None) -> None:
    mine = manager()
    assert mine.ping()
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        fine = manager() is not mine and manager().ping()
        os.write(write, b"1" if fine else b"0")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"1"
    assert mine.ping()


def test_a_server_that_is_away_is_told_at_once_and_used_again_when_it_is_back(
    own: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(monkeypatch, redis_url=own.url) as mine:
        assert (mine.ping(), mine.is_connected()) == (False, False)
        for _ in range(2):
            with running(own):
                assert mine.ping() and mine.is_connected()
                mine.client().set("kept", "1")
            assert (mine.ping(), mine.is_connected()) == (False, False)
            with pytest.raises(redis.ConnectionError):
                mine.client().set("lost", "1")
        with running(own):
            # What was asked for while it was away was refused, not kept to be sent later.
            assert (mine.client().exists("lost"), mine.client().get("kept")) == (0, b"1")


def test_a_server_that_hangs_costs_each_caller_about_a_second_and_no_command_is_sent_later(
    empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    connect = redis_module._Connection._connect
    monkeypatch.setattr(redis_module._Connection, "_connect", lambda self: (tried.append(1), connect(self))[1])
    with using(monkeypatch) as mine:
        assert mine.ping()
        pid = valkey_pid()
        tried.clear()
        with stopped(pid):
            assert not mine.ping()
            assert cache.set("while away", 1, MINUTE) is False
            assert len(tried) <= 2  # bounded: no command has more than one try
        assert eventually(mine.ping)
        assert mine.client().keys("crm:cache:*") == []


# --- the cache ---------------------------------------------------------------------------------------------------


def test_what_is_stored_is_read_until_its_time_is_over(empty: None) -> None:
    assert cache.get("k") is None and not cache.exists("k")
    assert cache.set("k", {"a": [1, "ü", None]}, MINUTE) is True
    assert (cache.get("k"), cache.exists("k")) == ({"a": [1, "ü", None]}, True)
    client, key = manager().client(), f"{settings().key_prefix}cache:k"
    assert 0 < client.pttl(key) <= 60_000
    assert (cache.delete("k", "not there"), cache.delete(), cache.get("k")) == (1, 0, None)
    cache.set("k", 1, timedelta(milliseconds=30))
    assert eventually(lambda: cache.get("k") is None)


def test_a_counter_lives_from_its_first_use_on(empty: None) -> None:
    assert [cache.incr("n", MINUTE), cache.incr("n", timedelta(hours=5), by=4)] == [1, 5]
    assert 0 < manager().client().ttl(f"{settings().key_prefix}cache:n") <= 60


def test_what_is_missing_is_loaded_once_and_nothing_is_remembered_of_nothing(empty: None) -> None:
    asked: list[str] = []

    def load(value: Any) -> Any:
        asked.append("x")
        return value

    assert [cache.get_or_load("k", lambda: load({"n": 1}), MINUTE) for _ in range(3)] == [{"n": 1}] * 3
    assert len(asked) == 1
    assert [cache.get_or_load("none", lambda: load(None), MINUTE) for _ in range(2)] == [None] * 2
    assert len(asked) == 3
    assert [cache.get_or_load("zero", lambda: load(0), MINUTE) for _ in range(2)] == [0, 0]
    assert len(asked) == 4


def test_every_entry_expires(empty: None) -> None:
    cache.set("a", 1, MINUTE)
    cache.incr("b", MINUTE)
    cache.get_or_load("c", lambda: 1, MINUTE)
    client = manager().client()
    assert sorted(client.ttl(key) > 0 for key in client.keys("crm:cache:*")) == [True] * 3


def test_the_times_are_those_that_users_know() -> None:
    seconds = {name: int(value.total_seconds()) for name, value in vars(TTL).items() if name.isupper()}
    assert seconds == {
        "USER_PERMISSIONS": 300,
        "CONTACT_DETAILS": 60,
        "CAMPAIGN_STATS": 30,
        "ANALYTICS_DASHBOARD": 300,
        "SEGMENT_COUNTS": 300,
    }


def test_what_counts_many_rows_is_kept_ten_times_as_long_as_it_took(empty: None) -> None:
    asked: list[int] = []

    def count(rows: int, took: float = 0.0) -> int:
        asked.append(rows)
        time.sleep(took)
        return rows

    assert [cache.counted("few", lambda: count(5_000), lambda rows: rows) for _ in range(2)] == [5_000] * 2
    assert len(asked) == 2
    assert [cache.counted("many", lambda: count(5_001), lambda rows: rows) for _ in range(2)] == [5_001] * 2
    assert len(asked) == 3
    cache.counted("slow", lambda: count(5_001, 0.5), lambda rows: rows)
    left = {name: manager().client().pttl(f"{settings().key_prefix}cache:{name}") for name in ("many", "slow")}
    assert 0 < left["many"] <= 2_000 < 4_000 < left["slow"]


def test_without_redis_reads_miss_writes_are_lost_and_loaders_answer(
    stores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(monkeypatch, redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0"):
        errors = counted("cache_errors")
        assert (cache.get("k"), cache.set("k", 1, MINUTE), cache.delete("k")) == (None, False, 0)
        assert (cache.exists("k"), cache.incr("k", MINUTE)) == (False, None)
        assert cache.get_or_load("k", lambda: "loaded", MINUTE) == "loaded"
        assert counted("cache_errors") == errors + 7


def test_what_cannot_be_read_is_a_miss(empty: None) -> None:
    manager().client().set(f"{settings().key_prefix}cache:k", b"{not json", ex=60)
    assert cache.get_or_load("k", lambda: "loaded", MINUTE) == "loaded"
    assert cache.get("k") == "loaded"


def test_hits_and_misses_are_counted(empty: None) -> None:
    before = metrics.snapshot()
    cache.get("k")
    cache.set("k", 1, MINUTE)
    cache.get("k")
    after = metrics.snapshot()
    assert [after[name] - before.get(name, 0) for name in ("cache_misses", "cache_hits")] == [1, 1]


def test_a_hanging_redis_does_not_hold_the_callers_of_a_loader_up_one_after_the_other(empty: None) -> None:
    """Ten threads share two connections: none waits for all the others' timeouts."""
    assert manager().ping()
    with stopped(valkey_pid()):
        began = time.monotonic()
        answers = in_threads(*[lambda: cache.get_or_load("k", lambda: threading.get_ident(), MINUTE)] * 10)
        took = time.monotonic() - began
    assert len(set(answers)) == 10
    assert took < 10 * 2 * redis_module.COMMAND_TIMEOUT / 2
    assert eventually(manager().ping)
