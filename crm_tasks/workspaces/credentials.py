"""The credentials of channels in memory and, encrypted, in CRM_HOME/credentials.cache.

Whether what is in memory is still right is asked at each look-up, together with whether the channel is there at all:
by a digest of its row. So a change in Postgres, whoever made it, is seen by the very next send of every process. The
file is for the day on which the database is lost: `crm channel restore-credentials` brings them back from it.
"""

import copy
import os
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import crypto, db, metrics
from crm_tasks.core.db import dumps
from crm_tasks.core.errors import ConfigError
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.types import Choice
from crm_tasks.workspaces.models import Channel, Workspace

log = get_logger(__name__)

SWEEP = 60.0
# As one row of the table, whatever columns it has: equal digests are equal channels.
_DIGEST = sa.func.md5(sa.cast(sa.text("channels"), sa.Text))
_ALL = sa.text("SELECT coalesce(md5(string_agg(md5(channels::text), '' ORDER BY id)), '') FROM channels")


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    since: float
    values: dict[str, Any]


_known: dict[uuid.UUID, _Known] = {}
_lock = threading.Lock()
_keeper: threading.Thread | None = None


def channel(session: Session, channel_id: uuid.UUID, *, digest: str | None = None) -> Channel:
    """Return a copy of a channel with its credentials, for reading: what is changed in it is kept nowhere.

    Args:
        digest: of its row in this very transaction, `md5(channels::text)`, by those who have read it anyway.

    Raises:
        NoResultFound: there is no such channel. ConfigError: none of our keys opens its credentials.
    """
    digest = digest or session.scalar(sa.select(_DIGEST).select_from(Channel).where(Channel.id == channel_id))
    known = _known.get(channel_id)
    if known is not None and known.digest == digest and _fresh(known):
        metrics.count("credentials_hits")
        return Channel(**copy.deepcopy(known.values))
    metrics.count("credentials_misses")
    found = session.get_one(Channel, channel_id, populate_existing=True)
    values = {name: getattr(found, name) for name in _columns()}
    with _lock:
        _known[channel_id] = _Known(digest or "", time.monotonic(), copy.deepcopy(values))
    return Channel(**copy.deepcopy(values))


def channels(session: Session, channel_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Channel]:
    """Return copies of several channels with their credentials, as `channel` does."""
    query = sa.select(Channel.id, _DIGEST).select_from(Channel).where(Channel.id.in_(channel_ids))
    return {channel_id: channel(session, channel_id, digest=digest) for channel_id, digest in session.execute(query)}


def forget(channel_id: uuid.UUID | None = None) -> None:
    """Forget one channel or all of them: the next look-up reads Postgres."""
    with _lock:
        if channel_id is None:
            _known.clear()
        else:
            _known.pop(channel_id, None)


def _fresh(known: _Known) -> bool:
    return time.monotonic() - known.since < settings().credentials_cache_ttl.total_seconds()


def _columns() -> list[str]:
    return [column.key for column in Channel.__table__.columns]


# --- the keeper --------------------------------------------------------------------------------------------------


def begin() -> None:
    """Begin to keep: forget what is too old, and have the file say what Postgres does, once a minute."""
    global _keeper
    with _lock:
        if _keeper is None:
            _keeper = threading.Thread(target=_keep, name="credentials", daemon=True)
            _keeper.start()


def _keep() -> None:
    load()
    written = ""
    while True:
        try:
            written = save(written)
        except Exception as error:  # noqa: BLE001  whatever it is, the next minute comes
            if rarely("credentials.not_kept", 300):
                log.warning("credentials.not_kept", error=db.reason(error))
        time.sleep(SWEEP)
        sweep()


def sweep() -> None:
    """Forget what is older than CREDENTIALS_CACHE_TTL_MS: secrets that nobody uses do not stay in memory."""
    with _lock:
        for channel_id in [each for each, known in _known.items() if not _fresh(known)]:
            del _known[channel_id]


def _after_fork() -> None:
    global _lock, _keeper
    _lock, _keeper = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)


# --- the file ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file has of one channel: its columns and its workspace's, and when Postgres last had it."""

    seen_at: datetime
    digest: str
    channel: dict[str, Any]
    workspace: dict[str, Any]

    def __repr__(self) -> str:
        return f"Kept({self.channel.get('id')})"


def path() -> Path:
    """Return where the file is."""
    return settings().home / "credentials.cache"


def age() -> float | None:
    """Return for how many seconds nobody has compared the file with Postgres; None if there is none."""
    try:
        return max(0.0, time.time() - path().stat().st_mtime)
    except OSError:
        return None


def save(written: str = "") -> str:
    """Make the file say what Postgres does, unless it did as of `written`; return the digest of all channels.

    What Postgres has no more, or older, stays for DB_CLEANUP_RETENTION_DAYS: a database that was lost or restored
    from a backup must not take the file with it.
    """
    digest, present, moment = db.retrying(_present, written)
    if digest == written and path().exists():
        os.utime(path())
        return digest
    kept = read()
    for channel_id, found in present.items():
        older = kept.get(channel_id)
        if older is None or older.channel["credentials_at"] <= found.channel["credentials_at"]:
            kept[channel_id] = found
    since = moment - settings().cleanup_retention
    _write({each: found for each, found in kept.items() if found.seen_at > since or each in present})
    return digest


def _present(session: Session, written: str) -> tuple[str, dict[uuid.UUID, Kept], datetime]:
    moment: datetime = session.scalar(sa.select(db.now()))  # type: ignore[assignment]
    digest: str = session.scalar(_ALL)
    if digest == written:
        return digest, {}, moment
    query = sa.select(*(_raw(column) for column in Channel.__table__.columns), _DIGEST.label("digest"))
    workspaces = {row.id: dict(row._mapping) for row in session.execute(sa.select(Workspace.__table__))}
    found = {}
    for row in session.execute(query):
        values = dict(row._mapping)
        stamp = values.pop("digest")
        if (opened := _opened(values["credentials"])) is None:
            log.warning("credentials.not_readable", channel_id=str(row.id))
            continue
        found[row.id] = Kept(moment, stamp, values | {"credentials": opened}, workspaces[row.workspace_id])
    return digest, found, moment


def _raw(column: Any) -> sa.ColumnElement[Any]:
    """Return a column, encrypted ones as they are: one that cannot be opened must not hide the others."""
    if isinstance(column.type, crypto.Encrypted):
        return sa.type_coerce(column, sa.LargeBinary).label(column.key)
    return column


def _opened(token: bytes | None) -> Any:
    try:
        return crypto.decrypt(token) if token else None
    except ConfigError:
        return None


def _write(kept: dict[uuid.UUID, Kept]) -> None:
    """Replace the file at once, readable by nobody else."""
    entries = [
        {"seen_at": each.seen_at, "digest": each.digest, "channel": each.channel, "workspace": each.workspace}
        for each in kept.values()
    ]
    new = path().with_name(f"{path().name}.{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(crypto.encrypt(orjson.loads(dumps(entries))))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path())
    finally:
        new.unlink(missing_ok=True)


def read(file: Path | None = None) -> dict[uuid.UUID, Kept]:
    """Return what the file has; nothing, with a warning, if it cannot be read or was written with a foreign key."""
    source = file or path()
    try:
        entries = crypto.decrypt(source.read_bytes())
        found = [_kept(entry) for entry in entries]
    except FileNotFoundError:
        return {}
    except (ConfigError, OSError, ValueError, TypeError, KeyError) as error:
        log.warning("credentials.file_ignored", error=type(error).__name__)
        return {}
    return {each.channel["id"]: each for each in found}


def load() -> None:
    """Know what the file has: what Postgres still has just so need not be opened again."""
    for channel_id, kept in read().items():
        if set(kept.channel) == set(_columns()):
            with _lock:
                _known.setdefault(channel_id, _Known(kept.digest, time.monotonic(), kept.channel))


def _kept(entry: dict[str, Any]) -> Kept:
    return Kept(
        datetime.fromisoformat(entry["seen_at"]),
        entry["digest"],
        _typed(Channel.__table__, entry["channel"]),
        _typed(Workspace.__table__, entry["workspace"]),
    )


def _typed(table: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return values as the table's columns have them; what it has not (any more) is left out."""
    return {column.key: _value(column, values[column.key]) for column in table.columns if column.key in values}


def _value(column: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, Choice):
        return column.type.choices(value)
    if isinstance(column.type, sa.Uuid):
        return uuid.UUID(value)
    if isinstance(column.type, sa.DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, sa.Interval):
        return timedelta(seconds=float(value))
    return value
