"""With a reply window, what a customer writes in one go is one question with one answer."""

from collections.abc import Iterator

import pytest

from crm_tasks.core import db
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import Job
from tests.core.conftest import end, started
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import Program, beat, worker
from tests.messages.apply import rows
from tests.messages.conftest import QUICK
from tests.messages.replies import ANN, all_done, answered, answers, asked, heard, say, switch
from tests.outside import Sandbox, Site

BOB = "+15550002222"


@pytest.fixture(scope="module", autouse=True)
def answering(stores: None, shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker that gathers for four seconds, and a scheduler."""
    log = tmp_path_factory.mktemp("gathering")
    env = {**QUICK, "AI_BASE_URL": f"{shared_sandbox.url}/v1", "REPLY_WINDOW": "4"}
    programs = [beat(log, **env), worker(log, "messages", "ai", name="gathering", **env)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)


@pytest.fixture
def shop(shop: Demo, web: Site) -> Demo:
    """A business whose customers are answered."""
    switch(shop, on=True)
    return shop


def test_a_burst_is_one_question_with_one_answer(shop: Demo, sandbox: Sandbox) -> None:
    for text in ("Hi", "I have a question", "Where is my order?"):
        say(sandbox, text)
    (answer,) = answered(1)
    all_done()
    assert len(answers()) == len(sandbox.sends()) == 1
    assert {message.answer_id for message in heard(3)} == {answer.id}
    # Of one second of WhatsApp's clock, so in no order.
    assert {turn["content"] for turn in asked(sandbox)[0]} == {"Hi", "I have a question", "Where is my order?"}
    assert len(rows(Job, Job.task == "ai.reply")) == 1


def test_bursts_of_two_people_are_two_questions(shop: Demo, sandbox: Sandbox) -> None:
    for n in range(2):
        say(sandbox, f"Ann {n}", ANN)
        say(sandbox, f"Bob {n}", BOB)
    answered(2)
    all_done()
    told = sorted(sorted(turn["content"] for turn in turns) for turns in asked(sandbox))
    assert told == [["Ann 0", "Ann 1"], ["Bob 0", "Bob 1"]]


def test_what_comes_after_the_answer_is_another_question(shop: Demo, sandbox: Sandbox) -> None:
    say(sandbox, "First")
    answered(1)
    say(sandbox, "Second")
    answered(2)
    all_done()
    assert len({message.answer_id for message in heard(2)}) == 2
    assert len(sandbox.sends()) == 2


def test_of_a_burst_the_message_that_made_the_job_need_not_be_the_first(shop: Demo, sandbox: Sandbox) -> None:
    """Two webhooks at once: the earlier transaction may be the later one to ask for an answer."""
    switch(shop, on=False)
    say(sandbox, "Earlier")
    (earlier,) = heard(1)
    all_done()
    say(sandbox, "Later")
    later = heard(2)[-1]
    all_done()
    execute("UPDATE workspaces SET auto_reply_since = :at", at=earlier.created_at)
    db.retrying(enqueue, "ai.reply", args={"message_id": later.id})
    (answer,) = answered(1)
    assert {message.answer_id for message in heard(2)} == {answer.id}
