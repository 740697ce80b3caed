"""Seven causes of failure as they happen: every one says something else each time. Known to `-I tests.core.causes`."""

import random
import uuid

from crm_tasks.celery import app
from crm_tasks.core.errors import Permanent, Transient

# Class, code, and a message in which everything in braces differs from one failure to the next.
CAUSES: list[tuple[type[Exception], str, str]] = [
    (Permanent, "131026", "Message {wamid} to {phone} undeliverable (trace {trace})"),
    (Permanent, "131047", "Message {wamid} to {phone} undeliverable (trace {trace})"),
    (Transient, "timeout", "HTTPSConnectionPool(host='{host}', port={port}): Read timed out. (read timeout={number})"),
    (Transient, "refused", 'connection to server at "{host}" ({ip}), port {port} failed: Connection refused'),
    (ValueError, "", "contact {uuid} ({email}) has no field '{name}'"),
    (KeyError, "", "{uuid}"),
    (RuntimeError, "", "campaign “{name}” of {workspace}: {number} of {number} rows left, see {url}"),
]
_NAMES = ("Ann", "Zoë van Dyk", "O'Brien", "José García-López", "李小龙", "N. N.", "summer sale", "Promo 2027", "x")


def failure(cause: int, drawn: random.Random) -> Exception:
    """Return one failure of a cause."""
    kind, code, text = CAUSES[cause]
    node, number = drawn.randint(1, 99), drawn.randint(1, 10**6)
    message = text.format(
        wamid=f"wamid.HBgL{drawn.getrandbits(160):X}==",
        phone=f"+{drawn.randint(10**10, 10**13)}",
        trace=f"A{drawn.getrandbits(90):x}z",
        host=drawn.choice((f"db-{node}.internal", "localhost", f"graph{node}.example.com", f"10.0.{node}.7")),
        ip=drawn.choice((f"10.1.{node}.{node}", f"2001:db8::{node:x}:{number % 65536:x}", "::1")),
        port=drawn.randint(1, 65535),
        number=drawn.choice((number, number / 7, 0)),
        uuid=uuid.UUID(int=drawn.getrandbits(128)),
        email=f"a{node}.{drawn.choice('bcd')}+tag@mail{node}.example.org",
        name=drawn.choice(_NAMES),
        workspace=f"workspace {uuid.UUID(int=drawn.getrandbits(128))}",
        url=f"https://crm.example/{node}/{number}?q={node}",
    )
    return kind(message, code=code) if issubclass(kind, Permanent | Transient) else kind(message)


@app.task(name="messages.test_cause")
def cause(number: int, seed: int) -> None:
    """Fail for one of the causes."""
    raise failure(number, random.Random(seed))
