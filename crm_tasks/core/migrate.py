"""Migrations: brings the database to the newest version. Several hosts may try at once; one does it."""

from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from crm_tasks.core import db, partitions
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
FOLDER = Path(__file__).resolve().parents[2] / "migrations"


def config() -> Config:
    """Return Alembic's configuration for our folder."""
    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.set_main_option("path_separator", "os")
    return made


@lru_cache(maxsize=1)
def head() -> str:
    """Return the newest version that this code knows."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def version(session: Session) -> str | None:
    """Return the version the database is at; None if it has no tables yet."""
    return MigrationContext.configure(session.connection()).get_current_revision()


def upgrade(revision: str = "head") -> None:
    """Migrate up, and create the partitions of the coming days."""
    command.upgrade(config(), revision)
    db.retrying(lambda session: partitions.ensure(session, session.scalar(sa.select(db.now()))))  # type: ignore[arg-type]
    log.info("migrate.done", version=db.retrying(version))


def downgrade(revision: str) -> None:
    """Migrate down."""
    command.downgrade(config(), revision)
