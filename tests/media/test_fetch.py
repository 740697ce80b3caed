"""What customers send, with a real worker and the sandbox over HTTP: fetched at once, whole or not at all."""

import hashlib
import socket
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.media.models import Media, MediaState
from crm_tasks.media.service import fetching, files
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import attachments
from tests import payloads
from tests.fixtures import Demo
from tests.harness import Program, eventually, worker
from tests.media.samples import JPEG, OGG, PNG, content, fetch_job, media_until, message_of, sent_by_customer
from tests.messages.apply import hear, rows
from tests.messages.conftest import QUICK
from tests.messages.outgoing import AT_MOST, point
from tests.outside import Sandbox, Site
from tests.providers.servers import Server, server

STORED, FAILED, WANTED = MediaState.STORED, MediaState.FAILED, MediaState.WANTED


def downloads(sandbox: Sandbox) -> int:
    return len([each for each in sandbox.log("media") if "attachments" in each["path"]])


@pytest.mark.usefixtures("sender")
def test_a_picture_is_fetched_at_once_and_shown_by_its_message(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    provider_id = sent_by_customer(sandbox, PNG, caption="Look")
    media = media_until(STORED)
    assert content(media) == PNG
    assert (media.sniffed_type, media.size) == ("image/png", len(PNG))
    assert (media.sha256, media.provider_media_id) == (hashlib.sha256(PNG).hexdigest(), provider_id)
    assert (message_of(media).text, message_of(media).error) == ("Look", None)
    assert fetch_job(media).priority == 2


@pytest.mark.usefixtures("sender")
def test_the_parameters_of_a_mime_type_are_left_out(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sent_by_customer(sandbox, OGG, kind="audio", mime="audio/ogg; codecs=opus", voice=True)
    media = media_until(STORED)
    assert (media.mime_type, media.sniffed_type) == ("audio/ogg", "audio/ogg")


@pytest.mark.usefixtures("sender")
def test_an_address_that_died_is_asked_for_again(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults({"match": {"path": "attachments"}, "action": {"status": 404}, "times": 2})
    sent_by_customer(sandbox, PNG)
    assert content(media_until(STORED)) == PNG
    asked = [each["path"] for each in sandbox.log("media")]
    assert len([path for path in asked if "attachments" in path]) == 3
    assert len([path for path in asked if "attachments" not in path]) == 3


@pytest.mark.usefixtures("sender")
def test_a_file_that_is_not_the_announced_one_is_not_kept(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sent_by_customer(sandbox, PNG, sha256=b64encode(hashlib.sha256(JPEG).digest()).decode())
    media = media_until(WANTED, code="media_sha256")
    assert media.storage_key is None
    assert left_behind() == []


def left_behind() -> list[Path]:
    return [path for path in settings().media_path.rglob("*") if path.is_file() and not rows(Media, key_is(path))]


def key_is(path: Path) -> sa.ColumnElement[bool]:
    return Media.storage_key == path.relative_to(settings().media_path).as_posix()


@pytest.mark.usefixtures("sender")
def test_a_file_that_the_provider_does_not_have_is_dead_and_its_message_says_so(
    shop: Demo, sandbox: Sandbox, web: Site
) -> None:
    hear(shop, payloads.message(type="image", at=int(_now()), image={"id": "404404404", "mime_type": "image/png"}))
    media = media_until(MediaState.EXPIRED)
    job = fetch_job(media)
    assert (media.reason_code, job.state, job.attempt) == ("media_gone", JobState.DEAD, 1)
    error = message_of(media).error
    assert error is not None
    assert error["code"] == "media_gone"
    assert "could not be fetched" in error["title"]


@pytest.mark.usefixtures("sender")
def test_after_seven_days_nobody_is_asked(
    shop: Demo, sandbox: Sandbox, web: Site, clock: Callable[[str], None]
) -> None:
    clock("now() + interval '7 days 1 minute'")
    hear(shop, payloads.message(type="image", at=int(_now()), image={"id": "900", "mime_type": "image/png"}))
    media = media_until(MediaState.EXPIRED)
    assert (media.reason_code, sandbox.log("media")) == ("media_expired", [])


def _now() -> float:
    with db.transaction() as session:
        return session.scalar(sa.text("SELECT extract(epoch FROM now())"))  # type: ignore[return-value]


@pytest.mark.usefixtures("sender")
def test_what_failed_is_fetched_when_somebody_asks_again(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    sandbox.faults({"match": {"path": "attachments"}, "action": {"status": 302, "headers": {"Location": "/"}}})
    sent_by_customer(sandbox, PNG)
    media = media_until(WANTED, code="media_http_302")
    with db.transaction() as session:
        attachments.follow(session, JobState.DEAD, ValueError("no"), str(media.id))
        session.execute(sa.text("UPDATE jobs SET state = 'dead', finished_at = now() WHERE state <> 'succeeded'"))
    assert message_of(media_until(FAILED)).error is not None
    sandbox.faults()
    with db.transaction() as session:
        files.fetch_again(session, shop.workspace_id, media.id)
    assert message_of(media_until(STORED)).error is None


@pytest.mark.usefixtures("sender")
def test_a_redirect_is_not_followed_and_the_token_stays_here(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    with server(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as elsewhere:
        sandbox.faults(
            {"match": {"path": "attachments"}, "action": {"status": 302, "headers": {"Location": elsewhere.url}}}
        )
        sent_by_customer(sandbox, PNG)
        media_until(WANTED, code="media_http_302")
        assert elsewhere.connections == 0


@pytest.mark.usefixtures("sender")
def test_a_file_on_a_strange_host_is_never_asked_for_with_the_token(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    with server(lambda connection: None) as elsewhere:
        body = {"url": f"{elsewhere.url}a", "mime_type": "image/png", "sha256": "0" * 64, "file_size": 1, "id": "1"}
        sandbox.faults({"match": {"kind": "media"}, "action": {"status": 200, "body": body}})
        sent_by_customer(sandbox, PNG)
        assert media_until(FAILED).reason_code == "media_host"
        assert elsewhere.connections == 0


@pytest.mark.usefixtures("sender")
def test_more_than_100_mb_is_not_fetched(shop: Demo, sandbox: Sandbox, web: Site) -> None:
    endless = Endless()
    with server(endless) as elsewhere:
        point(shop, elsewhere.url.rstrip("/"))
        endless.home = elsewhere
        hear(shop, payloads.message(type="video", at=int(_now()), video={"id": "900", "mime_type": "video/mp4"}))
        assert media_until(FAILED).reason_code == "media_too_large"
    assert left_behind() == []


def _answer(connection: socket.socket, data: bytes, size: int) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + data)


class Endless:
    """Says first where the file is, then sends more and more of it without saying how much."""

    home: Server

    def __call__(self, connection: socket.socket) -> None:
        if self.home.connections == 1:
            found = f'{{"url": "{self.home.url}file", "id": "900"}}'.encode()
            _answer(connection, found, len(found))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(110):
            connection.sendall(b"x" * 1024 * 1024)


def test_a_worker_killed_while_it_fetches_leaves_no_half_file(
    shop: Demo, sandbox: Sandbox, web: Site, tmp_path: Path, start: Callable[[Program], Program], running: object
) -> None:
    """The half is in `partial`, where nobody looks; another worker fetches it whole."""
    stuck = Stuck()
    with server(stuck) as elsewhere:
        point(shop, elsewhere.url.rstrip("/"))
        stuck.home = elsewhere
        hear(shop, payloads.message(type="video", at=int(_now()), video={"id": "900", "mime_type": "video/mp4"}))
        half = eventually(lambda: list((settings().media_path / "partial").glob("*")), "a half file", AT_MOST)
        # At once: after three seconds without another byte it would give up, and tidy up.
        running[0].kill()  # type: ignore[index]
        (media,) = rows(Media)
        assert (media.state, media.storage_key) == (MediaState.FETCHING, None)
        stuck.whole = True
        start(worker(tmp_path, "messages", name="another", **QUICK))
        with db.transaction() as session:
            session.execute(sa.text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE state = 'running'"))
        assert content(media_until(STORED)) == Stuck.FIRST + Stuck.REST
        assert half[0].exists()
        half[0].unlink()


class Stuck:
    """Sends half a file and no more, until it is told to send all."""

    FIRST, REST = b"a" * 200_000, b"b" * 200_000
    home: Server
    whole = False

    def __call__(self, connection: socket.socket) -> None:
        if self.home.connections % 2:
            found = f'{{"url": "{self.home.url}file", "id": "900"}}'.encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(found) + found
            )
            return
        size = len(self.FIRST + self.REST)
        _answer(connection, self.FIRST, size)
        if self.whole:
            connection.sendall(self.REST)
        else:
            connection.recv(1)


def test_a_message_that_comes_twice_has_one_file(shop: Demo) -> None:
    item = payloads.message(type="image", image={"id": "900", "mime_type": "image/png"})
    hear(shop, item, item)
    (media,) = rows(Media)
    assert rows(Message)[0].media_id == media.id


@pytest.mark.parametrize("image", [{}, {"id": ""}, {"id": None}, {"id": ["x"]}, {"errors": [{"code": 131052}]}])
def test_a_picture_without_a_file_is_kept_all_the_same(shop: Demo, image: dict[str, object]) -> None:
    (found,) = hear(shop, payloads.message(type="image", image=image))
    assert (found.media_id, rows(Media)) == (None, [])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b64encode(b"a" * 32).decode(), (b"a" * 32).hex()),
        ("AB" * 32, "ab" * 32),
        ("not base64!", None),
        (b64encode(b"short").decode(), None),
        (7, None),
        (None, None),
    ],
)
def test_a_digest_is_read_in_both_writings(given: object, expected: str | None) -> None:
    assert fetching._hex(given) == expected
