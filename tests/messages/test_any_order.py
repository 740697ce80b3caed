"""Any order, any repetition, any batching, and any number of workers: the same webhooks come to the same end."""

import itertools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import accepted, receive_all, store
from tests.messages.final_state import final_state
from tests.payloads import NOON, change, contact, message, status

_numbers = itertools.count(700_001)
ANN, BO, CY, NEW = "15550001111", "15550002222", "15550003333", "15550009999"
ANN_ID, ANN_LATER, CY_ID = "US.111", "US.112", "US.333"
OURS = ("wamid.OUT1", "wamid.OUT2")
ECHO = "wamid.ECHO"


def said(n: int, sender: str | None, **more: Any) -> payloads.Json:
    people = more.pop("contacts", [])
    made = message(sender, id=f"wamid.IN{n}", at=NOON + 10 * n, **more)
    return {"contacts": people, "messages": [made]} if people else {"messages": [made]}


def reported(provider_id: str, name: str, at: int, **more: Any) -> payloads.Json:
    return {"statuses": [status(provider_id, name, at=NOON + at, **more)]}


def about(n: int, sender: str | None, kind: str, **more: Any) -> payloads.Json:
    return said(n, sender, type=kind, **{kind: more})


MOVED = {"type": "user_changed_number", "body": "moved", "wa_id": NEW}
FAILED = [{"code": 131026, "title": "Message undeliverable"}]
PHOTO = {"id": "9", "mime_type": "image/jpeg", "caption": "Look"}
# Everything that the webhooks of this test can tell: (field, value). Ann moves at 100 and never writes from her old
# number afterwards.
TOLD: list[tuple[str, payloads.Json]] = [
    ("messages", said(1, ANN, contacts=[contact(ANN, ANN_ID, "Ann", username="ann")])),
    ("messages", said(2, None, from_user_id=ANN_ID, contacts=[contact(user_id=ANN_ID, username="ann")])),
    ("messages", said(3, ANN, type="image", image=PHOTO)),
    (
        "messages",
        about(4, ANN, "edit", original_message_id="wamid.IN1", message={"type": "text", "text": {"body": "A"}}),
    ),
    (
        "messages",
        about(5, ANN, "edit", original_message_id="wamid.IN1", message={"type": "text", "text": {"body": "B"}}),
    ),
    ("messages", about(6, ANN, "reaction", message_id=OURS[0], emoji="👍")),
    ("messages", about(7, ANN, "revoke", original_message_id="wamid.IN3")),
    ("messages", said(10, ANN, type="system", system=MOVED)),
    ("messages", said(11, NEW, contacts=[contact(NEW, ANN_LATER, "Anna")])),
    ("messages", about(12, NEW, "reaction", message_id=OURS[0], emoji="❤️")),
    ("messages", said(13, BO, contacts=[contact(BO, name="Bo")])),
    ("messages", said(14, BO, context={"id": "wamid.IN13"})),
    ("messages", about(15, BO, "reaction", message_id="wamid.IN1", emoji="")),
    ("messages", said(16, BO, group_id="G1")),
    ("messages", said(17, CY, group_id="G1", from_user_id=CY_ID)),
    ("messages", said(18, None, from_user_id=CY_ID)),
    ("messages", said(19, CY, type="unsupported", errors=[{"code": 131051}])),
    ("messages", reported(OURS[0], "sent", 1)),
    ("messages", reported(OURS[0], "delivered", 2)),
    ("messages", reported(OURS[0], "read", 3)),
    ("messages", reported(OURS[1], "failed", 4, errors=FAILED)),
    ("messages", reported(OURS[1], "delivered", 5)),
    ("messages", reported(ECHO, "delivered", 6)),
    ("messages", reported("wamid.FOREIGN", "read", 7)),
    ("messages", reported(OURS[0], "warped", 8)),
    ("smb_message_echoes", {"message_echoes": [message("15550783881", to=BO, id=ECHO, at=NOON + 200)]}),
    (
        "user_id_update",
        {
            "user_id_update": [
                {"wa_id": CY, "user_id": {"previous": CY_ID, "current": "US.334"}, "timestamp": NOON + 150}
            ]
        },
    ),
    ("account_update", {"event": "DISABLED_UPDATE"}),
    ("messages", {"messages": [{"type": "text", "from": BO}]}),
]
everything = list(range(len(TOLD)))


@pytest.fixture(autouse=True)
def frozen(clock: Callable[[str], None]) -> None:
    """All of this happens at one moment: what is told without a time has the same in every run."""
    clock(f"to_timestamp({NOON + 500})")


def fresh() -> Demo:
    """Return a workspace of its own that has sent two messages."""
    demo = make_demo(number=str(next(_numbers)))
    for provider_id in OURS:
        accepted(demo, provider_id, to=f"+{BO}")
    return demo


def request(demo: Demo, items: list[int], *, merged: bool) -> payloads.Json:
    """Return one webhook with these things in it; merged, what can be is in one value, as Meta batches."""
    changes = [change(demo, TOLD[n][1], TOLD[n][0]) for n in items]
    if merged:
        values = [each["value"] for each in changes if each["field"] == "messages"]
        parts = ("contacts", "messages", "statuses")
        whole = {part: [item for value in values for item in value.get(part, ())] for part in parts}
        changes = [each for each in changes if each["field"] != "messages"] + ([change(demo, whole)] if values else [])
    return payloads.envelope(*changes, waba_id=demo.waba_id)


def in_order(items: list[int]) -> dict[str, Any]:
    """Return what comes of these things when each comes once, alone, in the order of time."""
    demo = fresh()
    for n in sorted(set(items)):
        receive_all(store(demo, request(demo, [n], merged=False)))
    return final_state(demo.workspace_id)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare two states part by part."""
    for part, value in wanted.items():
        assert found[part] == value, part


def split(items: list[Any], sizes: list[int]) -> list[list[Any]]:
    """Return items in parts of these sizes, again and again."""
    parts, sizes_again = [], itertools.cycle(sizes)
    while items:
        size = next(sizes_again)
        parts.append(items[:size])
        items = items[size:]
    return parts


orders = st.lists(st.sampled_from(everything), min_size=1, max_size=40)
sizes = st.lists(st.integers(1, 8), min_size=1, max_size=4)


def examples(count: int) -> Any:
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@examples(40)
@given(order=orders, per_request=sizes, per_job=sizes, merged=st.booleans())
def test_any_order_and_repetition_comes_to_the_same_end(
    empty: None, order: list[int], per_request: list[int], per_job: list[int], merged: bool
) -> None:
    demo = fresh()
    requests = [request(demo, part, merged=merged) for part in split(order, per_request)]
    for part in split(requests, per_job):
        receive_all(store(demo, *part))
    same(final_state(demo.workspace_id), in_order(order))


@pytest.mark.parametrize("reverse", [False, True])
def test_all_of_it_forwards_and_backwards_comes_to_the_same_end(empty: None, reverse: bool) -> None:
    demo = fresh()
    for n in sorted(everything * 2, reverse=reverse):
        receive_all(store(demo, request(demo, [n], merged=False)))
    same(final_state(demo.workspace_id), in_order(everything))


@examples(12)
@given(data=st.data(), per_job=sizes)
def test_two_workers_at_once_come_to_the_same_end(empty: None, data: st.DataObject, per_job: list[int]) -> None:
    """Each gets everything, in an order of its own: redelivery while the first delivery is still being applied."""
    demo = fresh()
    together = threading.Barrier(2)

    def work(jobs: list[list[uuid.UUID]]) -> None:
        together.wait(10)
        for ids in jobs:
            receive_all(ids)

    orders = [data.draw(st.permutations(everything)) for _ in range(2)]
    work_of = [split(store(demo, *(request(demo, [n], merged=False) for n in order)), per_job) for order in orders]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, jobs) for jobs in work_of]:
            done.result(60)
    same(final_state(demo.workspace_id), in_order(everything))
