"""One action on many contacts: totals that add up, whatever happens meanwhile."""

import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.contacts.models import Contact
from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.types import new_id
from crm_tasks.imports import bulk
from crm_tasks.imports.bulk_models import Action, BulkAction, WorkState
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.workspaces import members, users
from crm_tasks.workspaces.roles import MemberRole
from tests.fixtures import Demo
from tests.harness import Program, beat, eventually, worker
from tests.imports.conftest import QUICK
from tests.messages.apply import one, ours, rows

AT_MOST = 60.0


def people(demo: Demo, count: int, *tags: str) -> list[uuid.UUID]:
    ids = [new_id() for _ in range(count)]
    with db.transaction() as session:
        made = [{"id": each, "workspace_id": demo.workspace_id, "tags": sorted(tags)} for each in ids]
        session.execute(sa.insert(Contact), made)
    return ids


def start(demo: Demo, action: Action, audience: dict[str, Any], **value: Any) -> BulkAction:
    with db.transaction() as session:
        return bulk.start(session, demo.workspace_id, action, audience=audience, value=value, actor="test")


def now_of(action: BulkAction) -> BulkAction:
    return one(BulkAction, BulkAction.id == action.id)


def until(action: BulkAction, *states: WorkState) -> BulkAction:
    def look() -> BulkAction | None:
        found = now_of(action)
        return found if found.state in states else None

    return eventually(look, f"an action {' or '.join(states)}", AT_MOST)


def totals(action: BulkAction) -> tuple[int | None, int, int, int]:
    return action.audience_size, action.matched, action.changed, action.failed


def tags() -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for contact in rows(Contact):
        found[tuple(contact.tags)] = found.get(tuple(contact.tags), 0) + 1
    return found


def run(action: BulkAction) -> BulkAction:
    """Do it as its job does, here."""
    while db.retrying(bulk.clear, action.id) or db.retrying(bulk.step, action.id):
        pass
    return now_of(action)


def test_tags_come_and_go_and_only_changes_count(demo: Demo) -> None:
    people(demo, 1_200, "new")
    people(demo, 10, "new", "vip")
    people(demo, 5, "old")
    done = run(start(demo, Action.TAG, {"tags": ["new"]}, tags=["vip", "a"]))
    assert totals(done) == (1_210, 1_210, 1_210, 0)
    assert tags() == {("a", "new", "vip"): 1_210, ("old",): 5}
    done = run(start(demo, Action.UNTAG, {"all": True}, tags=["a", "new", "x"]))
    assert totals(done) == (1_215, 1_215, 1_210, 0)
    assert tags() == {("vip",): 1_210, ("old",): 5}


def test_who_would_have_too_many_tags_counts_as_failed(demo: Demo) -> None:
    people(demo, 2, *(f"t{n:02}" for n in range(49)))
    people(demo, 1)
    done = run(start(demo, Action.TAG, {"all": True}, tags=["x", "y"]))
    assert totals(done) == (3, 3, 1, 2)


def test_a_user_looks_after_all_of_them_or_nobody(demo: Demo) -> None:
    people(demo, 3)
    with db.transaction() as session:
        user, _ = users.create(session, "agent@example.com")
    with pytest.raises(Invalid, match="in this workspace"):
        start(demo, Action.ASSIGN, {"all": True}, user_id=user.id)
    with db.transaction() as session:
        members.add(session, demo.workspace_id, user.id, MemberRole.AGENT)
    assert totals(run(start(demo, Action.ASSIGN, {"all": True}, user_id=user.id))) == (3, 3, 3, 0)
    assert totals(run(start(demo, Action.ASSIGN, {"all": True}, user_id=user.id))) == (3, 3, 0, 0)
    assert {each.assigned_to for each in rows(Contact)} == {user.id}
    assert totals(run(start(demo, Action.ASSIGN, {"all": True}, user_id=None))) == (3, 3, 3, 0)
    assert {each.assigned_to for each in rows(Contact)} == {None}


def test_who_is_deleted_goes_with_a_long_history_except_whom_something_is_being_sent_to(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm_tasks.messages.service.removing.BATCH", 10)
    people(demo, 450)
    waiting = [ours(demo, MessageState.QUEUED, to="+15550001111") for _ in range(25)]
    sending = ours(demo, MessageState.SENDING, to="+15550002222")
    done = run(start(demo, Action.DELETE, {"all": True}))
    assert totals(done) == (452, 452, 451, 1)
    assert [each.id for each in rows(Contact)] == [sending.contact_id]
    assert [each.id for each in rows(Message)] == [sending.id]
    assert {one(Job, Job.id == each.job_id).state for each in waiting} == {JobState.CANCELLED}


def test_who_came_later_is_not_meant(demo: Demo) -> None:
    people(demo, 3)
    action = start(demo, Action.DELETE, {"all": True})
    later = people(demo, 2)
    assert totals(run(action)) == (3, 3, 3, 0)
    assert [each.id for each in rows(Contact)] == later


@pytest.mark.parametrize(
    ("action", "value", "field"),
    [
        (Action.TAG, {}, "tags"),
        (Action.TAG, {"tags": []}, "tags"),
        (Action.DELETE, {"tags": ["x"]}, "tags"),
        (Action.ASSIGN, {"user_id": uuid.uuid4()}, "user_id"),
        (Action.ASSIGN, {}, "user_id"),
    ],
)
def test_a_value_belongs_to_its_action(demo: Demo, action: Action, value: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        start(demo, action, {"all": True}, **value)
    assert [each.field for each in refused.value.fields] == [field]


def test_an_action_that_cannot_go_on_is_failed_and_resumes_from_the_dead_letters(demo: Demo) -> None:
    from crm_tasks.contacts import segments

    people(demo, 3, "new")
    with db.transaction() as session:
        new = {"field": "tags", "op": "has", "value": "new"}
        segment = segments.create(session, demo.workspace_id, name="New", conditions=new)
    action = start(demo, Action.TAG, {"segment_id": segment.id}, tags=["vip"])
    with db.transaction() as session:
        bulk.follow(session, JobState.DEAD, None, str(action.id))
    assert now_of(action).state is WorkState.FAILED
    with db.transaction() as session:
        session.execute(sa.update(Job).where(Job.id == action.job_id).values(state="dead", finished_at=sa.func.now()))
    with db.transaction() as session:
        assert action.job_id
        repair.retry(session, action.job_id, actor="test")
    assert now_of(action).state is WorkState.QUEUED
    assert totals(run(action)) == (3, 3, 3, 0)


def test_a_killed_worker_leaves_totals_that_add_up(
    demo: Demo, empty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(demo, 40_000)
    action = start(demo, Action.TAG, {"all": True}, tags=["vip"])
    programs = [beat(tmp_path, **QUICK).start(), worker(tmp_path, "imports", pool="prefork", concurrency=1, **QUICK)]
    try:
        programs[1].start(" ready.")
        eventually(lambda: now_of(action).matched >= 2_000, "a part done", AT_MOST)
        programs[1].kill()
        between = now_of(action)
        assert between.state is WorkState.RUNNING
        assert 2_000 <= between.matched < 40_000
        again = worker(tmp_path, "imports", name="again", pool="prefork", concurrency=1, **QUICK)
        programs.append(again.start(" ready."))
        assert totals(until(action, WorkState.FINISHED)) == (40_000, 40_000, 40_000, 0)
    finally:
        for program in programs:
            program.stop()
    job = one(Job, Job.id == action.job_id)
    # It got on after it was cut off, so nothing is left of that.
    assert (job.crashes, job.attempt, job.claim_no) == (0, 0, 2)
    assert tags() == {("vip",): 40_000}


def test_a_cancelled_action_stops_and_keeps_what_it_has_done(demo: Demo, importer: Program) -> None:
    people(demo, 60_000)
    action = start(demo, Action.TAG, {"all": True}, tags=["vip"])
    eventually(lambda: now_of(action).matched > 0, "a part done", AT_MOST)
    with db.transaction() as session:
        bulk.cancel(session, demo.workspace_id, action.id, actor="test")
    stopped = until(action, WorkState.CANCELLED)
    eventually(lambda: one(Job, Job.id == action.job_id).state is JobState.CANCELLED, "a cancelled job")
    done = tags()
    assert 0 < done[("vip",)] == stopped.changed == stopped.matched < 60_000
