"""Notifications: kept once, counted while unread, each target told once until they come again after a quiet time."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.notifications import service, targets
from crm_tasks.notifications.models import Notification, Severity, TargetKind
from tests.core.ledger import in_threads, jobs, update
from tests.fixtures import Demo, make_demo
from tests.messages.apply import rows

HOOK = "https://hooks.example.com/crm"


def tell(workspace_id: uuid.UUID | None, kind: str = "channel.stopped", **more: Any) -> uuid.UUID:
    given: dict[str, Any] = {"title": "It stopped", "text": "Start it.", "severity": Severity.ERROR, **more}
    return db.retrying(service.notify, workspace_id, kind, **given)


def target(workspace_id: uuid.UUID | None, address: str = HOOK, **more: Any) -> uuid.UUID:
    return db.retrying(targets.add, workspace_id, kind=TargetKind.WEBHOOK, address=address, **more).id


def deliveries() -> list[Job]:
    return jobs(Job.task == "notifications.deliver")


def test_the_same_again_is_counted_with_its_latest_words(demo: Demo, clock: Callable[[str], None]) -> None:
    first = tell(demo.workspace_id, subject="channel:1", link="/admin/")
    clock("now() + interval '5 minutes'")
    assert tell(demo.workspace_id, subject="channel:1", title="Again", severity=Severity.WARNING) == first
    (kept,) = rows(Notification)
    assert (kept.count, kept.title, kept.severity, kept.link) == (2, "Again", Severity.WARNING, None)
    assert 299 < (kept.last_at - kept.first_at).total_seconds() < 310


def test_another_kind_subject_or_workspace_is_another(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other").workspace_id
    asked = [
        (demo.workspace_id, "a", ""),
        (demo.workspace_id, "b", ""),
        (demo.workspace_id, "a", "x"),
        (other, "a", ""),
    ]
    for workspace_id, kind, subject in [*asked, (None, "a", ""), *asked, (None, "a", "")]:
        tell(workspace_id, kind, subject=subject)
    assert [each.count for each in rows(Notification)] == [2] * 5


def test_what_was_read_is_made_anew(demo: Demo) -> None:
    first = tell(demo.workspace_id)
    assert db.retrying(service.read, first).read_at is not None
    assert tell(demo.workspace_id) != first
    assert db.retrying(service.unread_count) == 1
    assert db.retrying(service.read_all) == 1
    assert db.retrying(service.unread_count) == 0


def test_all_is_read_up_to_what_was_seen(demo: Demo) -> None:
    seen = [tell(demo.workspace_id, kind) for kind in ("a", "b")][-1]
    tell(demo.workspace_id, "c")
    assert db.retrying(service.read_all, up_to=seen) == 2
    assert [each.kind for each in db.retrying(service.listed, unread=True)] == ["c"]


def test_two_at_once_make_one(demo: Demo) -> None:
    found = in_threads(*[lambda: tell(demo.workspace_id)] * 6)
    assert len(set(found)) == 1
    assert rows(Notification)[0].count == 6


def test_it_is_part_of_the_transaction(demo: Demo) -> None:
    target(demo.workspace_id)
    with pytest.raises(RuntimeError), db.transaction() as session:
        service.notify(session, demo.workspace_id, "a", title="t", text="t", severity=Severity.ERROR)
        raise RuntimeError
    assert (rows(Notification), deliveries()) == ([], [])


def test_each_target_that_wants_it_is_told(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other").workspace_id
    wanted = target(demo.workspace_id)
    target(demo.workspace_id, f"{HOOK}/off", enabled=False)
    target(demo.workspace_id, f"{HOOK}/errors", minimum_severity=Severity.ERROR)
    target(other)
    target(None)
    told = tell(demo.workspace_id, severity=Severity.WARNING)
    (job,) = deliveries()
    assert job.args == {"notification_id": str(told), "target_id": str(wanted)}
    assert job.workspace_id == demo.workspace_id


def test_operators_are_told_of_what_is_theirs(demo: Demo) -> None:
    target(demo.workspace_id)
    operators = target(None)
    tell(None)
    assert [job.args["target_id"] for job in deliveries()] == [str(operators)]


def test_what_comes_again_is_told_again_only_after_a_quiet_hour(demo: Demo, clock: Callable[[str], None]) -> None:
    target(demo.workspace_id)
    for minutes, told in ((0, 1), (50, 1), (100, 1), (170, 2), (171, 2)):
        clock(f"now() + interval '{minutes} minutes'")
        tell(demo.workspace_id)
        assert len(deliveries()) == told, minutes
        update([job.id for job in deliveries()], "state = 'succeeded', finished_at = crm_now(), unique_key = NULL")
    assert rows(Notification)[0].count == 5
