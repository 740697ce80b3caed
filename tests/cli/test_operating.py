"""`crm job`, `dlq`, `hold`, `events`, `ring`, `migrate`: what an operator does, and clear refusals."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs import dead_letters
from crm_tasks.core.jobs.model import JobState
from tests.cli.terminal import complaint, data, ids, program, said
from tests.core.ledger import FAIL, NOTE, job, new, rung, states, take, unrung
from tests.fixtures import Demo
from tests.messages.apply import tell
from tests.webapp.dead import dead, die

pytestmark = pytest.mark.usefixtures("empty")


def later() -> uuid.UUID:
    with db.transaction() as session:
        return new(run_at=session.scalar(sa.select(db.now() + timedelta(days=1))))


# --- jobs --------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_shown_cancelled_and_retried() -> None:
    waits, failed = new(), dead("no route")
    assert ids(said("job", "list")) == [str(failed), str(waits)]
    assert ids(said("job", "list", "--state", "dead", "--queue", "send-sms-queue", "--task", FAIL)) == [str(failed)]
    assert "no route" in said("job", "list")
    assert [each["id"] for each in data("job", "list", "--limit", 1)] == [str(failed)]
    assert f'"task": "{NOTE}"' in said("job", "show", waits)
    assert said("job", "cancel", waits, "--reason", "a mistake") == f"{waits} is cancelled.\n"
    assert (job(waits).reason or "").startswith("a mistake (by cli:")
    assert said("job", "retry", failed) == f"{failed} is queued.\n"
    assert str(failed) in rung()


def test_jobs_in_the_wrong_state_are_refused_with_what_they_are() -> None:
    waits, runs = new(), new()
    take(runs)
    assert complaint("job", "retry", waits) == "crm: This job is queued; only a dead job can be retried.\n"
    assert "This job is running" in complaint("job", "run-now", runs)
    said("job", "cancel", waits)
    assert "This job is cancelled" in complaint("job", "cancel", waits)
    assert "There is no job" in complaint("job", "show", uuid.uuid4())
    assert "Did you mean 'messages'?" in complaint("job", "list", "--queue", "mesages")


def test_a_delayed_job_is_brought_forward() -> None:
    job_id = later()
    assert f"{job_id} is due since 20" in said("job", "run-now", job_id)
    assert str(job_id) in rung()


def test_without_jobs_the_list_says_so() -> None:
    assert said("job", "list") == "No such jobs.\n"
    assert data("job", "list") == []


# --- dead letters ------------------------------------------------------------------------------------------------


def test_dead_letters_are_counted_grouped_and_shown() -> None:
    first, second = dead("order 1 has no route"), dead("order 2 has no route")
    other = dead("no money", NOTE)
    assert data("dlq", "stats") == {"waiting": 3, "active": 0, "failed": 0, "completed": 0}
    assert "waiting" in said("dlq", "stats")
    groups = data("dlq", "list")
    assert [(group["jobs"], group["tasks"]) for group in groups] == [(2, [FAIL]), (1, [NOTE])]
    assert "Permanent: no money" in said("dlq", "list")
    of_one_cause = ids(said("dlq", "list", "--fingerprint", groups[0]["fingerprint"]))
    assert of_one_cause == [str(second), str(first)]
    assert "no money" in said("dlq", "show", other)
    assert "not dead" in complaint("dlq", "show", new())


@pytest.mark.parametrize("how", ["ids", "fingerprint", "task", "queue", "all"])
@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_dead_letters_are_dealt_with_by_condition(how: str, verb: str) -> None:
    meant = [dead("no route") for _ in range(3)]
    others = [] if how == "all" else [dead("no money", "notifications.test_nap", args={"seconds": 0})]
    words: list[Any] = {
        "ids": [*meant],
        "fingerprint": ["--fingerprint", job(meant[0]).fingerprint],
        "task": ["--task", FAIL],
        "queue": ["--queue", "messages"],
        "all": ["--all"],
    }[how]
    reason = ["--reason", "r"] if verb == "discard" else []
    assert said("dlq", verb, *words, *reason) == ("3 discarded.\n" if verb == "discard" else "3 retried.\n")
    assert states(meant) == {JobState.CANCELLED if verb == "discard" else JobState.QUEUED: 3}
    assert states(others) == ({JobState.DEAD: 1} if others else {})


def test_of_named_jobs_one_that_is_not_dead_refuses_all() -> None:
    failed, waits = dead(), new()
    assert complaint("dlq", "retry", failed, waits) == "crm: This job is queued, not dead.\n"
    assert job(failed).state is JobState.DEAD


def test_everything_is_meant_only_by_saying_so() -> None:
    job_id = dead()
    for words in (("retry",), ("discard", "--reason", "r")):
        assert "Give ids, --fingerprint, --task, --queue or --all." in complaint("dlq", *words)
    assert "needs a reason" in complaint("dlq", "discard", "--all", "--reason", " ")
    assert job(job_id).state is JobState.DEAD


def test_what_dies_again_at_once_is_retried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker as quick as the command: each retried job is dead again before the next batch is read."""
    made = [dead() for _ in range(4)]
    original, rounds = dead_letters.retry_batch, 0

    def retry_batch(session: Any, which: Any, **options: Any) -> list[uuid.UUID]:
        nonlocal rounds
        rounds += 1
        assert rounds < 10, "it never ends"
        for job_id in made:
            if job(job_id).state is JobState.QUEUED:
                die(job_id)
        return original(session, which, **options)

    monkeypatch.setattr(dead_letters, "retry_batch", retry_batch)
    monkeypatch.setattr(dead_letters, "_BATCH", 1)
    assert said("dlq", "retry", "--all").endswith("4 retried.\n")


# --- holds -------------------------------------------------------------------------------------------------------


def test_a_hold_is_placed_listed_and_released() -> None:
    hold = data("hold", "place", "queue:emails", "--reason", "an incident", "--minutes", 5)
    assert (hold["scope"], hold["reason"]) == ("queue:email", "an incident")
    assert hold["expires_at"]
    assert said("hold", "place", "all", "--reason", "another").startswith("all is held: ")
    held = new()
    assert {each["scope"]: each["held_jobs"] for each in data("hold", "list")} == {"all": 1, "queue:email": 0}
    assert job(held).held_by is not None
    assert said("hold", "release", hold["id"]) == "1 released.\n"
    assert said("hold", "release", "all") == "1 released.\n"
    assert said("hold", "release", "all") == "Nothing holds all.\n"
    assert said("hold", "list") == "Nothing is held.\n"
    assert len(data("hold", "list", "--ended")) == 2


def test_a_hold_is_refused_with_what_to_do() -> None:
    assert "Use all, or one of queue:" in complaint("hold", "place", "everything", "--reason", "r")
    assert "needs a reason" in complaint("hold", "place", "all", "--reason", " ")
    assert "expiry is in the past" in complaint("hold", "place", "all", "--reason", "r", "--minutes", -1)
    assert "There is no hold" in complaint("hold", "release", uuid.uuid4())
    hold = data("hold", "place", "all", "--reason", "r")
    said("hold", "release", hold["id"])
    assert "was released by cli:" in complaint("hold", "release", hold["id"])


# --- the rest ----------------------------------------------------------------------------------------------------


def test_events_are_listed_shown_and_replayed(demo: Demo) -> None:
    assert said("events", "list") == "No quarantined events.\n"
    (bad,) = tell(demo, b"{broken")
    assert data("events", "list")[0]["problem"] == "not JSON"
    assert ids(said("events", "list")) == [str(bad.id)]
    assert said("events", "show", bad.id).endswith("{broken\n")
    assert said("events", "replay", bad.id) == "1 events will be applied again.\n"
    assert complaint("events", "replay", bad.id).startswith("crm: This event is received")
    assert said("events", "replay", "--all") == "0 events will be applied again.\n"
    assert "There is no event" in complaint("events", "show", uuid.uuid4())


def test_ring_rings_what_is_due_when_no_scheduler_runs() -> None:
    (job_id,) = unrung()
    assert "All that is due has been rung" in said("ring")
    assert str(job_id) in rung()


def test_migrate_says_at_which_version_the_database_is() -> None:
    done = program("migrate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The database is at 0")


def test_as_a_program_it_does_the_same_and_prints_json_alone() -> None:
    job_id = new()
    shown = program("job", "show", str(job_id))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("{\n")
    refused = program("job", "retry", str(job_id))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "crm: This job is queued; only a dead job can be retried.\n"


def test_in_a_pipe_no_word_is_broken(empty: None) -> None:
    job_id = new()
    listed = program("job", "list", COLUMNS="40").stdout
    assert str(job_id) in listed
    assert NOTE in listed
