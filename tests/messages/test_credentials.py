"""Credentials: in memory no older than Postgres, in a file for the day on which that is lost, never in the clear."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.config import settings
from crm_tasks.core import crypto, db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.messages.models import MessageState
from crm_tasks.notifications.models import Notification, Severity
from crm_tasks.workspaces import credentials, service
from crm_tasks.workspaces.models import Channel, Workspace
from crm_tasks.workspaces.restore import Done, restore
from tests.cli.terminal import complaint, said
from tests.core.ledger import counted, execute
from tests.fixtures import Demo, make_demo
from tests.harness import eventually
from tests.messages.apply import one, rows
from tests.messages.outgoing import AT_MOST, fault, job_until, post, send_job, until
from tests.outside import Sandbox

OTHER_KEY = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMTI="


@pytest.fixture(autouse=True)
def cache(empty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of this test's own, and nothing in memory."""
    file = tmp_path / "credentials.cache"
    monkeypatch.setattr(credentials, "path", lambda: file)
    credentials.forget()
    yield file
    credentials.forget()


def look(channel_id: uuid.UUID) -> Channel:
    return db.retrying(credentials.channel, channel_id)


def rotate(demo: Demo, token: str) -> None:
    db.retrying(service.rotate_credentials, demo.workspace_id, demo.channel_id, {"access_token": token})


def kept_token(demo: Demo) -> str:
    return credentials.read()[demo.channel_id].channel["credentials"]["access_token"]


def clear() -> None:
    """Lose the database."""
    execute("TRUNCATE workspaces, channels CASCADE")


# --- in memory ---------------------------------------------------------------------------------------------------


def test_what_is_known_is_not_opened_again(demo: Demo) -> None:
    hits, misses = counted("credentials_hits"), counted("credentials_misses")
    for _ in range(3):
        found = look(demo.channel_id)
        assert (found.credentials["access_token"], found.base_url) == (demo.access_token, "http://127.0.0.1:9")
    assert (counted("credentials_hits") - hits, counted("credentials_misses") - misses) == (2, 1)


def test_nobody_can_change_what_is_known(demo: Demo) -> None:
    look(demo.channel_id).credentials["app_secrets"].append("mine")
    look(demo.channel_id).credentials["access_token"] = "mine"
    assert look(demo.channel_id).credentials == one(Channel).credentials
    assert "mine" not in str(look(demo.channel_id).credentials)


def test_a_change_is_seen_at_the_next_look_whoever_made_it(demo: Demo) -> None:
    look(demo.channel_id)
    rotate(demo, "new token")
    assert look(demo.channel_id).credentials["access_token"] == "new token"
    execute("UPDATE channels SET base_url = 'http://127.0.0.1:10'")
    assert look(demo.channel_id).base_url == "http://127.0.0.1:10"
    clear()
    with pytest.raises(sa.exc.NoResultFound):
        look(demo.channel_id)


def test_what_is_old_is_read_anew_and_swept(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    look(demo.channel_id)
    credentials.sweep()
    assert demo.channel_id in credentials._known
    later = time.monotonic() + settings().credentials_cache_ttl.total_seconds()
    monkeypatch.setattr(time, "monotonic", lambda: later)
    misses = counted("credentials_misses")
    look(demo.channel_id)
    assert counted("credentials_misses") == misses + 1
    monkeypatch.setattr(time, "monotonic", lambda: later + 301)
    credentials.sweep()
    assert credentials._known == {}


# --- in the file -------------------------------------------------------------------------------------------------


def test_the_file_is_private_and_encrypted(demo: Demo, cache: Path) -> None:
    credentials.save()
    assert cache.stat().st_mode & 0o777 == 0o600
    assert list(cache.parent.iterdir()) == [cache]
    raw = cache.read_bytes()
    for secret in (demo.access_token, demo.app_secret, demo.phone_number_id):
        assert secret.encode() not in raw
    assert demo.access_token not in repr(credentials.read())


def test_what_the_file_has_need_not_be_opened_again(demo: Demo) -> None:
    credentials.save()
    credentials.forget()
    credentials.load()
    misses = counted("credentials_misses")
    found = look(demo.channel_id)
    assert (found.credentials["access_token"], found.kind) == (demo.access_token, one(Channel).kind)
    assert counted("credentials_misses") == misses
    rotate(demo, "newer than the file")
    assert look(demo.channel_id).credentials["access_token"] == "newer than the file"


def test_it_is_written_only_when_something_has_changed(demo: Demo, cache: Path) -> None:
    written = credentials.save()
    before = cache.read_bytes()
    os.utime(cache, (1, 1))
    assert credentials.save(written) == written
    assert cache.read_bytes() == before
    assert (credentials.age() or 99) < 60
    rotate(demo, "another")
    assert credentials.save(written) != written
    assert kept_token(demo) == "another"


def foreign(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return what is encrypted with a key that is not ours."""
    with monkeypatch.context() as patch:
        other = replace(settings(), encryption_keys=(OTHER_KEY,))
        patch.setattr(crypto, "settings", lambda: other)
        return crypto.encrypt([])


@pytest.mark.parametrize("what", ["nothing", "garbage", "zeros", "no list", "a foreign key"])
def test_a_file_that_cannot_be_read_is_ignored_and_written_anew(
    demo: Demo, cache: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {
        "nothing": b"",
        "garbage": b"garbage",
        "zeros": bytes(400),
        "no list": crypto.encrypt({"no": "list"}),
        "a foreign key": foreign(monkeypatch),
    }
    cache.write_bytes(contents[what])
    credentials.load()
    assert credentials._known == {}
    credentials.save()
    assert kept_token(demo) == demo.access_token


def test_a_lost_database_does_not_take_the_file_with_it(demo: Demo, clock: Callable[[str], None]) -> None:
    credentials.save()
    clear()
    credentials.save()
    assert kept_token(demo) == demo.access_token
    clock("now() + interval '31 days'")
    make_demo(number="20002")
    credentials.save()
    assert demo.channel_id not in credentials.read()


def test_an_older_database_does_not_take_newer_credentials_from_the_file(demo: Demo) -> None:
    ((backup, since),) = execute("SELECT credentials, credentials_at FROM channels")
    rotate(demo, "newer")
    credentials.save()
    execute("UPDATE channels SET credentials = :old, credentials_at = :since", old=backup, since=since)
    credentials.save()
    assert kept_token(demo) == "newer"
    assert restored() == [Done.REPLACED]
    assert one(Channel).credentials["access_token"] == "newer"


# --- back into Postgres ------------------------------------------------------------------------------------------


def restored(**options: Any) -> list[Done]:
    with db.transaction() as session:
        return [each.done for each in restore(session, credentials.read().values(), **options)]


def test_an_empty_database_gets_workspaces_and_channels_back(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    before = [(c.id, c.credentials, c.signed_by, c.kind, c.created_at) for c in rows(Channel)]
    credentials.save()
    clear()
    text = said("channels", "restore-credentials", "--dry-run")
    assert (rows(Channel), text.count("created")) == ([], 2)
    text = said("channels", "restore-credentials")
    assert text.count("created") == 2
    for secret in (demo.access_token, demo.app_secret, demo.verify_token, other.access_token):
        assert secret not in text
    assert [(c.id, c.credentials, c.signed_by, c.kind, c.created_at) for c in rows(Channel)] == before
    assert [w.name for w in rows(Workspace)] == ["Demo", "Other"]
    assert restored() == [Done.SAME] * 2


def test_what_cannot_be_read_gets_its_credentials_back(demo: Demo) -> None:
    credentials.save()
    for broken in (b"", b"garbage"):
        execute("UPDATE channels SET credentials = :broken", broken=broken)
        credentials.save()  # one that cannot be read takes nothing from the file
        assert restored() == [Done.RESTORED]
        assert one(Channel).credentials["access_token"] == demo.access_token


def test_newer_ones_are_replaced_only_by_force(demo: Demo) -> None:
    credentials.save()
    rotate(demo, "newer")
    assert restored() == [Done.NEWER]
    assert one(Channel).credentials["access_token"] == "newer"
    assert restored(force=True) == [Done.REPLACED]
    assert one(Channel).credentials["access_token"] == demo.access_token


def test_a_number_that_was_added_again_by_hand_is_left_alone(demo: Demo) -> None:
    credentials.save()
    clear()
    again = make_demo()
    assert restored() == [Done.TAKEN]
    assert one(Channel).id == again.channel_id


def test_without_a_file_it_says_what_to_look_at(cache: Path) -> None:
    assert "ENCRYPTION_KEYS" in complaint("channel", "restore-credentials")
    cache.write_bytes(b"garbage")
    assert "CRM_HOME" in complaint("channel", "restore-credentials")


def test_secrets_are_replaced_by_name(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    told = said("channel", "rotate-credentials", demo.channel_id, "--set", f"access_token=@{tmp_path / 'token'}")
    assert "from a file" not in told
    assert one(Channel).credentials["access_token"] == "from a file"
    before = one(Channel).credentials
    for wrong in ("phone_number_id=1", "app_secret=1", "access_token= ", "nonsense=1"):
        assert complaint("channel", "rotate-credentials", demo.channel_id, "--set", wrong)
    assert one(Channel).credentials == before


# --- at work -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sender")
def test_a_token_that_was_changed_under_way_does_not_stop_the_channel(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=401, error_code=190, delay=2, times=1), fault(statuses="none"))
    sent = post(shop)
    until(sent, MessageState.SENDING)
    execute("UPDATE channels SET api_version = 'v27.0'")  # other than what the refused request went out with
    until(sent, MessageState.ACCEPTED)
    assert (send_job(sent).attempt, rows(Notification)) == (0, [])


@pytest.mark.usefixtures("sender")
def test_a_channel_that_is_stopped_is_told_of_once_with_what_to_do(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults(fault(status=401, error_code=190))
    for each in [post(shop, to=f"+1555000{n:04d}") for n in range(4)]:
        job_until(each, lambda job: job.state is JobState.QUEUED and (job.claim_no or job.held_by), "stopped")
    told = one(Notification)
    assert (told.kind, told.severity, told.count) == ("channel.stopped", Severity.ERROR, 1)
    assert (told.workspace_id, told.subject) == (shop.workspace_id, f"channel:{shop.channel_id}")
    assert "whatsapp 190" in told.text and "rotate-credentials" in told.text and "crm hold release" in told.text
    assert shop.access_token not in told.text


@pytest.mark.usefixtures("sender")
def test_the_worker_keeps_the_file(shop: Demo) -> None:
    """It is the worker's own, in CRM_HOME, and not this test's."""
    file = settings().home / "credentials.cache"
    eventually(file.exists, "the worker wrote it", AT_MOST)
    assert file.stat().st_mode & 0o777 == 0o600
