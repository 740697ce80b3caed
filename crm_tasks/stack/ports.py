"""Are the ports free? Asked of all before anything is started. Its one rule: an answer names the variable."""

import errno
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from crm_tasks.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Port:
    """An address that something of ours will bind, and the variable that moves it."""

    variable: str
    host: str
    number: int


def check(ports: Sequence[Port], *, patience: float = 0.0) -> None:
    """Make sure that every port can be bound, now or within `patience` seconds.

    Raises:
        ConfigError: in one line, which ports cannot and which variables to change.
    """
    for index, port in enumerate(ports):
        for earlier in ports[:index]:
            if port.number == earlier.number:
                raise ConfigError(f"{earlier.variable} and {port.variable} are both {port.number}: change one of them.")
    deadline = time.monotonic() + patience
    while (taken := [port for port in ports if _is_taken(port)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if taken:
        numbers = ", ".join(str(port.number) for port in taken)
        variables = " and ".join(port.variable for port in taken)
        word, verb = ("Port", "is") if len(taken) == 1 else ("Ports", "are")
        raise ConfigError(f"{word} {numbers} {verb} taken by another program: set {variables} to something else.")


def _is_taken(port: Port) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(port.host, port.number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections that are closing are no obstacle, a listener is.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return True
        if error.errno == errno.EACCES:
            raise ConfigError(f"Port {port.number} needs more rights: set {port.variable} to 1024 or more.") from None
        raise ConfigError(f"HOST={port.host} is not an address of this machine.") from None
    return False
