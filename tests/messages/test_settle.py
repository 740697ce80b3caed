"""A person decides about a message that may have been sent and may not."""

import uuid

import pytest

from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import settle
from crm_tasks.messages.service.settle import Decision
from tests.cli.terminal import complaint, data, said
from tests.fixtures import Demo
from tests.messages.outgoing import fault, message, post, until
from tests.outside import Sandbox, Site

pytestmark = pytest.mark.usefixtures("sender")


def decide(message_id: uuid.UUID, how: Decision, workspace_id: uuid.UUID | None = None) -> Message:
    with db.transaction() as session:
        return settle.decide(session, message_id, how, actor="a person", workspace_id=workspace_id)


@pytest.fixture
def unknown(shop: Demo, sandbox: Sandbox, web: Site) -> uuid.UUID:
    """A message that the provider never got, which nobody knows."""
    sandbox.faults(fault(drop="before", times=1))
    return until(post(shop), MessageState.UNKNOWN).id


def test_sent_again_it_arrives(unknown: uuid.UUID, sandbox: Sandbox) -> None:
    decide(unknown, Decision.RESEND)
    until(unknown, MessageState.DELIVERED)
    assert sandbox.texts() == ["Hello", "Hello"]  # the first is what the sandbox dropped


def test_taken_for_failed_it_is_sent_no_more(unknown: uuid.UUID, sandbox: Sandbox) -> None:
    decide(unknown, Decision.FAILED)
    assert (message(unknown).state, sandbox.texts()) == (MessageState.FAILED, ["Hello"])


@pytest.mark.parametrize("how", Decision)
def test_only_an_unknown_one_waits_for_a_decision(unknown: uuid.UUID, how: Decision) -> None:
    decide(unknown, Decision.FAILED)
    with pytest.raises(Conflict, match="The message is failed"):
        decide(unknown, how)


def test_another_workspace_has_no_say(unknown: uuid.UUID) -> None:
    with pytest.raises(NotFound):
        decide(unknown, Decision.RESEND, workspace_id=uuid.uuid4())
    with db.transaction() as session:
        assert settle.waiting(session, uuid.uuid4()) == []
        assert [each.id for each in settle.waiting(session)] == [unknown]


def test_on_the_command_line(unknown: uuid.UUID) -> None:
    assert str(unknown) in said("message", "unknown")
    assert data("message", "unknown")[0]["id"] == str(unknown)
    assert f"{unknown} is queued" in said("message", "settle", unknown, "--as", "resend")
    until(unknown, MessageState.DELIVERED)
    assert "No message is unknown." in said("message", "unknown")
    assert "only an unknown one" in complaint("message", "settle", unknown, "--as", "failed")
