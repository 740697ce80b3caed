"""Values put into places: what is there, what is said instead, what is missing; and nothing else happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_tasks.campaigns.service.rendering import Missing, Person, places, render, sample

ANN = Person(
    {"name": "Ann", "phone": "+14155550100", "email": None},
    {"city": "Berlin", "points": 1200.0, "vip": True, "phone": "none", "note": " two\n lines\t here ", "empty": ""},
)


def said(text: str, person: Person = ANN) -> str | Missing:
    found = render({"body": text}, person)
    return found if isinstance(found, Missing) else found["body"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello {{name}}", "Hello Ann"),
        ("Hello {{ name | there }}", "Hello Ann"),
        ("{{contact.name}} of {{contact.attributes.city}}", "Ann of Berlin"),
        ("{{attributes.city}}", "Berlin"),
        ("{{phone}} {{attributes.phone}}", "+14155550100 none"),
        ("{{points}} {{vip}}", "1200 yes"),
        ("{{note}}", "two lines here"),
        ("{{street|your street}}", "your street"),
        ("{{empty|nothing}} {{email|}}.", "nothing ."),
        ("{{street}}", Missing("street")),
        ("{{email}}", Missing("email")),
        ("no {place} here }} {{", "no {place} here }} {{"),
    ],
)
def test_a_place_has_the_value_or_what_is_behind_the_bar(text: str, expected: str | Missing) -> None:
    assert said(text) == expected


def test_places_are_filled_wherever_words_are_and_nowhere_else() -> None:
    content = {
        "name": "sale",
        "components": [{"type": "body", "parameters": [{"type": "text", "text": "{{name}}", "parameter_name": "x"}]}],
        "id": "{{name}}",
        "link": "https://example.test/?q={{note}}",
        "html": "<p>{{name}}</p>",
    }
    filled = render(content, Person({"name": "<Ann & Bo>"}, ANN.attributes))
    assert isinstance(filled, dict)
    assert filled["components"][0]["parameters"][0]["text"] == "<Ann & Bo>"
    assert filled["id"] == "{{name}}"
    assert filled["link"] == "https://example.test/?q=two%20lines%20here"
    assert filled["html"] == "<p>&lt;Ann &amp; Bo&gt;</p>"


def test_a_sample_names_what_is_missing() -> None:
    assert sample({"body": "{{street}} in {{city}}"}, ANN) == {"body": "[street] in Berlin"}


def test_the_places_of_a_content_are_known() -> None:
    content = {"body": "{{name}} {{contact.attributes.city|x}} {{attributes.phone}}", "id": "{{no}}"}
    assert places(content) == {"name", "city", "attributes.phone"}


@given(value=st.text())
def test_what_a_person_is_called_is_never_a_place_itself(value: str) -> None:
    person = Person({"name": value}, {"secret": "s3cret"})
    shown = said("{{name|x}}", person)
    assert shown == (" ".join(value.split()) or "x")
