"""What people type and what customers send, read and shown by pages."""

import pytest

from crm_tasks.providers import tape
from webapp.admin.forms import as_number
from webapp.admin.shown import whatsapp


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("9" * 400, int("9" * 400)),
        *((x, x) for x in ("x", "+-5")),
    ],
)
def test_a_number_is_read_as_one_and_anything_else_stays_text(text: str, number: object) -> None:
    assert as_number(text) == number


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999"])
def test_what_json_has_no_number_for_stays_text(text: str) -> None:
    assert as_number(text) == text


def test_marks_of_whatsapp_are_shown_and_nothing_else_of_a_text_is_html() -> None:
    shown = "<strong>bold</strong> <em>it</em> <s>gone</s> 2*3*4 &lt;b&gt;"
    assert str(whatsapp("*bold* _it_ ~gone~ 2*3*4 <b>")) == shown


@pytest.mark.timeout(20)
def test_a_text_full_of_marks_costs_no_more_than_its_length() -> None:
    """Searched to its end from each mark, 16 times as long a text would take 256 times as long."""
    assert "<strong>" not in whatsapp("*a " * 100_000)


def test_nothing_is_kept_of_what_is_no_test() -> None:
    with tape.recording({"access_token": "secret-token"}, wanted=False) as said:
        with tape.http("POST", "https://provider.example/", {}):
            pass
    assert said == []
    with tape.recording({"access_token": "secret-token"}, wanted=True) as said:
        with tape.http("POST", "https://provider.example/?t=secret-token", {}):
            pass
    assert [each["request"]["line"] for each in said] == [f"POST https://provider.example/?t={tape.HIDDEN}"]
