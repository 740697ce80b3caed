"""docs/howto/verify-webhooks.md: its examples verify what is really sent, its tables name what there is."""

import re
import subprocess
from collections.abc import Iterator

import orjson
import pytest

from crm_tasks.webhooks.models import Event, EventType
from tests import payloads
from tests.fixtures import Demo
from tests.harness import ROOT
from tests.messages.apply import accepted, hear, rows
from tests.webhooks.hooks import add, tell_and_deliver, work_off
from tests.webhooks.receiver import Receiver, receiver

TEXT = (ROOT / "docs/howto/verify-webhooks.md").read_text()


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_in_python_takes_what_is_sent_and_nothing_else(demo: Demo, there: Receiver) -> None:
    made = add(demo, there.url)
    tell_and_deliver(demo)
    (request,) = there.got
    place: dict = {"__name__": __name__}
    exec(example("python").replace("whsec_…", made.secret), place)
    client = place["app"].test_client()
    assert client.post("/webhooks", data=request.body, headers=request.headers).status_code == 204
    assert client.post("/webhooks", data=request.body + b" ", headers=request.headers).status_code == 401


def test_the_example_in_node_takes_what_is_sent_and_nothing_else(demo: Demo, there: Receiver) -> None:
    made = add(demo, there.url)
    tell_and_deliver(demo)
    (request,) = there.got
    given = orjson.dumps([made.secret, request.headers, request.body.decode()]).decode()
    script = (
        example("javascript")
        + f"""
        const [secret, headers, body] = {given};
        const later = {{...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1)}};
        console.log(JSON.stringify([verify(secret, headers, Buffer.from(body)), verify(secret, headers, body + " "),
                                    verify(secret, later, body), verify("whsec_AAAA", headers, body)]));
    """
    )
    try:
        done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("there is no Node here")
    assert orjson.loads(done.stdout) == [True, False, False, False], done.stderr


def test_every_type_is_described_and_no_other() -> None:
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", TEXT, re.MULTILINE)) == set(EventType)


def test_the_bodies_hold_what_is_described(demo: Demo) -> None:
    add(demo, "http://127.0.0.1:9/")
    hear(demo, payloads.message())
    accepted(demo, "wamid.1")
    seen = {event.type: orjson.loads(event.body)["data"] for event in rows(Event)}
    assert set(seen) == {"message.received", "conversation.updated", "message.status"}
    for type, data in seen.items():
        (row,) = re.findall(rf"^\| `{re.escape(type)}` \|.*?\|(.*)\|$", TEXT, re.MULTILINE)
        described = re.findall(r"`([a-z_]+)`", row.split("(null, or")[0])
        assert set(described) == set(data), type
    work_off()
