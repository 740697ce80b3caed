"""Customers who write to the business, and what they are answered."""

from typing import Any

from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import Direction, Message
from crm_tasks.workspaces import service as workspaces
from tests.core.ledger import states
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import rows
from tests.messages.outgoing import AT_MOST
from tests.outside import Sandbox

ANN = "+15550001111"


def say(sandbox: Sandbox, text: str, sender: str = ANN) -> str:
    """Speak as a customer; returns once the web app has acknowledged it."""
    said = {"from": sender, "type": "text", "text": {"body": text}}
    return sandbox.control("POST", "inbound?wait=1", said)["id"]


def switch(demo: Demo, *, on: bool) -> None:
    """Have customers answered by the model, or not."""
    with db.transaction() as session:
        workspaces.set_auto_reply(session, workspaces.get(session, demo.workspace_id), on=on)


def heard(count: int) -> list[Message]:
    """Wait until so many messages of customers are kept."""
    return eventually(
        lambda: found if len(found := rows(Message, Message.direction == Direction.IN)) == count else None,
        f"{count} messages kept",
        AT_MOST,
    )


def answers() -> list[Message]:
    """Return our messages, the oldest first."""
    return rows(Message, Message.direction == Direction.OUT)


def answered(count: int) -> list[Message]:
    """Wait until so many messages of ours are accepted by the provider."""
    return eventually(
        lambda: found if len(found := answers()) == count and all(each.provider_id for each in found) else None,
        f"{count} answers sent; there are {[each.state for each in answers()]}",
        AT_MOST,
    )


def all_done() -> None:
    """Wait until no job waits or runs: nothing more will come."""
    eventually(lambda: not states().keys() & {JobState.QUEUED, JobState.RUNNING}, "every job over", AT_MOST)


def asked(sandbox: Sandbox) -> list[list[dict[str, Any]]]:
    """Return what the model was told each time, without the prompt of the system."""
    return [entry["body"]["messages"][1:] for entry in sandbox.log("chat_completion")]
