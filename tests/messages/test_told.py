"""What people are told of messages: those that wait for a decision, counted."""

from crm_tasks.core import db
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import settle
from crm_tasks.notifications.models import Notification, Severity
from tests.fixtures import Demo
from tests.messages.apply import one, ours


def test_messages_that_wait_for_a_person_are_told_of_together(demo: Demo) -> None:
    for _ in range(3):
        waits = ours(demo, MessageState.UNKNOWN)
        assert db.retrying(settle.settle, waits.id) == "held"
    told = one(Notification)
    assert (told.kind, told.severity, told.count) == ("sends.unknown", Severity.WARNING, 3)
    assert (told.workspace_id, told.subject) == (demo.workspace_id, f"channel:{demo.channel_id}")
    assert "crm message settle" in told.text
