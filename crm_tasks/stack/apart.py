"""Doing something in a child process, so that what it loads is gone again afterwards.

The supervisor lives as long as the system: without this it would carry two database drivers, 13 MB, for the few
seconds in which it waits for the stores.
"""

import os
import pickle
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_CHECK_EVERY = 0.05


def apart(function: Callable[[], T], check: Callable[[], None] | None = None) -> T:
    """Run a function in a child and return what it returned, or raise what it raised.

    `check` runs here meanwhile, and may raise to give up: the child then ends.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(function, writing)
    os.close(writing)
    try:
        good, value = pickle.loads(_read(reading, check))  # noqa: S301  our own child's
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not good:
        raise value
    return value


def _run(function: Callable[[], Any], writing: int) -> None:
    """Run in the child, which never returns."""
    try:
        try:
            answer = pickle.dumps((True, function()))
        except Exception as error:  # noqa: BLE001  the parent raises it
            answer = pickle.dumps((False, error))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _read(reading: int, check: Callable[[], None] | None) -> bytes:
    parts: list[bytes] = []
    while True:
        if check:
            check()
        if select.select([reading], [], [], _CHECK_EVERY)[0]:
            part = os.read(reading, 65_536)
            if not part:
                return b"".join(parts) or pickle.dumps((False, ChildProcessError("it ended without an answer")))
            parts.append(part)
