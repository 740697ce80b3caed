"""`crm prove`: what went well holds, and whatever is broken is named."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result

from crm_tasks.cli import crm
from crm_tasks.prove import outside
from crm_tasks.prove.run import everything
from crm_tasks.providers import llm
from tests import payloads
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import hear
from tests.outside import Sandbox
from tests.prove.corruptions import CORRUPTIONS, Corruption
from tests.prove.healthy import conversation
from tests.webhooks.receiver import receiver


@pytest.fixture
def business(empty: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    """A conversation where all went well; what a test breaks is gone with the rows, save for an index."""
    monkeypatch.setattr(llm, "complete", lambda _turns, **_: llm.Completion("It is on its way.", "test", 7))
    with receiver() as told:
        demo = conversation(sandbox, told.url)
    ((index,),) = execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'uq_jobs_serial_key'")
    yield demo
    execute("TRUNCATE jobs")
    execute(index.replace("UNIQUE INDEX", "UNIQUE INDEX IF NOT EXISTS"))


@pytest.fixture
def healthy(business: Demo, sandbox: Sandbox) -> Sandbox:
    """What the outside knows of that conversation."""
    return sandbox


def prove(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(crm, ["prove", *arguments])


def findings(*arguments: str) -> dict[str, dict[str, Any]]:
    """Return what `--json` says, by the names of the invariants."""
    result = prove(*arguments, "--json")
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert result.exit_code == (0 if all(each["holds"] for each in found.values()) else 1)
    return found


def test_all_holds_after_a_conversation_that_went_well(healthy: Sandbox) -> None:
    found = findings("--sandbox", healthy.url, "--grace", "0")
    assert {name: each["violations"] for name, each in found.items() if not each["holds"]} == {}
    assert list(found) == [each.name for each in everything(healthy.url)]


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.what)
def test_what_is_broken_is_named(healthy: Sandbox, corruption: Corruption) -> None:
    corruption.do(healthy)
    found = findings("--sandbox", healthy.url, "--grace", "0")
    broken = {name: each["violations"] for name, each in found.items() if not each["holds"]}
    assert broken.keys() == corruption.breaks, broken
    assert all(broken.values())


def test_every_invariant_can_break() -> None:
    breakable = {name for corruption in CORRUPTIONS for name in corruption.breaks}
    assert breakable == {each.name for each in everything("http://127.0.0.1:9")}


def test_it_says_each_invariant_and_its_result(healthy: Sandbox) -> None:
    result = prove("--sandbox", healthy.url)
    assert result.exit_code == 0
    for each in everything(healthy.url):
        assert f"holds  {each.name}: {each.says}" in result.stdout
    assert f"All {len(everything(healthy.url))} hold." in result.stdout


def test_it_says_what_is_broken(healthy: Sandbox) -> None:
    execute("UPDATE conversations SET last_inbound_at = NULL")
    result = prove()
    assert result.exit_code == 1
    assert "BROKEN windows: " in result.stdout
    assert "last heard the customer at no time" in result.stdout
    assert f"1 of {len(everything())} do not hold." in result.stdout


def test_it_shows_five_contradictions_and_how_many_there_are(healthy: Sandbox) -> None:
    execute("INSERT INTO jobs (id, task, queue, args, state, max_attempts, finished_at, attempt, scopes) "
            "SELECT gen_random_uuid(), 'ai.reply', 'ai', '{}', 'cancelled', 1, now(), 2, '{}' "
            "FROM generate_series(1, 7)")  # fmt: skip
    result = prove("--grace", "0")
    assert "… 7 in all" in result.stdout
    assert result.stdout.count("(ai.reply, cancelled)") == 5


def test_what_is_young_may_be_under_way(healthy: Sandbox) -> None:
    execute("UPDATE inbound_events SET state = 'received', received_at = now() - interval '30 s'")
    assert findings()["events"]["holds"]
    assert not findings("--grace", "10")["events"]["holds"]


def test_what_the_sandbox_has_forgotten_is_not_asked_about(healthy: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its newest 20,000 entries; here it has dropped the older ones, those of the message."""
    healthy.control("DELETE", "state")
    first = {"data": [{"seq": 7, "time": datetime.now(UTC).isoformat()}], "next": 7}
    kept = outside._log
    monkeypatch.setattr(outside, "_log", lambda url, **query: kept(url, **query) if "kind" in query else first)
    assert findings("--sandbox", healthy.url)["received = accepted"]["holds"]


def test_a_word_to_stop_wants_no_answer_and_who_was_erased_can_have_none(business: Demo) -> None:
    def holds() -> bool:
        return findings("--grace", "0")["answers"]["holds"]

    hear(business, payloads.text("STOP", at=int(time.time())))
    assert holds()
    execute("UPDATE consent_events SET allowed = true")
    assert not holds()
    execute("UPDATE contacts SET erased_at = now()")
    assert holds()


def test_a_sandbox_that_is_away_is_said_and_no_proof(healthy: Sandbox) -> None:
    result = prove("--sandbox", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "did not give its log" in result.stderr
