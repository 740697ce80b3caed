"""Fingerprints: one cause is one group, whatever differs from one failure to the next, and two causes are two."""

import random
import string
import uuid
from collections.abc import Callable

import pytest

from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.core.fingerprint import MAX_MESSAGE, fingerprint, masked, record
from tests.core.causes import CAUSES, failure

SEED = 7


def test_five_hundred_failures_of_seven_causes_are_seven_groups() -> None:
    drawn = random.Random(SEED)
    groups: dict[str, set[int]] = {}
    messages = set()
    for number in range(500):
        error = failure(number % len(CAUSES), drawn)
        messages.add(str(error))
        groups.setdefault(fingerprint(error), set()).add(number % len(CAUSES))
    assert len(messages) > 490  # or there would be nothing to see
    assert sorted(map(sorted, groups.values())) == [[cause] for cause in range(7)]


def _words(drawn: random.Random) -> str:
    return "".join(drawn.choices(string.ascii_letters, k=drawn.randint(6, 20)))


VARYING: dict[str, Callable[[random.Random], str]] = {
    "an id": lambda r: str(uuid.UUID(int=r.getrandbits(128))),
    "an id without dashes": lambda r: uuid.UUID(int=r.getrandbits(128)).hex,
    "a number": lambda r: str(r.randint(0, 10**12)),
    "a decimal": lambda r: f"{r.random() * 1000:.3f}",
    "a negative": lambda r: str(-r.randint(1, 9999)),
    "a wamid": lambda r: "wamid." + "".join(r.choices(string.ascii_letters + string.digits + "+/=_-", k=40)),
    "a phone number": lambda r: f"+{r.randint(10**10, 10**13)}",
    "a spaced phone number": lambda r: f"+49 {r.randint(100, 999)} {r.randint(1000, 9999999)}",
    "a written phone number": lambda r: f"+1 ({r.randint(200, 999)}) {r.randint(200, 999)}-{r.randint(1000, 9999)}",
    "an address": lambda r: f"{_words(r).lower()}.{r.randint(1, 99)}@mail{r.randint(1, 9)}.example.com",
    "an international address": lambda r: f"jürgen{r.randint(1, 99)}@müller{r.randint(1, 9)}.example",
    "a host": lambda r: f"db-{r.randint(1, 99)}.eu-west-{r.randint(1, 3)}.internal:{r.randint(1024, 65535)}",
    "an IPv4": lambda r: ".".join(str(r.randint(1, 254)) for _ in range(4)) + f":{r.randint(1, 65535)}",
    "an IPv6": lambda r: f"[2001:db8::{r.getrandbits(16):x}:{r.getrandbits(16):x}]:{r.randint(1, 65535)}",
    "a short IPv6": lambda r: r.choice(("::1", "fe80::1", "[::1]:5432", "2001:db8::", f"::{r.randint(1, 99)}")),
    "a URL": lambda r: f"https://{_words(r).lower()}.example/{_words(r)}?page={r.randint(1, 99)}&q={_words(r)}",
    "a quoted name": lambda r: f"'{_words(r)} {_words(r)}'",
    "a doubly quoted name": lambda r: f'"{_words(r)}-{r.randint(1, 9)}"',
    "a quoted name with an apostrophe": lambda r: f"'O\\'{_words(r)}'",
    "a curly quoted name": lambda r: f"“{_words(r)} {_words(r)}”",
    "a pointer": lambda r: f"0x{r.getrandbits(48):012x}",
    "a moment": lambda r: f"2026-0{r.randint(1, 9)}-1{r.randint(0, 9)}T1{r.randint(0, 9)}:00:00.{r.randint(0, 999)}Z",
    "a trace": lambda r: "A" + "".join(r.choices(string.ascii_letters + string.digits + "_-", k=22)) + "x7",
    "a business-scoped id": lambda r: "DE." + "".join(r.choices(string.ascii_letters + string.digits, k=16)),
}


@pytest.mark.parametrize("kind", VARYING)
def test_what_differs_from_one_failure_to_the_next_does_not_count(kind: str) -> None:
    drawn = random.Random(SEED)
    texts = [f"could not deliver to {VARYING[kind](drawn)} because the door was shut" for _ in range(60)]
    assert len(set(texts)) > 4
    assert len({masked(text) for text in texts}) == 1, sorted({masked(text) for text in texts})[:5]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Permanent("it broke"), Transient("it broke")),
        (Permanent("refused", code="131026"), Permanent("refused", code="131047")),
        (Transient("connection refused"), Transient("connection reset")),
        (ValueError("x"), KeyError("x")),
        (ValueError("no contact 7"), ValueError("no campaign 7")),
        (
            AttributeError("'NoneType' object has no attribute 'id'"),
            AttributeError("'Job' object has no attribute 'x'"),
        ),
        (Transient("it can't be, it won't be"), Transient("it can't be, it shan't be")),
        (Transient("HTTP status: timeout"), Transient("HTTP status: refused")),
    ],
)
def test_different_causes_are_different_groups(one: Exception, other: Exception) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_is_short_and_the_same_in_every_process() -> None:
    assert fingerprint(Permanent("no contact 7", code="gone")) == fingerprint(Permanent("no contact 8", code="gone"))
    assert len(fingerprint(ValueError())) == 16
    assert set(fingerprint(ValueError("\ud83d"))) <= set(string.hexdigits)


def test_a_very_long_message_costs_little_and_counts_by_its_beginning() -> None:
    message = "the answer was not JSON: " + "a-b.c:" * 50_000
    assert len(masked(message)) <= MAX_MESSAGE
    assert len(record(ValueError(message), attempt=1, worker="w")["message"]) == MAX_MESSAGE


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("GET https://ann:s3cret@host/x failed", "GET https://***@host/x failed"),
        ("header Authorization: Bearer EAAJB7abcdefgh", "header Authorization: Bearer ***"),
        ("access_token=EAAJB7abcdefgh&x=1", "access_token=***&x=1"),
        ('{"password": "hunter2hunter"}', '{"password": "***"}'),
        ('password authentication failed for user "crm"', 'password authentication failed for user "crm"'),
    ],
)
def test_an_error_is_kept_without_credentials(said: str, kept: str) -> None:
    assert record(ValueError(said), attempt=1, worker="w")["message"] == kept


def test_an_error_says_when_where_and_how_without_the_values_of_variables() -> None:
    def inner(secret: str) -> None:
        raise Permanent("it broke", code="broken")

    try:
        inner("of a customer")
    except Permanent as error:
        kept = record(error, attempt=2, worker="w@host")
    assert (kept["class"], kept["code"], kept["message"], kept["attempt"], kept["worker"]) == (
        "Permanent",
        "broken",
        "it broke",
        2,
        "w@host",
    )
    assert kept["host"] and kept["at"].endswith("+00:00")
    assert kept["traceback"][-1].endswith("in inner")
    assert "of a customer" not in str(kept)
