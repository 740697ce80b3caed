"""What the running system writes: one line at a time, with the name of its process.

Its one rule: never die of it. A terminal that went away or a pipe that closed must not stop the supervisor.
"""

import os
import sys
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 31, 96, 93, 92, 95)
_LONGEST = 64 * 1024
OWN = "crm"


class Output:
    """The one writer of the terminal."""

    def __init__(self, stream: TextIO | None = None, *, colour: bool = True) -> None:
        self._stream = stream or sys.stdout
        self._colour = colour and self._stream.isatty()
        self._names: dict[str, int] = {OWN: 0}
        self._width = 8

    def add(self, name: str) -> None:
        """Reserve a colour and room for a name."""
        self._names.setdefault(name, len(self._names))
        self._width = max(self._width, len(name))

    def say(self, text: str) -> None:
        """Write a line of the supervisor's own."""
        for line in text.splitlines():
            self.line(OWN, line)

    def line(self, name: str, text: str) -> None:
        """Write a line of a process as it is."""
        prefix = f"{name:<{self._width}} |"
        if self._colour:
            prefix = f"\x1b[{_COLOURS[self._names.get(name, 0) % len(_COLOURS)]}m{prefix}\x1b[0m"
        try:
            self._stream.write(f"{prefix} {text}\n")
            self._stream.flush()
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._stream = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of this process


class Lines:
    """Cuts the bytes of one process into lines."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._rest = b""

    def read(self) -> tuple[list[str], bool]:
        """Return the lines that have come, and whether there will be no more."""
        try:
            data = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return [], False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > _LONGEST):
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines], not data
