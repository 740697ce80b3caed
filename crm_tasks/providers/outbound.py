"""HTTP to addresses that customers chose: public https and nothing else, whatever a name resolves to.

A name is resolved once and the connection goes to the address that was checked, so that a DNS which changes its mind
reaches nothing. No redirects, no proxies of the environment, a deadline over the whole call, a capped answer. Where
WEBHOOK_ALLOW_PRIVATE is on, in development, plain http, private addresses and any port are allowed too.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import requests
import urllib3
from requests_hardened.ip_filter import EXTRA_BLOCKED_NET_RANGES, InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from crm_tasks.config import settings
from crm_tasks.core.text import clean
from crm_tasks.providers import http

PORTS = (443, 8443)
MAX_URL = 2_000
MAX_BODY, MAX_EXCERPT = 64 * 1024, 1024
# The only IPv6 addresses that are given out; beside it are such as translate to IPv4 or mean one's own site.
_GIVEN_OUT = IPv6Network("2000::/3")
_INSIDE = ("localhost", "local", "internal", "localdomain", "home.arpa")
_FORBIDDEN = "the address is not a public one"
_Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request: an answer, or why there is none (`status` is None then)."""

    status: int | None
    latency_ms: int
    headers: Mapping[str, str] = field(default_factory=dict)
    excerpt: str | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the other side took it."""
        return self.status is not None and 200 <= self.status < 300


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """Post a body and return what came of it; nothing that the other side does raises."""
    start = time.monotonic()
    if problem(url):  # it was checked when it was given, perhaps under other settings
        return Reply(None, 0, error=_FORBIDDEN)
    options: dict[str, Any] = {"data": body, "headers": {"Accept-Encoding": "identity", **headers}}
    end = start + settings().webhook_timeout
    try:
        answer = http.exchange(session(), "POST", url, end=end, most=MAX_BODY, cut=True, **options)
    except (http.NotSent, http.NoAnswer) as error:
        reason = _FORBIDDEN if str(error) == InvalidIPAddress.__name__ else str(error)
        return Reply(None, _ms(start), error=reason)
    excerpt = clean(answer.body[:MAX_EXCERPT].decode("utf-8", "replace"))
    return Reply(answer.status, _ms(start), answer.headers, excerpt)


def problem(url: str) -> str | None:
    """Return what is wrong with a URL, and the remedy, as far as it can be seen without asking anybody."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "Write it in ASCII without spaces: a host in its xn-- form, other characters as %XX."
    if len(url) > MAX_URL:
        return f"Write at most {MAX_URL} characters."
    try:
        parts = urllib3.util.parse_url(url)
    except (urllib3.exceptions.LocationParseError, ValueError):
        return "This is not a URL. Write one such as https://example.com/webhooks."
    host = (parts.host or "").strip("[]").rstrip(".").lower()
    if not host:
        return "This is not a URL. Write one such as https://example.com/webhooks."
    if parts.auth is not None:
        return "Leave out the user name and password: the signature says who is calling."
    if parts.fragment is not None:
        return "Leave out the part after #: it is never sent."
    if settings().webhook_allow_private:
        return None if parts.scheme in ("http", "https") else "Use https://, or http:// in development."
    return _problem_in_public(parts.scheme, host, parts.port)


def _problem_in_public(scheme: str | None, host: str, port: int | None) -> str | None:
    if scheme != "https":
        return "Use https://."
    if port not in (None, *PORTS):
        return f"Use port {' or '.join(map(str, PORTS))}."
    address = _literal(host)
    if address is not None:
        return None if is_public(address) and str(address) == host else "Use a public host name."
    if "." not in host or host.rpartition(".")[2] in _INSIDE or host.endswith(tuple(f".{name}" for name in _INSIDE)):
        return "Use a public host name."
    return None


def _literal(host: str) -> _Address | None:
    """Return the address that a host is, in any writing that resolvers take: `127.1`, `0x7f000001`, `017700000001`."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_public(address: _Address) -> bool:
    """Say whether an address is one of the public internet."""
    if isinstance(address, IPv6Address) and address not in _GIVEN_OUT:
        return False
    if address.is_private or address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in EXTRA_BLOCKED_NET_RANGES)


# --- the session -------------------------------------------------------------------------------------------------


class PublicAdapter(IPFilterAdapter, http.Adapter):
    """Connects to the address that it has checked, with the name kept for TLS and `Host`."""

    def __init__(self, *, allow_loopback: bool = False) -> None:
        IPFilterAdapter.__init__(self, is_https_proto=True, allow_loopback=allow_loopback)

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Resolve and check; on top of the library, IPv6 that is not given out (site-local, IPv4-translated)."""
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        address = ip_address(host["host"].strip("[]"))
        if not is_public(address) and not (self._allow_loopback and address.is_loopback):
            raise InvalidIPAddress(address)
        return host, pool


_shared: requests.Session | None = None
_lock = threading.Lock()


def session() -> requests.Session:
    """Return the session of this process that reaches public addresses only."""
    global _shared
    if _shared is None:
        with _lock:
            if _shared is None:
                _shared = _make()
    return _shared


def _make() -> requests.Session:
    if settings().webhook_allow_private:
        return http.new_session(http=http.Adapter(), https=http.Adapter())
    return http.new_session(https=PublicAdapter())


def _ms(start: float) -> int:
    return round((time.monotonic() - start) * 1000)


def _after_fork() -> None:
    global _shared, _lock
    _shared, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
