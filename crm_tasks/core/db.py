"""Postgres: one engine per process, transactions that doors own, retry of transient errors only.

`transaction()` opens one; `retrying()` runs a whole one again after a deadlock or a lost connection. Services get the
session and never commit. `autocommit()` is for single statements of the ledger.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson
import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger, rarely

log = get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

# What earlier systems retried (ENOTFOUND, ECONNREFUSED, ETIMEDOUT, ECONNRESET have no SQLSTATE: see is_transient)
# plus the states of a server that is shutting down, a deadlock and a serialization failure.
TRANSIENT_STATES = frozenset({"57P01", "57P02", "57P03", "40001", "40P01", "53300"})
RETRY_DELAYS = (0.1, 0.2)
_IDLE_CHECK = 1.0


class Base(DeclarativeBase):
    """Every table of the system."""

    type_annotation_map = {str: sa.Text()}  # noqa: RUF012  SQLAlchemy's name and form
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def now() -> sa.ColumnElement[Any]:
    """Return the one clock of the system, the database's (`crm_now()`); tests replace that function to move time."""
    return sa.func.crm_now(type_=sa.DateTime(timezone=True))


def dumps(value: Any) -> str:
    """Return a value as JSON text; ids and moments become text."""
    return orjson.dumps(value, default=str).decode()


def changed(result: sa.Result) -> int:
    """Return how many rows a statement changed."""
    return result.rowcount  # type: ignore[attr-defined]


def is_disconnect(error: BaseException) -> bool:
    """Say whether the database was not there, rather than unwilling."""
    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = _state(error)
    # A failure while connecting (refused, no such host, starting up) carries no SQLSTATE at all.
    if state is None:
        return isinstance(error, OperationalError | psycopg.OperationalError)
    return state.startswith("08") or state in {"57P01", "57P02", "57P03", "53300"}


def is_transient(error: BaseException) -> bool:
    """Say whether the same transaction may well succeed if run again."""
    return is_disconnect(error) or _state(error) in TRANSIENT_STATES


def _state(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", error), "sqlstate", None)


_options: dict[str, Any] = {}
_engine: Engine | None = None
_lock = threading.Lock()


def configure(*, pool_size: int, pool_timeout: float) -> None:
    """Choose the pool of this process, and of the children it forks later, before its first use."""
    _options.update(pool_size=pool_size, pool_timeout=pool_timeout)
    dispose()


def engine() -> Engine:
    """Return the engine of this process, made at first use."""
    global _engine
    if _engine is None:
        with _lock:
            if _engine is None:
                _engine = _create_engine()
    return _engine


def dispose() -> None:
    """Close the connections of this process; the next use opens new ones."""
    global _engine
    if _engine is not None:
        _engine.dispose()
    _engine = None


def _after_fork() -> None:
    """The sockets belong to the parent: forget them without a goodbye."""
    global _engine, _lock
    _lock = threading.Lock()
    if _engine is not None:
        _engine.dispose(close=False)
    _engine = None


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a transaction: commits at the end, rolls back on an exception. Doors use it; services get the session."""
    connection = _connect()
    try:
        with Session(connection, expire_on_commit=False) as session, session.begin():
            yield session
    finally:
        connection.close()


def retrying(function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function(session, …)` in a transaction; run it all again when the error is transient (3 attempts)."""
    for delay in (*RETRY_DELAYS, None):
        try:
            with transaction() as session:
                return function(session, *args, **kwargs)
        except (DBAPIError, psycopg.Error) as error:
            if delay is None or not is_transient(error):
                raise
            metrics.count("db_retries")
            log.warning("db.retry", function=function.__qualname__, error=reason(error), delay=delay)
            time.sleep(delay)
    raise AssertionError("unreachable")


@contextmanager
def autocommit() -> Iterator[psycopg.Connection]:
    """Give the driver's own connection, on which every statement commits alone.

    For the ledger's single statements: without SQLAlchemy between, a claim and its end cost a quarter of the time.
    """
    pooled = engine().raw_connection()
    connection: psycopg.Connection = pooled.driver_connection  # type: ignore[assignment]
    try:
        connection.autocommit = True
        yield connection
    except psycopg.OperationalError:
        pooled.invalidate()
        raise
    finally:
        if pooled.is_valid:
            connection.autocommit = False
        pooled.close()


@contextmanager
def aside() -> Iterator[Session]:
    """Open a transaction on a connection outside the pool, for who asks in the middle of another transaction."""
    made = sa.create_engine(
        settings().database_url, poolclass=sa.NullPool, hide_parameters=True, connect_args=_connect_args()
    )
    with made.connect() as connection, Session(connection) as session, session.begin():
        yield session


def driver(session: Session) -> psycopg.Connection:
    """Return the driver's connection of a session: what is executed on it is part of the session's transaction."""
    return session.connection().connection.driver_connection  # type: ignore[return-value]


def dedicated(**options: Any) -> psycopg.Connection:
    """Open a connection outside the pool: for lease renewal, ingestion and listening. The caller closes it."""
    return psycopg.connect(psycopg_url(), autocommit=True, **{**_connect_args(), **options})


def psycopg_url() -> str:
    """Return the database's address as libpq wants it."""
    return settings().database_url.replace("postgresql+psycopg://", "postgresql://", 1)


def pool_in_use() -> tuple[int, int]:
    """Return how many connections of the pool are in use, and how many there may be."""
    pool = engine().pool
    return pool.checkedout(), pool.size()  # type: ignore[attr-defined]


def _connect() -> Connection:
    """Take a connection; nothing has been done yet, so a transient failure is simply tried again."""
    for delay in (*RETRY_DELAYS, None):
        try:
            return engine().connect()
        except OperationalError as error:
            if delay is None or not is_transient(error):
                raise
            metrics.count("db_retries")
            log.warning("db.connect_retry", error=reason(error), delay=delay)
            time.sleep(delay)
    raise AssertionError("unreachable")


def _connect_args() -> dict[str, Any]:
    return {
        "connect_timeout": 5,
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 20,
        "application_name": "crm",
        "options": "-c TimeZone=UTC -c idle_in_transaction_session_timeout=30s -c statement_timeout=60s",
    }


def _create_engine() -> Engine:
    config = settings()
    options = {
        "pool_size": config.database_pool_size,
        "pool_timeout": config.database_pool_timeout,
        **_options,
    }
    made = sa.create_engine(
        config.database_url,
        max_overflow=0,
        pool_recycle=1800,
        pool_use_lifo=True,
        # An error's text goes to logs and to the ledger: without the values, which are people's.
        hide_parameters=True,
        json_serializer=dumps,
        json_deserializer=orjson.loads,
        connect_args=_connect_args(),
        **options,
    )
    event.listen(made, "connect", _on_connect)
    event.listen(made, "checkin", _on_checkin)
    event.listen(made, "checkout", partial(_on_checkout, made))
    event.listen(made, "before_cursor_execute", _before_execute)
    event.listen(made, "after_cursor_execute", _after_execute)
    return made


def _on_connect(_connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()
    log.info("db.connected")


def _on_checkin(_connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _on_checkout(made: Engine, connection: psycopg.Connection, record: ConnectionPoolEntry, *_: Any) -> None:
    """Test a connection that lay idle, so that a restart of Postgres is not met by the next customer."""
    if time.monotonic() - record.info["idle_since"] > _IDLE_CHECK:
        try:
            made.dialect.do_ping(connection)  # type: ignore[arg-type]
        except psycopg.Error as error:
            log.warning("db.stale_connection", error=reason(error))
            raise DisconnectionError from error
    used, size = made.pool.checkedout(), made.pool.size()  # type: ignore[attr-defined]
    if size > 1 and used >= size * settings().database_pool_usage_threshold:
        metrics.count("db_pool_high")
        if rarely("db.pool_high"):
            log.warning("db.pool_high", used=used, size=size)


def _before_execute(connection: Connection, *_: Any) -> None:
    connection.info["started"] = time.perf_counter()


def _after_execute(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    took = time.perf_counter() - connection.info["started"]
    if took > settings().database_slow_query.total_seconds():
        metrics.count("db_slow_queries")
        log.warning("db.slow_query", ms=round(took * 1000), statement=" ".join(statement.split())[:500])


def reason(error: BaseException) -> str:
    """Return the first line of an error, short and without the values of a statement."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"[:200]
