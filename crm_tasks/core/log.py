"""Logging: one JSON object a line, with the ids of the request or job at hand. Secrets and personal data stay out."""

import logging
import sys
import time
from typing import Any

import orjson
import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, unbind_contextvars

from crm_tasks.config import settings

__all__ = ["bind_contextvars", "bound_contextvars", "configure", "get_logger", "rarely", "unbind_contextvars"]

_said: dict[str, float] = {}
# Libraries whose every line at INFO repeats what ours say, or says a customer's address.
_QUIET = ("alembic", "celery.worker.strategy", "urllib3", "werkzeug", "flower", "tornado.access", "kombu")


def get_logger(name: str) -> Any:
    """Return the logger of a module: `log.info("job.finished", job_id=…)`."""
    return structlog.stdlib.get_logger(name)


def rarely(key: str, seconds: float = 60.0) -> bool:
    """Say whether `key` was last allowed at least so long ago: keeps a repeating warning to one line a minute."""
    now = time.monotonic()
    if now - _said.get(key, -seconds) < seconds:
        return False
    _said[key] = now
    return True


def level() -> int:
    """Return the level of this process: LOG_LEVEL, else WARNING in production and INFO elsewhere."""
    config = settings()
    return logging.getLevelNamesMapping().get(config.log_level, logging.WARNING if config.production else logging.INFO)


def configure(least: int | None = None) -> None:
    """Send every line of this process, ours and the libraries', to standard error as JSON; `least` is the level."""
    least = level() if least is None else least
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Without locals: they would carry secrets and customers' texts into the log.
                structlog.processors.ExceptionRenderer(
                    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=12)
                ),
                structlog.processors.EventRenamer("event"),
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(least)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))
    # Every outcome is already a line of ours.
    logging.getLogger("celery.app.trace").setLevel(logging.CRITICAL)


def _dumps(event: dict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
