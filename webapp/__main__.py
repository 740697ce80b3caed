"""`python -m webapp`: the web app behind granian, until SIGTERM. HOST, PORT, WEB_WORKERS and WEB_THREADS say how.

The app is made before the workers are forked: they share its memory, which `granian … webapp.wsgi:app` cannot.
"""

import ctypes
import gc
import multiprocessing
import signal
import sys
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from crm_tasks.config import settings
from crm_tasks.core import pulse
from crm_tasks.core.errors import ConfigError
from webapp import create_app

_PR_SET_PDEATHSIG = 1
_made: list[Any] = []


def app() -> Any:
    """Return the app inside a worker, which begins its pulse and ends with this process's parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    pulse.start(pulse.Identity(kind="web", name="web"))
    return _made[0] if _made else create_app()


def main() -> None:
    """Serve."""
    try:
        config = settings()
        _made.append(create_app())
    except ConfigError as error:
        sys.exit(f"web: {error}")
    multiprocessing.set_start_method("fork")
    gc.collect()
    gc.freeze()
    Granian(
        "webapp.__main__:app",
        factory=True,
        address=config.host,
        port=config.port,
        interface=Interfaces.WSGI,
        workers=config.web_workers,
        blocking_threads=config.web_threads,
        backlog=2048,
        backpressure=1024,
        websockets=False,
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
    ).serve()


if __name__ == "__main__":
    # Under its own name, so that granian finds in the workers the very module that made the app.
    from webapp.__main__ import main as serve

    serve()
