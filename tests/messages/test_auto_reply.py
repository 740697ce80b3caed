"""A customer's message comes in, is kept, and is answered: web, three tasks, two queues, the model and the sandbox."""

import time
from collections.abc import Iterator

import pytest

from crm_tasks.core import db
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import Message
from tests.core.conftest import end, started
from tests.fixtures import Demo
from tests.harness import Program, beat, eventually, worker
from tests.messages.apply import rows
from tests.messages.conftest import QUICK
from tests.messages.outgoing import AT_MOST
from tests.messages.replies import all_done, answered, answers, asked, heard, say, switch
from tests.outside import Sandbox, Site


@pytest.fixture(scope="module", autouse=True)
def answering(
    stores: None, shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Program]]:
    """A worker for messages and one for the model, and a scheduler."""
    log, env = tmp_path_factory.mktemp("answering"), {**QUICK, "AI_BASE_URL": f"{shared_sandbox.url}/v1"}
    programs = [
        worker(log, "messages", name="messages", **env),
        worker(log, "ai", name="ai", **env),
        beat(log, **env),
    ]
    try:
        yield [started(program) for program in programs]
    finally:
        end(programs)


@pytest.fixture
def shop(shop: Demo, web: Site) -> Demo:
    """A business whose customers are answered."""
    switch(shop, on=True)
    return shop


def test_a_message_is_kept_answered_and_the_answer_sent(shop: Demo, sandbox: Sandbox) -> None:
    say(sandbox, "Where is my order?")
    (message,) = heard(1)
    (answer,) = answered(1)
    (entry,) = sandbox.sends()
    assert "Where is my order?" in entry["body"]["text"]["body"]
    assert (answer.author, answer.conversation_id, answer.text) == (
        "ai",
        message.conversation_id,
        entry["body"]["text"]["body"],
    )
    all_done()
    assert rows(Message, Message.id == message.id)[0].answer_id == answer.id


def test_three_tasks_of_two_queues_are_one_chain_under_one_trace(shop: Demo, sandbox: Sandbox) -> None:
    say(sandbox, "Hello")
    answered(1)
    all_done()
    receive, reply, send = rows(Job)
    assert [job.task for job in (receive, reply, send)] == ["messages.receive", "ai.reply", "messages.send"]
    assert {job.state for job in (receive, reply, send)} == {JobState.SUCCEEDED}
    assert (reply.parent_id, send.parent_id) == (receive.id, reply.id)
    assert reply.trace_id == send.trace_id is not None
    assert reply.result == {"tokens": reply.result["tokens"]}


def test_without_a_window_each_message_has_one_answer(shop: Demo, sandbox: Sandbox) -> None:
    for n in range(6):
        say(sandbox, f"Question {n}", "+15550001111" if n % 2 else "+15550002222")
    heard(6)
    answered(6)
    all_done()
    assert len(answers()) == 6
    assert len({message.answer_id for message in heard(6)}) == 6
    for n in range(6):
        assert sum(f"“Question {n}”" in (text or "") for text in sandbox.texts()) == 1


def test_a_message_that_comes_again_is_not_answered_again(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults({"kind": "inbound", "duplicate": 3}, {"kind": "message", "statuses": "none"})
    say(sandbox, "Only once")
    answered(1)
    all_done()
    assert len(sandbox.sends()) == len(asked(sandbox)) == 1


def test_a_second_job_for_an_answered_message_does_nothing(shop: Demo, sandbox: Sandbox) -> None:
    say(sandbox, "Hello")
    (answer,) = answered(1)
    all_done()
    message = heard(1)[0]
    db.retrying(enqueue, "ai.reply", args={"message_id": message.id})
    all_done()
    assert [each.id for each in answers()] == [answer.id]
    assert len(sandbox.sends()) == len(asked(sandbox)) == 1


def test_the_model_is_told_what_was_said_before(shop: Demo, sandbox: Sandbox) -> None:
    say(sandbox, "My name is Ann")
    answered(1)
    time.sleep(1.1)  # WhatsApp's clock knows whole seconds, and what is of the same second has no order
    say(sandbox, "What is my name?")
    answered(2)
    last = asked(sandbox)[-1]
    assert [turn["role"] for turn in last] == ["user", "assistant", "user"]
    assert (last[0]["content"], last[-1]["content"]) == ("My name is Ann", "What is my name?")


def test_nothing_that_names_the_customer_goes_to_the_model(shop: Demo, sandbox: Sandbox) -> None:
    say(sandbox, "Hello")
    answered(1)
    (entry,) = sandbox.log("chat_completion")
    assert "15550001111" not in str(entry["body"])
    assert entry["body"]["user"]


def test_where_it_is_off_nobody_is_answered(shop: Demo, sandbox: Sandbox) -> None:
    switch(shop, on=False)
    say(sandbox, "Hello?")
    heard(1)
    all_done()
    assert (answers(), sandbox.sends(), asked(sandbox)) == ([], [], [])
    assert [job.task for job in rows(Job)] == ["messages.receive"]


def test_a_model_that_stumbles_is_asked_again(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults({"kind": "chat_completion", "status": 503, "times": 1}, {"kind": "message", "statuses": "none"})
    say(sandbox, "Hello")
    answered(1)
    all_done()
    (reply,) = rows(Job, Job.task == "ai.reply")
    assert (reply.state, reply.attempt, [error["code"] for error in reply.errors]) == (
        JobState.SUCCEEDED,
        1,
        ["ai_http_503"],
    )
    assert len(sandbox.sends()) == 1


@pytest.mark.parametrize(
    ("fault", "code", "attempts"),
    [
        ({"status": 503}, "ai_http_503", 2),
        ({"drop": "before"}, "ai_no_answer", 2),
        ({"status": 401}, "ai_http_401", 1),
        ({"status": 429, "body": {"error": {"code": "insufficient_quota"}}}, "ai_insufficient_quota", 1),
        ({"status": 200, "body": {"choices": []}}, "ai_no_text", 1),
        ({"status": 200, "body": {"choices": [{"message": {"content": "  "}}]}}, "ai_no_text", 1),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_model_that_fails_leaves_a_dead_letter_and_the_message(
    shop: Demo, sandbox: Sandbox, fault: dict, code: str, attempts: int
) -> None:
    sandbox.faults({"kind": "chat_completion", **fault}, {"kind": "message", "statuses": "none"})
    say(sandbox, "Hello")

    def dead() -> Job | None:
        found = rows(Job, Job.task == "ai.reply", Job.state == JobState.DEAD)
        return found[0] if found else None

    letter = eventually(dead, "a dead letter", AT_MOST)
    assert [error["code"] for error in letter.errors] == [code] * attempts
    (message,) = heard(1)
    assert (message.text, message.answer_id, answers()) == ("Hello", None, [])

    # Put right, a person retries it, and the customer is answered after all.
    sandbox.quiet()
    with db.transaction() as session:
        repair.retry(session, letter.id, actor="test")
    answered(1)
    all_done()
    assert len(sandbox.sends()) == 1
