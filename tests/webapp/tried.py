"""Tests that were made, to look at."""

from crm_tasks.core import db
from crm_tasks.messages.service import trying
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.outgoing import post

SAID = [
    {
        "at": "2026-11-28T10:00:00.000+00:00",
        "ms": 143,
        "request": {
            "line": "POST https://graph.facebook.com/v26.0/106540352242922/messages",
            "headers": {"Authorization": "•••", "Content-Type": "application/json"},
            "body": '{"messaging_product":"whatsapp","to":"+15550001111","type":"text","text":{"body":"A test"}}',
        },
        "answer": {
            "line": "HTTP 200",
            "headers": {"Content-Type": "application/json"},
            "body": '{"messaging_product":"whatsapp","messages":[{"id":"wamid.HBgLMTU1NTAwMDExMTEVAgARGBI4QjQ5"}]}',
        },
    }
]


def tried(demo: Demo) -> dict[str, str]:
    """Make one, and return the pages about tests."""
    message_id = post(demo, "A test message")
    execute("UPDATE messages SET author = 'test', state = 'delivered' WHERE id = :id", id=message_id)
    with db.transaction() as session:
        trying.keep(session, message_id, SAID)
    return {
        "tests": "/test",
        "tests of mail": "/test?medium=email",
        "tests of webhooks": "/test?medium=webhook",
        "test": f"/test/messages/{message_id}",
    }
