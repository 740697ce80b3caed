"""Sending e-mails with a real worker and a real mail server: once, again after a no that passes, never to the gone."""

import pytest

from crm_tasks.contacts.models import Identity, Suppression, SuppressionScope
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Hold, JobState
from crm_tasks.email.models import EmailBounce
from crm_tasks.messages.models import Category, MessageState
from crm_tasks.providers.mail import unsubscribe
from tests.email.conftest import Mailbox
from tests.email.shop import ANN, Shop, make_shop, post
from tests.harness import Program, eventually
from tests.messages.apply import one, rows
from tests.messages.outgoing import AT_MOST, job_until, until
from tests.providers.mailserver import mail_server

pytestmark = pytest.mark.usefixtures("sender")
SENDS = "email.send"


def test_an_email_arrives_once_with_its_files_and_is_accepted(shop: Shop, mailbox: Mailbox) -> None:
    file = {"name": "Rechnung é.pdf", "media_type": "application/pdf", "data": "aGVsbG8="}
    sent = until(
        post(shop, attachments=[file], reply_to="help@example.com", headers={"X-Tag": "a"}), MessageState.ACCEPTED
    )
    (mail,) = mailbox.mails()
    assert (mail["From"], mail["To"], mail["Subject"]) == ("The shop <shop@example.com>", ANN, "Hello")
    assert (mail["Reply-To"], mail["X-Tag"], mail["X-CRM-Message"]) == ("help@example.com", "a", str(sent.id))
    assert mailbox.taken[0].mail_from == f"bounces+{sent.id.hex}@example.com"
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("Rechnung é.pdf", b"hello")
    assert (sent.text, sent.provider_id, sent.type) == ("Hello", str(sent.id), "email")
    assert sent.content["attachments"] == [{"name": "Rechnung é.pdf", "media_type": "application/pdf", "size": 5}]
    assert "List-Unsubscribe" not in mail


def test_marketing_has_a_link_that_names_the_person(shop: Shop, mailbox: Mailbox) -> None:
    sent = until(post(shop, category=Category.MARKETING), MessageState.ACCEPTED)
    (mail,) = mailbox.mails()
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    leaving = unsubscribe.read(mail["List-Unsubscribe"].rpartition("/")[2].rstrip(">"))
    assert leaving == unsubscribe.Leaving(shop.workspace_id, sent.contact_id, ANN, "marketing", sent.id)


def test_a_greylisted_mail_is_sent_later_and_once(shop: Shop, mailbox: Mailbox) -> None:
    mailbox.say += ["450 4.2.0 greylisted", "451 4.7.1 greylisted"]
    sent = until(post(shop), MessageState.ACCEPTED)
    job = job_until(sent.id, lambda job: job.state is JobState.SUCCEEDED, "sent", SENDS)
    assert [error["code"] for error in job.errors] == ["email:450", "email:451"]
    assert (len(mailbox.taken), sent.error, rows(EmailBounce)) == (1, None, [])


def test_an_address_that_nobody_has_is_written_to_once_and_never_again(shop: Shop, mailbox: Mailbox) -> None:
    mailbox.say += ["550 5.1.1 nobody"]
    failed = until(post(shop), MessageState.FAILED)
    assert failed.error is not None and failed.error["code"] == 550
    found = one(Suppression)
    assert (found.address, found.medium, found.scope, found.reason, found.active) == (
        ANN,
        "email",
        SuppressionScope.ALL,
        "hard_bounce",
        True,
    )
    assert found.evidence["message_id"] == str(failed.id)
    assert one(Identity, Identity.value == ANN).unreachable_at is not None
    again = until(post(shop), MessageState.SUPPRESSED)
    assert again.error is not None and again.error["code"] == "suppressed"
    assert mailbox.taken == []


def test_a_full_mailbox_is_tried_again_and_not_held_against_the_address(shop: Shop, mailbox: Mailbox) -> None:
    mailbox.say += ["552 5.2.2 full"]
    until(post(shop), MessageState.ACCEPTED)
    assert (len(rows(EmailBounce)), rows(Suppression)) == (1, [])


def test_a_mail_that_is_too_big_or_taken_for_spam_says_nothing_of_the_address(shop: Shop, mailbox: Mailbox) -> None:
    mailbox.say += ["552 5.3.4 too big", "554 5.7.1 spam"]
    for _ in range(2):
        until(post(shop), MessageState.FAILED)
    assert (rows(EmailBounce), rows(Suppression)) == ([], [])


def test_a_login_that_fails_stops_the_channel_and_loses_nothing(empty: None) -> None:
    with mail_server(replies={"AUTH": "535 5.7.8 wrong"}) as server:
        shop = make_shop(port=server.port, user="shop", password="secret")
        wanted = post(shop)
        hold = eventually(lambda: rows(Hold), "the channel held", AT_MOST)[0]
        assert hold.scope == f"channel:{shop.channel_id}"
        assert "535" in hold.reason and "secret" not in hold.reason
        assert until(wanted, MessageState.QUEUED).error is not None


def test_cut_after_the_final_dot_it_is_unknown_and_not_sent_again(empty: None) -> None:
    with mail_server(cut="dot") as server:
        shop = make_shop(port=server.port)
        unknown = until(post(shop), MessageState.UNKNOWN)
        job_until(unknown.id, lambda job: job.state is JobState.SUCCEEDED, "the job over", SENDS)
        assert len(server.received) == 1


def test_mails_to_one_person_leave_in_order(shop: Shop, mailbox: Mailbox) -> None:
    subjects = [f"No. {n}" for n in range(5)]
    for subject in subjects:
        last = post(shop, subject=subject)
    until(last, MessageState.ACCEPTED)
    assert [mail["Subject"] for mail in mailbox.mails()] == subjects


def test_nothing_personal_is_in_the_log_nor_in_the_ledger(shop: Shop, mailbox: Mailbox, sender: Program) -> None:
    before = len(sender.said())
    mailbox.say += [f"550 5.1.1 <{ANN}> nobody"]
    failed = until(post(shop, subject="a very private subject"), MessageState.FAILED)
    job = job_until(failed.id, lambda job: job.state is JobState.DEAD, "dead", SENDS)
    for said in (sender.said(before), str(job.errors), str(job.args)):
        assert ANN not in said and "private" not in said
    with db.transaction():
        assert failed.error is not None and ANN not in str(failed.error)
