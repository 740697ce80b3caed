"""Plain Celery use: whatever is called, the ledger has a row for it, or it is refused or never run."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import chain, chord, group

from crm_tasks.celery import app
from crm_tasks.core.errors import BadArguments, Invalid
from crm_tasks.core.jobs import ring
from crm_tasks.core.redis import manager
from tests import tasks
from tests.core.ledger import job, jobs, lines, new, rung

pytestmark = pytest.mark.usefixtures("empty")


@pytest.mark.parametrize("task_id", ["01890000-0000-7000-8000-000000000000", "not an id"])
def test_the_result_of_nothing_is_pending(task_id: str) -> None:
    assert app.AsyncResult(task_id).state == "PENDING"


def test_a_countdown_or_an_eta_becomes_a_run_at_and_no_message() -> None:
    before = datetime.now(UTC)
    first = job(uuid.UUID(tasks.note.apply_async(["x"], countdown=3600).id))
    assert before + timedelta(hours=1) <= first.run_at <= datetime.now(UTC) + timedelta(hours=1)
    moment = datetime(2100, 1, 1, tzinfo=UTC)
    second = job(uuid.UUID(tasks.note.apply_async(kwargs={"path": "x"}, eta=moment, priority=2).id))
    assert (second.run_at, second.priority) == (moment, 2)
    assert (first.rung_at, second.rung_at, rung()) == (None, None, [])


def test_no_ring_carries_an_eta() -> None:
    new()
    new(priority=1, run_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert len(rung()) == 2
    for key in ring.broker_keys("messages"):
        for message in manager().client("broker").lrange(key, 0, -1):
            assert b'"eta":null' in message.replace(b" ", b"") and b'"expires":null' in message.replace(b" ", b"")


def test_an_eta_without_a_zone_is_refused() -> None:
    with pytest.raises(Invalid, match="run_at needs a time zone"):
        tasks.note.apply_async(["x"], eta=datetime(2100, 1, 1))
    assert jobs() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.note.delay(),
        lambda: tasks.note.delay("x", "y", "z"),
        lambda: tasks.note.delay("x", path="y"),
        lambda: tasks.note.delay("x", colour="red"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_the_call(call: Callable[[], object]) -> None:
    with pytest.raises(BadArguments, match=r"messages\.test_note does not take these arguments"):
        call()
    assert jobs() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.note.apply_async(["x"], link=tasks.note.s("y")),
        lambda: tasks.note.apply_async(["x"], link_error=tasks.note.s("y")),
        lambda: tasks.note.apply_async(["x"], expires=60),
        lambda: tasks.note.apply_async(["x"], task_id=str(uuid.uuid4())),
        lambda: chain(tasks.note.si("x"), tasks.note.si("y")).apply_async(),
        lambda: group(tasks.note.si("x"), tasks.note.si("y")).apply_async(),
        lambda: chord([tasks.note.si("x")], tasks.note.si("y")).apply_async(),
    ],
    ids=["link", "link_error", "expires", "task_id", "chain", "group", "chord"],
)
def test_what_would_bypass_the_ledger_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(BadArguments, match="the ledger does not know"):
        call()
    assert (jobs(), rung()) == ([], [])


def test_a_task_called_as_a_function_runs_here_and_makes_no_job(tmp_path: Path) -> None:
    assert tasks.note(str(tmp_path / "noted"), "here") == {"wrote": "here"}
    assert (lines(tmp_path / "noted"), jobs()) == (["here"], [])
