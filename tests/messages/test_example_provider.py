"""The provider that the documentation shows: loaded from the page, added like any other, and sent with."""

import hashlib
import hmac
import re
import types
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from crm_tasks.core import db
from crm_tasks.messages.models import EventState, InboundEvent, Message, MessageState
from crm_tasks.messages.service import results, sending
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Accepted, Action, Provider, Refusal, Unknown
from crm_tasks.workspaces import service
from tests.core.ledger import take
from tests.fixtures import Demo
from tests.gateways import CUT, Answer, gateway
from tests.harness import ROOT
from tests.messages.apply import one, receive_all
from tests.messages.outgoing import post

KEY = "of-the-pigeons"


@pytest.fixture
def pigeon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """The provider of the page, in the registry."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/howto/add-a-provider.md").read_text(), re.M | re.S)
    module = types.ModuleType("pigeon")
    exec(compile(code, "add-a-provider.md", "exec"), module.__dict__)
    monkeypatch.setitem(registry.PROVIDERS, "pigeon", module.PROVIDER)
    yield module.PROVIDER


def add(demo: Demo, url: str) -> Demo:
    new = service.NewChannel(kind="pigeon", name="Pigeons", values={"key": KEY}, base_url=url)
    with db.transaction() as session:
        channel = service.add_channel(session, demo.workspace_id, new)
    return Demo(**{name: getattr(demo, name) for name in demo.__slots__} | {"channel_id": channel.id})


def send(message: Message) -> Accepted | Refusal | Unknown:
    """Send as the task does."""
    claim = take(message.job_id)
    with db.transaction() as session:
        order = sending.begin(session, message.id, claim)
    assert isinstance(order, sending.Order)
    result = order.provider.send(order.sender, order.message)
    if not isinstance(result, Refusal):
        with db.transaction() as session:
            results.record(session, message.id, result)
    return result


def test_it_sends_and_its_reports_are_believed(client: FlaskClient, demo: Demo, pigeon: Provider) -> None:
    with gateway() as there:
        there.answers = [(202, b"")]
        shop = add(demo, there.url)
        message = one(Message, Message.id == post(shop, "Coo"))
        assert send(message) == Accepted(str(message.id))
    (request,) = there.requests
    assert request["body"] == {"number": "+15550001111", "text": "Coo", "ref": str(message.id)}
    body = b'{"ref":"%s","state":"done"}' % str(message.id).encode()
    signature = hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
    path = f"/webhooks/sms/{shop.channel_id}"
    assert client.post(path, data=body, headers={"X-Signature": "no"}).status_code == 401
    assert client.post(path, data=body, headers={"X-Signature": signature}).status_code == 200
    event = one(InboundEvent)
    receive_all([event.id])
    assert one(InboundEvent).state is EventState.DONE
    found = one(Message)
    assert (found.state, found.parts) == (MessageState.DELIVERED, 1)


@pytest.mark.parametrize(
    ("answer", "action"),
    [((410, b""), Action.PERSON), ((400, b""), Action.MESSAGE), ((500, b""), None), (CUT, None)],
    ids=["410", "400", "500", "cut"],
)
def test_what_it_says_is_what_the_page_says(
    demo: Demo, pigeon: Provider, answer: Answer, action: Action | None
) -> None:
    with gateway() as there:
        there.answers = [answer]
        shop = add(demo, there.url)
        result = send(one(Message, Message.id == post(shop, "Coo")))
    assert (result.action if isinstance(result, Refusal) else None) == action
    assert isinstance(result, Refusal | Unknown)
