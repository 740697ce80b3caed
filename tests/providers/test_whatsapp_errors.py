"""The table of WhatsApp's errors: complete, sourced, and the same in the docs."""

from datetime import timedelta

import pytest

from crm_tasks.providers.provider import Action
from crm_tasks.providers.whatsapp.errors import SOURCES, TABLE, is_known, refusal
from tests.providers import errors_page

R, P, L, S, M, U = (
    Action.RETRY,
    Action.PAIR,
    Action.LATER,
    Action.STOP,
    Action.MESSAGE,
    Action.PERSON,
)
# What Meta's pages ask for, written here a second time and by hand.
WANTED = {
    R: "1 2 4 80007 130429 131016 131057 133004 133015 134101 2494100",
    P: "131056",
    L: "80008 131049 132015 132069 133000 133008 133009 133016",
    S: "0 3 10 33 104 190 200 299 368 131005 131031 131037 131042 131045 131048 131064 133010 134011 134102",
    M: "100 130472 131008 131009 131030 131043 131047 131051 131052 131053 131055 131062 131063 132000 132001 132005 "
    "132007 132012 132016 132018 132068 133005 133006 134100 135000",
    U: "130403 130497 131021 131026 131050",
    Action.UNKNOWN: "131000",
}
CODES = {action: [int(code) for code in codes.split()] for action, codes in WANTED.items()}


@pytest.mark.parametrize(("action", "codes"), CODES.items(), ids=lambda value: str(value)[:20])
def test_each_code_does_what_its_meaning_asks_for(action: Action, codes: list[int]) -> None:
    assert {code: refusal(code).action for code in codes} == dict.fromkeys(codes, action)


def test_no_code_is_forgotten_and_each_has_a_source() -> None:
    assert set(TABLE) == {code for codes in CODES.values() for code in codes} - {200, 299}
    for code, (_, meaning, source) in TABLE.items():
        assert meaning and set(source.split(", ")) <= set(SOURCES), code
    assert {name for _, _, source in TABLE.values() for name in source.split(", ")} == set(SOURCES)


def test_waits_that_the_provider_names_are_kept_and_a_stop_that_passes_ends_by_itself() -> None:
    assert refusal(133015).retry_after == timedelta(minutes=5)
    assert refusal(133015, "", timedelta(seconds=7)).retry_after == timedelta(seconds=7)
    assert (refusal(131064).passes_after, refusal(190).passes_after) == (timedelta(hours=24), None)


@pytest.mark.parametrize(("code", "known"), [(131026, True), (250, True), (-503, True), (424242, False), ("x", False)])
def test_what_is_not_in_the_table_is_told_apart(code: object, known: bool) -> None:
    assert is_known(code) is known


def test_the_page_is_made_from_the_table() -> None:
    assert errors_page.PAGE.read_text() == errors_page.page(), "python -m tests.providers.errors_page"
