"""Postgres as the doors use it: whole transactions, retry of what is transient and of nothing else, one engine each."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db
from tests.core.ledger import counted, execute, in_threads
from tests.harness import eventually, free_ports

pytestmark = pytest.mark.usefixtures("empty")


class Undone(Exception):
    """Rolls a transaction back."""


def error_of(state: str | None) -> psycopg.Error:
    """Return the driver's error of a SQLSTATE, as SQLAlchemy does not wrap it."""
    if state is None:
        return psycopg.OperationalError("connection refused")
    made = psycopg.errors.lookup(state)(f"it says {state}")
    assert made.sqlstate == state
    return made


def failing(times: int, error: Callable[[], Exception], calls: list[int]) -> Callable[[Session], str]:
    """Return something to run in a transaction that fails so many times and then succeeds."""

    def act(session: Session) -> str:
        calls.append(1)
        session.execute(sa.text("INSERT INTO test_tries DEFAULT VALUES"))
        if len(calls) <= times:
            raise error()
        return "done"

    return act


@pytest.fixture
def tries() -> Iterator[None]:
    """Give a table that counts what was committed."""
    execute("CREATE TABLE test_tries (at timestamptz DEFAULT now())")
    yield
    execute("DROP TABLE test_tries")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
def pool() -> Iterator[Callable[..., None]]:
    """Choose the pool of this process for one test."""
    yield lambda **options: db.configure(**options)
    db._options.clear()
    db.dispose()


def committed() -> int:
    return execute("SELECT count(*) FROM test_tries")[0][0]


def test_a_transaction_commits_at_its_end_and_rolls_back_on_any_exception(tries: None) -> None:
    with db.transaction() as session:
        session.execute(sa.text("INSERT INTO test_tries DEFAULT VALUES"))
    assert committed() == 1
    with pytest.raises(Undone), db.transaction() as session:
        session.execute(sa.text("INSERT INTO test_tries DEFAULT VALUES"))
        raise Undone
    assert committed() == 1
    assert db.pool_in_use()[0] == 0


TRANSIENT = ["40001", "40P01", "57P01", "57P02", "57P03", "53300", "08006", "08001", "08003", None]
PERMANENT = ["23505", "23503", "22P02", "42P01", "42501", "57014", "53100", "55P03"]


@pytest.mark.parametrize("state", TRANSIENT)
def test_what_is_transient_is_run_again_as_a_whole_and_commits_once(
    tries: None, quick: None, state: str | None
) -> None:
    calls: list[int] = []
    before = counted("db_retries")
    assert db.retrying(failing(2, lambda: error_of(state), calls)) == "done"
    assert (len(calls), committed(), counted("db_retries") - before) == (3, 1, 2)


@pytest.mark.parametrize("state", TRANSIENT[:2])
def test_three_attempts_are_all(tries: None, quick: None, state: str) -> None:
    calls: list[int] = []
    with pytest.raises(psycopg.Error, match=state):
        db.retrying(failing(3, lambda: error_of(state), calls))
    assert (len(calls), committed()) == (3, 0)


@pytest.mark.parametrize("state", PERMANENT)
def test_nothing_else_is_run_again(tries: None, quick: None, state: str) -> None:
    calls: list[int] = []
    with pytest.raises(psycopg.Error, match=state):
        db.retrying(failing(1, lambda: error_of(state), calls))
    assert (len(calls), committed()) == (1, 0)
    calls.clear()
    with pytest.raises(Undone):
        db.retrying(failing(1, Undone, calls))
    assert len(calls) == 1


def test_a_real_unique_violation_is_not_run_again(quick: None) -> None:
    calls: list[int] = []

    def twice(session: Session) -> None:
        calls.append(1)
        for _ in range(2):
            session.execute(sa.text("INSERT INTO watermarks (name, at) VALUES ('w', now())"))

    with pytest.raises(IntegrityError):
        db.retrying(twice)
    assert len(calls) == 1
    assert not db.is_transient(IntegrityError("", {}, error_of("23505")))


def test_a_real_deadlock_is_run_again_and_both_come_through() -> None:
    execute("INSERT INTO watermarks (name, at) VALUES ('a', now()), ('b', now())")
    together = threading.Barrier(2)
    tried: list[str] = []

    def lock(session: Session, first: str, second: str) -> None:
        for name in (first, second):
            session.execute(
                sa.text("UPDATE watermarks SET at = at + interval '1 h' WHERE name = :name"), {"name": name}
            )
            if name == first and tried.count(first) == 0:
                tried.append(first)
                together.wait(10)

    answers = in_threads(lambda: db.retrying(lock, "a", "b"), lambda: db.retrying(lock, "b", "a"))
    assert answers == [None, None]
    assert execute("SELECT count(*) FROM watermarks WHERE at > now() + interval '119 min'") == [(2,)]


def test_a_connection_that_the_server_has_ended_is_not_met_by_the_next_customer(tries: None, quick: None) -> None:
    def end_others() -> None:
        with psycopg.connect(db.psycopg_url(), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'crm' AND pid <> pg_backend_pid()"
            )

    execute("SELECT 1")
    time.sleep(db._IDLE_CHECK + 0.1)
    end_others()
    assert execute("SELECT 1") == [(1,)]  # it lay idle: tested, and replaced
    end_others()
    assert db.retrying(lambda session: session.scalar(sa.text("SELECT 1"))) == 1  # just used: met, and run again


def test_without_a_server_the_answer_is_quick_and_says_so(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    from dataclasses import replace

    nowhere = replace(settings(), database_url=f"postgresql+psycopg://crm@127.0.0.1:{free_ports(1)[0]}/crm")
    with monkeypatch.context() as patch:
        patch.setattr(db, "settings", lambda: nowhere)
        patch.setattr(db, "_engine", None)
        with pytest.raises(OperationalError) as refused, db.transaction():
            pass
        assert db.is_disconnect(refused.value) and db.is_transient(refused.value)
        assert "refused" in db.reason(refused.value)
        db.dispose()


def test_a_forked_child_has_connections_of_its_own() -> None:
    """One lies idle in the pool at the fork: both would talk over it, and the child's end would close it."""
    mine = execute("SELECT pg_backend_pid()")[0][0]
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(write, str(execute("SELECT pg_backend_pid()")[0][0]).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(read, 20)) != mine
    assert execute("SELECT pg_backend_pid()")[0][0] == mine


def test_a_slow_query_is_logged_without_its_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings().database_slow_query.total_seconds() == 0.5
    slow = counted("db_slow_queries")
    with caplog.at_level(logging.WARNING), db.transaction() as session:
        session.execute(sa.text("SELECT pg_sleep(:s), :who"), {"s": 0.01, "who": "+4915550001111"})
        assert (counted("db_slow_queries"), caplog.records) == (slow, [])
        session.execute(sa.text("SELECT pg_sleep(:s), :who"), {"s": 0.55, "who": "+4915550001111"})
    [record] = caplog.records
    assert (record.message, counted("db_slow_queries")) == ("db.slow_query", slow + 1)
    fields = record.fields  # type: ignore[attr-defined]
    assert fields["ms"] >= 550 and "pg_sleep" in fields["statement"]
    assert "15550001111" not in str(fields)


def test_a_pool_in_use_to_four_fifths_is_said(pool: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    assert settings().database_pool_usage_threshold == 0.8
    pool(pool_size=5, pool_timeout=1.0)
    high = counted("db_pool_high")
    with caplog.at_level(logging.WARNING):
        opened = [db.engine().connect() for _ in range(3)]
        assert (counted("db_pool_high") - high, db.pool_in_use()) == (0, (3, 5))
        opened.append(db.engine().connect())
        assert (counted("db_pool_high") - high, db.pool_in_use()) == (1, (4, 5))
        for connection in opened:
            connection.close()
    assert db.pool_in_use() == (0, 5)


def test_a_pool_used_up_makes_callers_wait_so_long_and_no_longer(pool: Callable[..., None], quick: None) -> None:
    pool(pool_size=1, pool_timeout=0.2)
    with db.transaction():
        with pytest.raises(db.PoolTimeout) as refused, db.transaction():
            pass
    assert db.is_disconnect(refused.value)
    assert execute("SELECT 1") == [(1,)]


def test_no_transaction_outlives_thirty_seconds_and_no_statement_a_minute() -> None:
    shown = [execute(f"SHOW {name}")[0][0] for name in ("idle_in_transaction_session_timeout", "statement_timeout")]
    assert shown == ["30s", "1min"]
    assert execute("SHOW TimeZone") == [("UTC",)]


def test_the_clock_is_the_databases_and_can_be_moved_in_one_place(clock: Callable[[str], None]) -> None:
    clock("timestamptz '2031-02-03 04:05Z'")
    assert execute("SELECT crm_now()")[0][0].isoformat() == "2031-02-03T04:05:00+00:00"
    with db.transaction() as session:
        assert session.scalar(sa.select(db.now())).year == 2031


def test_an_errors_reason_is_one_line_without_the_values_of_its_statement() -> None:
    def broken(session: Session) -> Any:
        return session.execute(sa.text("SELECT * FROM nowhere WHERE phone = :p"), {"p": "+4915550001111"})

    with pytest.raises(sa.exc.ProgrammingError) as refused:
        db.retrying(broken)
    assert db.reason(refused.value).startswith("UndefinedTable: ") and "\n" not in db.reason(refused.value)
    assert "15550001111" not in str(refused.value)
    assert eventually(lambda: db.pool_in_use()[0] == 0)
