"""Runs migrations: one migrator at a time, and none waits long for a lock that customers hold."""

import re
from typing import Any

import sqlalchemy as sa
from alembic import context

from crm_tasks import models
from crm_tasks.core import db

_PART = re.compile(r".*_(\d{8}|default)$")
_LOCK = "SELECT pg_advisory_lock(hashtext('migrations'))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('migrations'))"


def _include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave the partitions themselves out of the comparison; they come and go by themselves."""
    return not (kind == "table" and name is not None and _PART.match(name))


def _run() -> None:
    engine = sa.create_engine(db.engine().url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(_LOCK))
        connection.commit()
        try:
            connection.execute(sa.text("SET lock_timeout = '2s'"))
            connection.commit()
            context.configure(
                connection=connection,
                target_metadata=models.Base.metadata,
                include_name=_include_name,
                transaction_per_migration=True,
                compare_type=True,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.execute(sa.text(_UNLOCK))
            connection.commit()


_run()
