"""Doors of the queue `notifications`."""

import uuid

from crm_tasks.celery import app
from crm_tasks.core.db import transaction
from crm_tasks.notifications import service
from crm_tasks.notifications.models import TargetKind
from crm_tasks.providers import alert_mail, alert_webhook


@app.task(name="notifications.deliver")
def deliver(notification_id: str, target_id: str) -> None:
    """Tell one target. Told twice does no harm: both kinds carry an id that stays the same."""
    with transaction() as session:
        told = service.delivery(session, uuid.UUID(notification_id), uuid.UUID(target_id))
    if told is None:
        return
    if told.kind is TargetKind.WEBHOOK:
        alert_webhook.post(told.address, told.body, secret=told.secret or "", message_id=told.id)
    else:
        alert_mail.send(told.address, told.body["data"], message_id=told.id)
