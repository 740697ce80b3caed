"""Whatever is signed is acknowledged and applied or put aside; whatever is not is turned away. Never a 500."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_tasks.core import db
from crm_tasks.messages.models import EventState, InboundEvent
from crm_tasks.messages.service import receive
from tests import payloads
from tests.fixtures import Demo
from tests.payloads import signed

DOOR = "/webhooks/whatsapp"
quickly = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# What stands where something else was expected; \0 and lone surrogates are legal in JSON, not in Postgres.
oddities = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, -(10**400), 0, float("nan"), float("inf"), 1e308, "", "\0", "\ud800", "é" * 70_000]),
    st.text(st.characters(codec=None), max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.sampled_from([[[]], {"id": {"id": {}}}, [None], [{"id": "wamid.X", "from": "1"}], {"\0": "\ud83d"}]),
)


def base(demo: Demo) -> dict[str, Any]:
    """Return a request with something of everything."""
    people = [payloads.contact("15550001111", "US.123", "Ann"), payloads.contact("15550002222", name="Bo")]
    messages = [
        payloads.text("Hello", from_user_id="US.123", context={"from": "1", "id": "wamid.A"}),
        payloads.message(type="image", image={"id": "1", "mime_type": "image/jpeg", "caption": "A picture"}),
        payloads.message(type="interactive", interactive={"type": "button_reply", "button_reply": {"title": "Yes"}}),
        payloads.message(type="reaction", reaction={"message_id": "wamid.A", "emoji": "👍"}),
        payloads.message(type="edit", edit={"original_message_id": "wamid.A", "message": {"type": "text"}}),
        payloads.message(type="system", system={"type": "user_changed_number", "wa_id": "15550009999"}),
        payloads.message("15550002222", type="unsupported", errors=[{"code": 131051}]),
    ]
    failed = payloads.status("wamid.C", "failed", errors=[{"code": 131049, "error_data": {"details": "x"}}])
    statuses = [payloads.status("wamid.B", "sent"), failed]
    made = payloads.told(demo, messages=messages, statuses=statuses, contacts=people)
    moved = {"wa_id": "15550001111", "user_id": {"previous": "US.123", "current": "US.456"}, "timestamp": "1790000000"}
    made["entry"][0]["changes"] += [
        payloads.change(demo, {"user_id_update": [moved]}, "user_id_update"),
        payloads.change(demo, {"message_echoes": [payloads.text("Echo", to="15550001111")]}, "smb_message_echoes"),
        {"field": "account_update", "value": {"event": "DISABLED_UPDATE", "ban_info": {"x": [1]}}},
    ]
    return made


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(value: Any, path: tuple, what: Any) -> Any:
    """Return a copy with another value at a path; `...` takes it out, `"twice"` doubles it."""
    made = copy.deepcopy(value)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    if what is ...:
        del inner[path[-1]]
    elif what == "twice" and isinstance(inner, list):
        inner.append(inner[path[-1]])
    else:
        inner[path[-1]] = what
    return made


def apply(session: Any) -> list[InboundEvent]:
    waiting = list(session.query(InboundEvent).filter(InboundEvent.state == EventState.RECEIVED))
    receive.receive(session, [event.id for event in waiting])
    return waiting


@quickly
@given(data=st.data())
def test_a_payload_with_odd_values_is_applied_or_put_aside(
    client: FlaskClient, demo: Demo, data: st.DataObject
) -> None:
    payload = base(demo)
    for _ in range(data.draw(st.integers(1, 3), label="how many changes")):
        path = data.draw(st.sampled_from(list(places(payload))), label="where")
        what = data.draw(st.one_of(oddities, st.just(...), st.just("twice")), label="what")
        payload = changed(payload, path, what)
    body = json.dumps(payload).encode()
    answer = client.post(DOOR, data=body, headers=signed(demo.app_secret, body))
    assert answer.status_code == 200, answer.data
    with db.transaction() as session:
        applied = apply(session)
    assert [event.state in (EventState.DONE, EventState.QUARANTINED) for event in applied] == [True]


@quickly
@given(body=st.binary(max_size=400), sign=st.booleans())
def test_any_bytes_are_answered(client: FlaskClient, demo: Demo, body: bytes, sign: bool) -> None:
    headers = signed(demo.app_secret, body) if sign else {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    assert client.post(DOOR, data=body, headers=headers).status_code == (200 if sign else 401)
    with db.transaction() as session:
        assert all(event.state is EventState.QUARANTINED and event.body == body for event in apply(session))


@quickly
@given(header=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=90))
def test_any_signature_header_is_answered(client: FlaskClient, demo: Demo, header: str) -> None:
    answer = client.post(DOOR, data=b"{}", headers={"X-Hub-Signature-256": header})
    assert answer.status_code == 401
