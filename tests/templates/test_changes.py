"""What webhooks say about templates: applied in any order and once, and what is only hinted at is asked for."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import AccountUpdate
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import receive_all, rows, store, tell
from tests.outside import Sandbox
from tests.payloads import NOON
from tests.templates.fetched import all_of, fetch, template

ORDER = {
    "message_template_id": 7,
    "message_template_name": "order_update",
    "message_template_language": "en_US",
}


@pytest.fixture
def fetched(clock: Callable[[str], None], demo: Demo) -> Demo:
    """A business whose templates were fetched before anything of these tests happened."""
    clock(f"to_timestamp({NOON - 10})")
    fetch(demo)
    clock(f"to_timestamp({NOON + 500})")
    return demo


def said(demo: Demo, field: str, at: int | None, **value: Any) -> payloads.Json:
    """Return a webhook about a template."""
    made = payloads.envelope({"field": field, "value": {**ORDER, **value}}, waba_id=demo.waba_id)
    if at is not None:
        made["entry"][0]["time"] = NOON + at
    return made


def status(demo: Demo, event: str, at: int | None, **more: Any) -> payloads.Json:
    return said(demo, "message_template_status_update", at, event=event, **more)


def syncs() -> int:
    return len(rows(Job, Job.task == "messages.sync_templates"))


def test_a_pause_is_known_with_its_reason_and_ends(fetched: Demo) -> None:
    tell(fetched, status(fetched, "PAUSED", 1, reason="NONE", other_info={"title": "FIRST_PAUSE"}))
    found = template("order_update")
    assert (found.status, found.reason, found.sendable) == ("PAUSED", "FIRST_PAUSE", False)
    assert template("order_update", "pt_BR").sendable
    tell(fetched, status(fetched, "APPROVED", 2, reason=None))
    assert (template("order_update").status, template("order_update").reason) == ("APPROVED", None)


def test_quality_category_and_words_change_one_by_one(fetched: Demo) -> None:
    tell(
        fetched,
        said(fetched, "message_template_quality_update", 1, new_quality_score="RED", previous_quality_score="GREEN"),
        said(fetched, "template_category_update", 2, correct_category="MARKETING"),
    )
    assert (template("order_update").quality, template("order_update").category) == ("RED", "utility")
    tell(
        fetched,
        said(fetched, "template_category_update", 3, new_category="MARKETING", previous_category="UTILITY"),
        said(fetched, "message_template_components_update", 4, message_template_element="Hi {{1}}, it left."),
    )
    found = template("order_update")
    assert (found.category, found.status) == ("marketing", "APPROVED")
    assert found.parameters["body"]["names"] == ["1"]
    assert syncs() == 1  # the buttons of a change are not told by its webhook


def test_a_template_that_is_not_here_yet_is_asked_for(fetched: Demo) -> None:
    events = tell(fetched, status(fetched, "APPROVED", 1, message_template_name="made_elsewhere"))
    assert (events[0].problem, syncs()) == (None, 1)


@pytest.mark.parametrize("event", ["REINSTATED", "FLAGGED", "UNARCHIVED"])
def test_what_a_word_means_for_sending_is_asked(fetched: Demo, event: str) -> None:
    tell(fetched, status(fetched, event, 1))
    assert (template("order_update").status, syncs()) == (event, 1)
    fetch(fetched)
    assert template("order_update").sendable


def test_a_repetition_without_a_time_is_settled_by_the_list(fetched: Demo, clock: Callable[[str], None]) -> None:
    tell(fetched, status(fetched, "PAUSED", None))
    clock(f"to_timestamp({NOON + 501})")
    tell(fetched, status(fetched, "APPROVED", None))
    assert (template("order_update").status, syncs()) == ("APPROVED", 0)
    tell(fetched, status(fetched, "PAUSED", None))
    assert syncs() == 1


def test_a_list_that_was_begun_before_a_webhook_does_not_undo_it(fetched: Demo, clock: Callable[[str], None]) -> None:
    clock(f"to_timestamp({NOON})")
    tell(fetched, status(fetched, "PAUSED", 0))
    clock(f"to_timestamp({NOON - 5})")
    assert fetch(fetched)["new"] == 0
    assert template("order_update").status == "PAUSED"


@pytest.mark.parametrize(
    "value",
    [None, [], "x", {}, {"event": 7}, {"event": None}, {"event": {"a": 1}, "reason": ["x"], "rejection_info": "no"}],
    ids=str,
)
def test_a_webhook_of_an_odd_shape_changes_nothing(fetched: Demo, value: Any) -> None:
    given = {**ORDER, **value} if isinstance(value, dict) else value
    change = {"field": "message_template_status_update", "value": given}
    (event,) = tell(fetched, payloads.envelope(change, waba_id=fetched.waba_id))
    assert event.problem is None
    assert template("order_update").status in ("APPROVED", "7")


def test_the_sandbox_tells_of_a_pause_as_whatsapp_does(fetched: Demo, sandbox: Sandbox) -> None:
    sandbox.control("PUT", "templates", {"name": "order_update", "status": "PAUSED", "reason": "LOW_QUALITY"})
    fetch(fetched)
    assert template("order_update").status == "PAUSED"


# --- any order ---------------------------------------------------------------------------------------------------

HAPPENED: list[tuple[str, int, dict[str, Any]]] = [
    ("message_template_status_update", 1, {"event": "PAUSED", "other_info": {"title": "FIRST_PAUSE"}}),
    ("message_template_status_update", 4, {"event": "APPROVED", "reason": "NONE"}),
    ("message_template_status_update", 7, {"event": "DISABLED", "disable_info": {"disable_date": 1}}),
    ("message_template_status_update", 7, {"event": "APPROVED"}),
    ("message_template_quality_update", 2, {"new_quality_score": "YELLOW"}),
    ("message_template_quality_update", 5, {"new_quality_score": "RED"}),
    ("template_category_update", 3, {"new_category": "MARKETING"}),
    ("template_category_update", 6, {"new_category": "UTILITY"}),
    ("message_template_components_update", 2, {"message_template_element": "One {{1}} word."}),
    ("message_template_components_update", 6, {"message_template_element": "No words."}),
]
_numbers = itertools.count(800_001)


def after(order: list[int], clock: Callable[[str], None], sandbox: Sandbox) -> tuple[Any, ...]:
    number = str(next(_numbers))
    given = {"phone_number_id": number, "access_token": f"token-of-{number}", "waba_id": f"9{number}"}
    sandbox.control("PUT", "numbers", {**given, "display_phone_number": f"+1 555 {number}"})
    demo = make_demo(number=number, base_url=sandbox.url)
    clock(f"to_timestamp({NOON - 10})")
    fetch(demo)
    clock(f"to_timestamp({NOON + 500})")
    for n in order:
        field, at, value = HAPPENED[n]
        receive_all(store(demo, said(demo, field, at, **value)))
    found = all_of(demo.workspace_id)["order_update", "en_US"]
    kept = len(rows(AccountUpdate, AccountUpdate.workspace_id == demo.workspace_id))
    return found.status, found.status_at, found.quality, found.category, found.parameters, kept


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(order=st.lists(st.sampled_from(range(len(HAPPENED))), min_size=1, max_size=16))
def test_any_order_and_repetition_comes_to_the_same_end(
    empty: None, clock: Callable[[str], None], shared_sandbox: Sandbox, order: list[int]
) -> None:
    assert after(order, clock, shared_sandbox) == after(sorted(set(order)), clock, shared_sandbox)
