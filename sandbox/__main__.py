"""`python -m sandbox`: serve the sandbox until SIGTERM or Ctrl-C. The worker never outlives this process."""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from sandbox.settings import SMTP_HOST, Settings, SettingsError, load

_PR_SET_PDEATHSIG = 1
_PORT_WAIT = 2.0
_TARGET = "sandbox.__main__:serve_app"


def serve_app() -> Any:
    """Build the app inside the worker."""
    _die_with_parent(os.getppid())
    from sandbox.app import create_app
    from sandbox.journal import JournalInUseError

    try:
        return create_app()
    except JournalInUseError as error:
        raise SystemExit(f"sandbox: {error}") from None
    except OSError as error:
        raise SystemExit(f"sandbox: cannot begin: {error.strerror or error}.") from None


def main() -> None:
    """Read the environment and serve."""
    try:
        settings = load()
    except SettingsError as error:
        sys.exit(f"sandbox: {error}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for host, port in ((settings.host, settings.port), (SMTP_HOST, settings.smtp_port)):
        _check_port(host, port)
    _announce(settings)
    Granian(
        _TARGET,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        backpressure=1024,
        websockets=False,
        factory=True,
        log_level=LogLevels.error,
        workers_kill_timeout=5,
    ).serve()


def _announce(settings: Settings) -> None:
    shown = f"http://{settings.host}:{settings.port}"
    print(f"Sandbox: {shown}/ (chat), {shown}/log (log), webhooks to {settings.number.webhook_url}", flush=True)  # noqa: T201


def _check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: granian would share it with whoever listens there already."""
    deadline = time.monotonic() + _PORT_WAIT
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if time.monotonic() > deadline:
                    sys.exit(f"sandbox: cannot listen on {host}:{port}: {error.strerror}.")
            else:
                return
        time.sleep(0.1)


def _die_with_parent(parent: int) -> None:
    """Make the kernel kill this worker when the main process is killed; where it cannot, watch for that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
