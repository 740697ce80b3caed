"""Taken ports are found before anything starts."""

import socket
import threading

import pytest

from crm_tasks.core.errors import ConfigError
from crm_tasks.stack import ports
from crm_tasks.stack.ports import Port
from tests.harness import free_ports


def test_free_ports_are_fine() -> None:
    first, second = free_ports(2)
    ports.check([Port("PORT", "127.0.0.1", first), Port("FLOWER_PORT", "127.0.0.1", second)])


@pytest.mark.parametrize("reuse", [False, True])
def test_a_listener_takes_its_port_even_one_that_shares_as_granian_does(reuse: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=reuse) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError) as raised:
            ports.check([Port("FLOWER_PORT", "127.0.0.1", number)])
    assert str(raised.value) == f"Port {number} is taken by another program: set FLOWER_PORT to something else."


def test_all_taken_ports_are_named_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        numbers = [one.getsockname()[1], two.getsockname()[1]]
        with pytest.raises(ConfigError, match=r"set PORT and VALKEY_PORT to something else\.$"):
            ports.check([Port("PORT", "127.0.0.1", numbers[0]), Port("VALKEY_PORT", "127.0.0.1", numbers[1])])


def test_two_of_ours_on_one_port_are_named() -> None:
    with pytest.raises(ConfigError, match="PORT and FLOWER_PORT are both 8123"):
        ports.check([Port("PORT", "127.0.0.1", 8123), Port("FLOWER_PORT", "127.0.0.1", 8123)])


def test_a_port_that_is_about_to_be_free_is_waited_for() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    address = taken.getsockname()
    threading.Timer(0.2, taken.close).start()
    ports.check([Port("PORT", *address)], patience=5)


def test_a_port_that_closes_is_no_obstacle() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            accepted, _ = server.accept()
            accepted.close()
            client.recv(1)
    ports.check([Port("PORT", *address)])


def test_a_host_that_is_not_here_is_named() -> None:
    with pytest.raises(ConfigError, match=r"HOST=192\.0\.2\.1 is not an address of this machine"):
        ports.check([Port("PORT", "192.0.2.1", 8123)])
