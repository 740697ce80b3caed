"""Probes: they hold their bound, name the cause, and keep the secret."""

import http.server
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crm_tasks.core import probe as probes
from crm_tasks.core.probe import NotReady, Probe, Trouble, probe_http, probe_postgres, probe_redis
from crm_tasks.stack import home as homes
from crm_tasks.stack import stores
from crm_tasks.stack.postgres import Postgres
from crm_tasks.stack.valkey import Valkey
from tests.harness import descendants, free_ports

SECRET = "s3cret-of-the-test"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Valkey]]:
    home = tmp_path_factory.mktemp("probed")
    homes.make(home)
    ports = free_ports(2)
    postgres = Postgres(home, port=ports[0], password=SECRET, options={"fsync": "off"})
    valkey = Valkey(home, port=ports[1], password=SECRET)
    with stores.running(postgres, valkey):
        yield postgres, valkey


@pytest.fixture
def silent() -> Iterator[int]:
    """Give the port of a server that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


ADDRESSES: list[tuple[Callable[..., Probe], str]] = [
    (probe_postgres, "postgresql+psycopg://crm:" + SECRET + "@{place}/crm"),
    (probe_redis, "redis://:" + SECRET + "@{place}/0"),
    (probe_http, "http://crm:" + SECRET + "@{place}/live"),
]


def test_a_server_that_serves_is_well(servers: tuple[Postgres, Valkey]) -> None:
    postgres, valkey = servers
    for found in (probe_postgres(postgres.url, 3), probe_redis(valkey.url, 3)):
        assert found.ok and found.kind is None and 0 < found.latency < 3


@pytest.mark.parametrize(("probe", "url"), ADDRESSES)
def test_nothing_listens(probe: Callable[..., Probe], url: str) -> None:
    (port,) = free_ports(1)
    found = probe(url.format(place=f"127.0.0.1:{port}"), 2)
    assert found.kind is Trouble.REFUSED
    assert f"127.0.0.1:{port}: nothing listens there." in found.message and found.latency < 1


@pytest.mark.parametrize(("probe", "url"), ADDRESSES)
def test_a_name_that_does_not_exist(probe: Callable[..., Probe], url: str) -> None:
    found = probe(url.format(place="no-such-name.invalid:1"), 2)
    assert found.kind is Trouble.DNS and found.latency < 2.3


@pytest.mark.parametrize(("probe", "url"), ADDRESSES)
def test_a_resolver_that_hangs(probe: Callable[..., Probe], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(probes, "getaddrinfo", lambda *_: hang.wait(10))
    found = probe(url.format(place="somewhere:1"), 0.3)
    hang.set()
    assert found.kind is Trouble.DNS and found.latency < 0.6


@pytest.mark.parametrize(("probe", "url"), ADDRESSES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_that_never_answers(probe: Callable[..., Probe], url: str, host: str, silent: int) -> None:
    found = probe(url.format(place=f"{host}:{silent}"), 0.5)
    assert found.kind is Trouble.TIMEOUT and 0.3 < found.latency < 0.8
    assert SECRET not in found.message


def test_a_stopped_server(servers: tuple[Postgres, Valkey]) -> None:
    postgres, valkey = servers
    below = descendants(os.getpid())
    pids = [pid for pid, command in below.items() if "postgres -D" in command or "valkey-server" in command]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for found in (probe_postgres(postgres.url, 0.5), probe_redis(valkey.url, 0.5)):
            assert found.kind is Trouble.TIMEOUT and found.latency < 0.8
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert probe_postgres(postgres.url, 5).ok and probe_redis(valkey.url, 5).ok


def test_a_name_with_a_dead_first_address(servers: tuple[Postgres, Valkey], monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` where only ::1, which nobody serves, comes first."""
    postgres, valkey = servers
    real = socket.getaddrinfo

    def mixed(host: str, port: object, *args: object, **kwargs: object) -> list:
        found = real("127.0.0.1", port, *args, **kwargs) if host == "both.test" else real(host, port, *args, **kwargs)  # type: ignore[arg-type]
        if host != "both.test":
            return found
        _, kind, protocol, name, address = found[0]
        return [(socket.AF_INET6, kind, protocol, name, ("::1", address[1], 0, 0)), *found]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    monkeypatch.setattr(probes, "getaddrinfo", mixed)
    assert probe_postgres(postgres.url.replace("127.0.0.1", "both.test"), 2).ok
    assert probe_redis(valkey.url.replace("127.0.0.1", "both.test"), 2).ok


def test_wrong_credentials(servers: tuple[Postgres, Valkey]) -> None:
    postgres, valkey = servers
    for probe, url in (
        (probe_postgres, postgres.url.replace(SECRET, "wrong")),
        (probe_postgres, postgres.url.replace(f":{SECRET}", "")),
        (probe_postgres, postgres.url.replace("//crm:", "//nobody:")),
        (probe_redis, valkey.url.replace(SECRET, "wrong")),
        (probe_redis, valkey.url.replace(f":{SECRET}@", "")),
    ):
        found = probe(url, 3)
        assert found.kind is Trouble.AUTHENTICATION, found
        assert "it refuses these credentials" in found.message


def test_a_database_that_is_not_there(servers: tuple[Postgres, Valkey]) -> None:
    found = probe_postgres(servers[0].url.removesuffix("crm") + "other", 3)
    assert found.kind is Trouble.OTHER and 'database "other" does not exist' in found.message


def test_encryption_that_the_server_does_not_speak(servers: tuple[Postgres, Valkey]) -> None:
    postgres, valkey = servers
    assert probe_postgres(postgres.url + "?sslmode=require", 3).kind is Trouble.TLS
    assert probe_http(f"https://127.0.0.1:{postgres.port}/", 3).kind is Trouble.TLS
    # Valkey waits for the end of a line that TLS never sends: nothing better can be said of it.
    assert probe_redis(valkey.url.replace("redis://", "rediss://"), 0.5).kind is Trouble.TIMEOUT


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    self_signed = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key -out certificate"
    subprocess.run(["openssl", *self_signed.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = probe_http(f"https://127.0.0.1:{server.server_port}/", 3)
    finally:
        server.shutdown()
        server.server_close()
    assert found.kind is Trouble.TLS


class _Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/ill" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def test_a_web_server_is_judged_by_its_status() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert probe_http(f"http://localhost:{server.server_port}/live", 3).ok
        ill = probe_http(f"http://localhost:{server.server_port}/ill", 3)
    finally:
        server.shutdown()
        server.server_close()
    assert ill.kind is Trouble.OTHER and "status 503" in ill.message


@pytest.mark.parametrize("url", [f"postgresql://crm:{SECRET}@[half/crm", f"postgresql://crm:{SECRET}@h:port/crm"])
def test_an_address_that_makes_no_sense_keeps_its_secret(url: str) -> None:
    found = probe_postgres(url, 2)
    assert not found.ok and SECRET not in found.message


def test_waiting_ends_when_the_server_comes(tmp_path: Path) -> None:
    looks = iter([Trouble.REFUSED, Trouble.TIMEOUT, None])

    def probe(timeout: float) -> Probe:
        kind = next(looks)
        return Probe(kind is None, kind, "words", 0.0)

    checks: list[int] = []
    assert probes.wait_until_ready(probe, 5, check=lambda: checks.append(1)).ok
    assert len(checks) == 2


def test_waiting_keeps_its_bound_and_says_what_was_wrong(silent: int) -> None:
    started = time.monotonic()
    with pytest.raises(NotReady, match="no answer in time") as raised:
        probes.wait_until_ready(lambda timeout: probe_redis(f"redis://127.0.0.1:{silent}/0", timeout), 1.0)
    assert raised.value.kind is Trouble.TIMEOUT and time.monotonic() - started < 1.6


def test_waiting_does_not_wait_for_what_no_waiting_heals(servers: tuple[Postgres, Valkey]) -> None:
    started = time.monotonic()
    with pytest.raises(NotReady):
        probes.wait_until_ready(lambda timeout: probe_redis(servers[1].url.replace(SECRET, "wrong"), timeout), 10)
    assert time.monotonic() - started < 2
