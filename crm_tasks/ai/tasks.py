"""Doors of the queue `ai`."""

import uuid

from crm_tasks.ai import service
from crm_tasks.celery import app
from crm_tasks.core.db import transaction
from crm_tasks.core.task import finishing
from crm_tasks.providers import llm


@app.task(name="ai.reply")
def reply(message_id: str) -> None:
    """Answer a customer's message. The model is asked with no transaction open."""
    with transaction() as session:
        asked = service.question(session, uuid.UUID(message_id))
    if asked is None:
        return
    completion = llm.complete(asked.turns, user=asked.user)
    with finishing({"tokens": completion.tokens}) as session:
        service.answer(session, asked, completion.text)
