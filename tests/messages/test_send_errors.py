"""What WhatsApp's errors do to a message, its job and its channel: real answers of the sandbox, by `error.code`."""

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

from crm_tasks.core import db, holds
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import results
from crm_tasks.providers.whatsapp.errors import refusal
from tests.core.ledger import update, waits_for_a_lock
from tests.fixtures import Demo, make_demo
from tests.harness import eventually
from tests.messages.apply import ours
from tests.messages.outgoing import AT_MOST, fault, job_until, message, post, post_template, send_job, until, wait_left
from tests.outside import Sandbox

pytestmark = pytest.mark.usefixtures("sender")

BOB = "+15550002222"


@pytest.mark.parametrize("code", [1, 2, 4, 80007, 130429, 131016, 131057, 133004])
def test_what_will_pass_is_sent_again(shop: Demo, sandbox: Sandbox, code: int) -> None:
    sandbox.faults(fault(status=400, error_code=code, times=1), fault(statuses="none"))
    sent = until(post(shop), MessageState.ACCEPTED)
    job = send_job(sent.id)
    assert (job.attempt, [error["code"] for error in job.errors]) == (1, [f"whatsapp:{code}"])
    assert sent.error is None
    assert [entry["status"] for entry in sandbox.sends()] == [400, 200]


def test_what_does_not_pass_after_all_attempts_is_dead(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=429, error_code=130429))
    failed = until(post(shop), MessageState.FAILED)
    assert failed.error == {"code": 130429, "title": "the number's throughput is reached", "times": 3}
    assert (send_job(failed.id).state, len(sandbox.sends())) == (JobState.DEAD, 3)


def test_a_wait_that_the_provider_names_is_kept(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=429, body="slow down", headers={"Retry-After": "600"}))
    sent = post(shop)
    job = job_until(sent, lambda job: job.attempt == 1, "the first attempt failed")
    assert 500 < wait_left(job) <= 600
    assert message(sent).state is MessageState.QUEUED


def test_one_person_too_often_waits_ever_longer_and_others_do_not(
    shop: Demo, sandbox: Sandbox, clock: Callable[[str], None]
) -> None:
    sandbox.faults(fault(status=400, error_code=131056, recipient="0001111$"), fault(statuses="none"))
    sent = post(shop)
    first = job_until(sent, lambda job: job.claim_no == 1 and job.state is JobState.QUEUED, "put off")
    assert (first.attempt, message(sent).state) == (0, MessageState.QUEUED)
    assert 0 <= wait_left(first) <= 4
    until(post(shop, to=BOB), MessageState.ACCEPTED)
    clock("now() + interval '1 minute'")
    second = job_until(sent, lambda job: job.claim_no == 2 and job.state is JobState.QUEUED, "put off again")
    assert 4 < wait_left(second) <= 16
    assert message(sent).error == {
        "code": 131056,
        "title": "too many messages to this person in a short time",
        "times": 2,
    }
    sandbox.quiet()
    clock("now() + interval '3 minutes'")
    until(sent, MessageState.ACCEPTED)


def test_what_was_held_back_is_tried_once_more_after_a_day(
    shop: Demo, sandbox: Sandbox, clock: Callable[[str], None]
) -> None:
    sandbox.faults(fault(status=400, error_code=131049))
    sent = post_template(shop, {"name": "spring_sale", "language": {"code": "en_US"}})
    job = job_until(sent, lambda job: job.claim_no == 1 and job.state is JobState.QUEUED, "put off")
    assert 86_000 < wait_left(job) <= 86_400
    clock("now() + interval '25 hours'")
    failed = until(sent, MessageState.FAILED)
    assert failed.error is not None
    assert (failed.error["code"], failed.error["times"]) == (131049, 2)
    assert len(sandbox.sends()) == 2


@pytest.mark.parametrize("code", [100, 131008, 131009, 131021, 131026, 131047, 131050, 132000, 132001, 130497, 777777])
def test_what_never_can_work_is_not_tried_again(shop: Demo, sandbox: Sandbox, code: int) -> None:
    sandbox.faults(fault(status=400, error_code=code))
    failed = until(post(shop), MessageState.FAILED)
    job = send_job(failed.id)
    assert (job.state, job.attempt) == (JobState.DEAD, 1)
    assert failed.error is not None
    assert failed.error["code"] == code
    assert failed.failed_at is not None
    assert len(sandbox.sends()) == 1


def test_an_error_that_nobody_knows_is_told_in_the_providers_words(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=400, body={"error": {"code": 424242, "message": "The moon is full"}}))
    failed = until(post(shop), MessageState.FAILED)
    assert failed.error is not None
    assert failed.error["title"] == "an error that is not in our table: The moon is full"


# --- a channel that cannot send ----------------------------------------------------------------------------------


def channel_holds(shop: Demo) -> list[Any]:
    with db.transaction() as session:
        return [hold for hold in holds.listed(session) if hold.scope == f"channel:{shop.channel_id}"]


@pytest.mark.parametrize("code", [0, 3, 10, 190, 200, 299, 368, 131005, 131031, 131042, 131048, 133010])
def test_what_stops_the_number_holds_its_channel_and_loses_nothing(shop: Demo, sandbox: Sandbox, code: int) -> None:
    sandbox.faults(fault(status=400, error_code=code, times=1), fault(statuses="none"))
    sent = post(shop)
    job_until(sent, lambda job: job.claim_no == 1 and job.state is JobState.QUEUED, "put off")
    (hold,) = channel_holds(shop)
    assert hold.reason.startswith(f"whatsapp {code}: ")
    assert (hold.actor, hold.workspace_id) == ("system", shop.workspace_id)
    later = post(shop, "later", to=BOB)
    job = job_until(later, lambda job: job.held_by == str(hold.id), "held")
    assert (job.claim_no, message(sent).state, message(later).state) == (0, MessageState.QUEUED, MessageState.QUEUED)

    with db.transaction() as session:
        holds.release(session, hold.id, actor="test")
    update([send_job(sent).id], "run_at = crm_now()")
    until(sent, MessageState.ACCEPTED)
    until(later, MessageState.ACCEPTED)
    assert send_job(sent).attempt == 0
    assert sandbox.texts() in (["Hello", "Hello", "later"], ["Hello", "later", "Hello"])


def test_many_messages_that_meet_a_stop_together_make_one_hold(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=401, error_code=190, delay=0.5))
    sent = [post(shop, to=f"+1555000{n:04d}") for n in range(8)]
    for each in sent:
        job_until(each, lambda job: job.state is JobState.QUEUED and (job.claim_no or job.held_by), "stopped")
    assert len(sandbox.sends()) > 1
    assert len(channel_holds(shop)) == 1


def test_two_that_meet_a_stop_at_the_same_moment_make_one_hold(shop: Demo) -> None:
    """The second looks while the hold of the first is not committed yet."""
    both = [ours(shop, MessageState.SENDING, to=to) for to in ("+15550001111", BOB)]
    claim, no = MagicMock(claim_no=1), refusal(190)

    def second() -> None:
        with db.transaction() as session:
            results.refused(session, both[1].id, claim, no)

    with db.transaction() as session:
        results.refused(session, both[0].id, claim, no)
        thread = threading.Thread(target=second)
        thread.start()
        eventually(lambda: waits_for_a_lock() or not thread.is_alive(), "the second waits", AT_MOST)
    thread.join(AT_MOST)
    assert len(channel_holds(shop)) == 1


def test_other_channels_go_on(shop: Demo, sandbox: Sandbox) -> None:
    number = {"phone_number_id": "20002", "access_token": "token-of-20002", "waba_id": "920002"}
    sandbox.control("PUT", "numbers", {**number, "display_phone_number": "+1 555 078 3882"})
    other = make_demo(number="20002", name="Other", base_url=sandbox.url)
    sandbox.faults(fault(status=401, error_code=190, path=shop.phone_number_id), fault(statuses="none"))
    stopped = post(shop)
    job_until(stopped, lambda job: job.claim_no == 1 and job.state is JobState.QUEUED, "put off")
    until(post(other), MessageState.ACCEPTED)


def test_a_held_message_can_be_cancelled_and_is_never_sent(shop: Demo, sandbox: Sandbox) -> None:
    with db.transaction() as session:
        held = holds.place(session, f"channel:{shop.channel_id}", reason="a look", actor="test")
    sent = post(shop)
    with db.transaction() as session:
        repair.cancel(session, send_job(sent).id, actor="test")
    assert message(sent).state is MessageState.CANCELLED
    with db.transaction() as session:
        holds.release(session, held.id, actor="test")
    until(post(shop, "the next"), MessageState.ACCEPTED)
    assert sandbox.texts() == ["the next"]
