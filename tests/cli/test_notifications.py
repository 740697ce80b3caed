"""`crm notification`."""

import uuid

from crm_tasks.core import db
from crm_tasks.notifications import service
from crm_tasks.notifications.models import Severity
from tests.cli.terminal import complaint, data, said
from tests.fixtures import Demo


def test_notifications_are_listed_and_read(demo: Demo) -> None:
    assert "Nothing new." in said("notification", "list")
    first, _ = (
        db.retrying(
            service.notify, demo.workspace_id, kind, title=f"{kind} stopped", text="Go.", severity=Severity.INFO
        )
        for kind in ("alpha", "beta")
    )
    assert "alpha stopped" in said("notification", "list")
    assert said("notification", "read", first) == "1 read.\n"
    assert [each["kind"] for each in data("notification", "list")] == ["beta"]
    assert len(data("notification", "list", "--all")) == 2
    assert said("notification", "read", "--all") == "1 read.\n"


def test_which_one_must_be_said(empty: None) -> None:
    assert "--all" in complaint("notification", "read", code=2)
    assert "no notification" in complaint("notification", "read", uuid.uuid4())
