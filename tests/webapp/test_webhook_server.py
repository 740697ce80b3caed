"""The webhook's door behind a real server: under load, with Postgres away, with Postgres hanging."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests
import sqlalchemy as sa

from crm_tasks.config import settings
from crm_tasks.core import db
from tests import harness, payloads
from tests.fixtures import Demo
from tests.harness import eventually, free_ports
from tests.outside import Site
from tests.payloads import raw, signed
from tests.wire import Wire

DOOR = "/webhooks/whatsapp"


@pytest.fixture(scope="module")
def wire(stores: None) -> Iterator[Wire]:
    """What lies between a web app of this module's own and Postgres."""
    made = Wire(urlsplit(settings().database_url).port or 0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_far(stores: None, wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    parts = urlsplit(settings().database_url)
    url = f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{wire.port}{parts.path}"
    (port,) = free_ports(1)
    site = Site(harness.web(tmp_path_factory.mktemp("far"), port, "far", DATABASE_URL=url, INGEST_TIMEOUT="1"), port)
    site.start("/live")
    yield site
    site.program.stop()


@pytest.fixture
def far(shared_far: Site, wire: Wire, demo: Demo) -> Iterator[Site]:
    """A web app that has taken a webhook, and so knows the secrets, before anything happens to its wire."""
    answer = send(shared_far, demo, payloads.text("Before"))
    assert answer.status_code == 200, answer.text
    yield shared_far
    wire.thaw()


def send(site: Site, demo: Demo, message: dict) -> requests.Response:
    body = raw(payloads.told(demo, messages=[message]))
    return requests.post(site.url + DOOR, data=body, headers=signed(demo.app_secret, body), timeout=20)


def bodies() -> list[bytes]:
    with db.transaction() as session:
        return list(session.scalars(sa.text("SELECT body FROM inbound_events ORDER BY id")))


def test_with_postgres_away_nothing_is_acknowledged(far: Site, wire: Wire, demo: Demo) -> None:
    wire.cut()
    try:
        lost = payloads.text("While it was away")
        answer = send(far, demo, lost)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert far.http.get(f"{far.url}/live", timeout=5).status_code == 200
        health = far.http.get(f"{far.url}/health", timeout=15)
        assert (health.status_code, health.json()["status"]) == (503, "unavailable")
        headers = {"Authorization": f"Bearer {demo.api_key}"}
        api = far.http.get(f"{far.url}/api/v1/conversations", headers=headers, timeout=15)
        assert (api.status_code, api.json()["error"]["code"]) == (503, "database_away")
        page = far.http.get(f"{far.url}/", timeout=5)
        assert page.status_code == 200
    finally:
        wire.mend()
    assert len(bodies()) == 1
    # As the provider does: the same again until it is 200.
    eventually(lambda: send(far, demo, lost).status_code == 200, "it takes webhooks again")
    assert b"While it was away" in bodies()[-1]
    assert far.http.get(f"{far.url}/health", timeout=5).status_code == 200


def test_with_postgres_hanging_the_answer_is_503_in_time(far: Site, wire: Wire, demo: Demo) -> None:
    wire.freeze()
    answer = send(far, demo, payloads.text("While it hung"))
    assert answer.status_code == 503
    assert answer.elapsed.total_seconds() < 5
    wire.thaw()
    eventually(lambda: send(far, demo, payloads.text("After")).status_code == 200, "it takes webhooks again")


def test_what_comes_at_once_is_stored_once_each_in_few_transactions(far: Site, wire: Wire, demo: Demo) -> None:
    """With Postgres slow for a moment, all that waits goes into the next transaction."""
    count = 64
    messages = [payloads.text(f"No. {n}") for n in range(count)]
    together = threading.Barrier(count + 1)

    def post(message: dict) -> int:
        together.wait()
        return send(far, demo, message).status_code

    wire.freeze()
    with ThreadPoolExecutor(count) as pool:
        answers = pool.map(post, messages)
        together.wait()
        threading.Timer(0.4, wire.thaw).start()
        assert list(answers) == [200] * count
    found = bodies()[1:]
    assert sorted(found) == sorted(raw(payloads.told(demo, messages=[message])) for message in messages)
    with db.transaction() as session:
        told = session.execute(
            sa.text(
                "SELECT count(DISTINCT e.xmin::text) AS transactions, count(DISTINCT j.id) AS jobs, "
                "  sum(jsonb_array_length(j.args -> 'event_ids')) / count(DISTINCT e.id) AS each "
                "FROM inbound_events e JOIN jobs j ON j.args -> 'event_ids' ? e.id::text"
            )
        ).one()
        jobs = session.scalar(sa.text("SELECT count(*) FROM jobs WHERE task = 'messages.receive'"))
    # One for the message before, a first that may be small, and what gathered meanwhile.
    assert told.jobs == jobs == told.transactions <= 10


def test_sixty_four_at_once_through_the_ordinary_server(web: Site, demo: Demo) -> None:
    messages = [payloads.text(f"No. {n}") for n in range(64)]
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda message: send(web, demo, message).status_code, messages))
    assert answers == [200] * 64
    assert sorted(bodies()) == sorted(raw(payloads.told(demo, messages=[message])) for message in messages)


def test_a_body_in_chunks_is_verified_like_any_other(web: Site, demo: Demo) -> None:
    body = raw(payloads.told(demo, messages=[payloads.text("In pieces")]))
    pieces = iter([body[:50], body[50:51], body[51:]])
    answer = requests.post(web.url + DOOR, data=pieces, headers=signed(demo.app_secret, body), timeout=10)
    assert answer.status_code == 200
    assert bodies() == [body]


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_more_than_three_megabytes_are_refused_by_the_server(web: Site, demo: Demo, chunked: bool) -> None:
    body = b"x" * (3 * 1024 * 1024 + 1)
    data = iter([body[:2_000_000], body[2_000_000:]]) if chunked else body
    answer = requests.post(web.url + DOOR, data=data, headers=signed(demo.app_secret, body), timeout=20)
    assert answer.status_code == 413
    assert bodies() == []


def test_a_caller_that_hangs_up_in_the_middle_stores_nothing_and_harms_nobody(web: Site, demo: Demo) -> None:
    body = raw(payloads.told(demo, messages=[payloads.text("Half")]))
    head = f"POST {DOOR} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in signed(demo.app_secret, body).items())
    with socket.create_connection(("127.0.0.1", urlsplit(web.url).port or 0)) as caller:
        caller.sendall(head.encode() + b"\r\n" + body[: len(body) // 2])
    assert send(web, demo, payloads.text("Whole")).status_code == 200
    assert [b"Whole" in each for each in bodies()] == [True]
