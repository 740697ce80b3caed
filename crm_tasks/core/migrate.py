"""Migrations: brings the database to the newest version. Several hosts may try at once; one does it.

Alembic is loaded only where migrations run; every process asks for the version.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db, partitions
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
FOLDER = Path(__file__).resolve().parents[2] / "migrations"


@lru_cache(maxsize=1)
def head() -> str:
    """Return the newest version that this code knows: files are numbered, their names are the versions."""
    return max(path.stem for path in (FOLDER / "versions").glob("[0-9]*.py"))


def version(session: Session) -> str | None:
    """Return the version the database is at; None if it has no tables yet."""
    if session.scalar(sa.text("SELECT to_regclass('alembic_version')")) is None:
        return None
    return session.scalar(sa.text("SELECT version_num FROM alembic_version"))


def config() -> Any:
    """Return Alembic's configuration for our folder."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.set_main_option("path_separator", "os")
    return made


def upgrade(revision: str = "head") -> None:
    """Migrate up, and create the partitions of the coming days."""
    from alembic import command

    command.upgrade(config(), revision)
    db.retrying(lambda session: partitions.ensure(session, session.scalar(sa.select(db.now()))))  # type: ignore[arg-type]
    log.info("migrate.done", version=db.retrying(version))


def downgrade(revision: str) -> None:
    """Migrate down."""
    from alembic import command

    command.downgrade(config(), revision)
