"""Segments built in a form: read into the API's JSON and back, counted while one builds, refused at the condition."""

import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from crm_tasks.contacts import conditions, segments
from crm_tasks.contacts.conditions import ATTRIBUTES, FIELDS, OPERATORS, Kind
from crm_tasks.contacts.models import AttributeType, Segment
from crm_tasks.core import db
from tests.campaigns.audience import attribute, campaign, person
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import one, rows
from tests.webapp.admins import Browser, browser
from webapp.admin import builder

ZONE = ZoneInfo("Europe/Berlin")
TYPES = {"city": AttributeType.TEXT, "age": AttributeType.NUMBER, "club": AttributeType.BOOLEAN}
TYPES |= {"born": AttributeType.DATE}


def vip(value: str = "vip") -> dict[str, Any]:
    return {"field": "tags", "op": "has", "value": value}


def form(tree: dict[str, Any]) -> dict[str, str]:
    """Return the form of conditions, as a browser would send it."""
    made = builder.of_conditions(tree, ZONE)
    assert made is not None
    found = {"how": made.how}
    for number, group in enumerate(made.groups):
        found[f"g{number}.how"] = group.how
        for place, rule in enumerate(group.rules):
            found |= {f"g{number}.{place}.{name}": getattr(rule, name) for name in ("field", "op", "value", "to")}
    return found


# --- JSON and back -----------------------------------------------------------------------------------------------

VALUES: dict[Kind, Any] = {
    Kind.TEXT: "Lyon",
    Kind.NUMBER: 12.5,
    Kind.BOOLEAN: True,
    Kind.DATE: "2026-11-21",
    Kind.MOMENT: "2026-11-21T09:00:00+01:00",
    Kind.TAGS: "vip",
    Kind.IDENTITY: "email",
    Kind.COUNTRY: "DE",
    Kind.USER: "0b0f3a52-0000-4000-8000-000000000000",
    Kind.CAMPAIGN: "0b0f3a52-0000-4000-8000-000000000000",
}
EVERY = [
    (name, op)
    for name in (*FIELDS, *(f"{ATTRIBUTES}{name}" for name in TYPES))
    for op in OPERATORS[builder.kind_of(name, TYPES)]
]


@pytest.mark.parametrize(("name", "op"), EVERY)
def test_every_condition_that_there_is_can_be_built_and_comes_back(name: str, op: str) -> None:
    kind = builder.kind_of(name, TYPES)
    tree: dict[str, Any] = {"field": name, "op": op}
    if OPERATORS[kind][op] is not None:
        value = 30 if op.endswith("_days") else VALUES[kind]
        tree["value"] = [value, value] if op == "between" else value
    tree = {"all": [tree]}
    conditions.read(tree, TYPES)  # it is one
    made = builder.read(form(tree), TYPES)
    assert builder.as_conditions(made, TYPES, ZONE) == tree


@pytest.mark.parametrize(
    ("tree", "same"),
    [
        ({"any": [vip("a"), vip("b")]}, None),
        ({"all": [{"any": [vip("a"), vip("b")]}, {"all": [vip("c")]}]}, None),
        ({"any": [{"all": [vip("a"), vip("b")]}, {"not": {"any": [vip("c"), vip("d")]}}]}, None),
        ({"not": {"any": [vip()]}}, None),
        (vip(), {"all": [vip()]}),
        ({"not": vip()}, {"not": {"any": [vip()]}}),
        ({"all": [vip("a"), {"any": [vip("b")]}]}, {"all": [{"all": [vip("a")]}, {"any": [vip("b")]}]}),
    ],
    ids=["flat", "groups", "none of", "only none of", "one", "not one", "one beside a group"],
)
def test_what_a_form_can_show_comes_back_as_the_same(tree: dict[str, Any], same: dict[str, Any] | None) -> None:
    assert builder.as_conditions(builder.read(form(tree), TYPES), TYPES, ZONE) == (same or tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"all": [{"any": [{"all": [vip()]}]}]},
        {"not": {"all": [vip("a"), vip("b")]}},
        {"not": {"not": vip()}},
        {"all": [vip(str(n)) for n in range(21)]},
    ],
    ids=["three deep", "not all", "not not", "too many"],
)
def test_what_it_cannot_show_is_left_alone(tree: dict[str, Any]) -> None:
    conditions.read(tree, TYPES)
    assert builder.of_conditions(tree, ZONE) is None


@pytest.mark.parametrize("what", ["", "add:9", "add:x", "remove:0.9", "remove:9.0", "remove:", "remove:0", "boom", "²"])
def test_a_button_that_there_is_not_changes_nothing(what: str) -> None:
    made = builder.read(form({"any": [vip("a"), vip("b")]}), TYPES)
    builder.act(made, what)
    assert builder.as_conditions(made, TYPES, ZONE) == {"any": [vip("a"), vip("b")]}


def test_buttons_add_and_remove_and_leave_at_least_one() -> None:
    made = builder.read(form({"any": [vip("a"), vip("b")]}), TYPES)
    builder.act(made, "add:0")
    builder.act(made, "group")
    assert [len(group.rules) for group in made.groups] == [3, 1]
    builder.act(made, "remove:0.1")
    assert [rule.value for rule in made.groups[0].rules] == ["a", ""]
    for _ in range(9):
        builder.act(made, "remove:0.0")
    assert [len(group.rules) for group in made.groups] == [1]
    for _ in range(99):
        builder.act(made, "group")
        builder.act(made, "add:0")
    assert (len(made.groups), len(made.groups[0].rules)) == (builder.MOST_GROUPS, builder.MOST_RULES)


def test_another_field_takes_its_own_comparison() -> None:
    given = {"g0.0.field": "attributes.age", "g0.0.op": "has", "g0.0.value": "vip"}
    (rule,) = builder.read(given, TYPES).groups[0].rules
    assert (rule.op, rule.value) == ("is", "")


# --- the pages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mia(app: Flask, demo: Demo) -> Browser:
    """A marketer."""
    return browser(app, demo, "marketer")


@pytest.fixture
def town(demo: Demo) -> Demo:
    """Ten people, some of Lyon, some of them old."""
    attribute(demo, "city")
    attribute(demo, "age", AttributeType.NUMBER)
    for n in range(10):
        person(demo, n, attributes={"city": "Lyon" if n < 4 else "Rome", "age": 20 + n}, tags=["vip"] if n < 2 else [])
    return demo


LYON = {"field": "attributes.city", "op": "is", "value": "Lyon"}


def number(text: str) -> str:
    found = re.search(r'id="segment-count">([^<]*)<', text)
    assert found is not None, text
    return found[1]


def test_a_segment_is_counted_while_it_is_built_and_then_kept(mia: Browser, town: Demo) -> None:
    assert "No segment yet." in mia.text("/segments")
    assert 'name="g0.0.field"' in mia.text("/segments/new")
    tree = {"all": [LYON, {"field": "attributes.age", "op": "<", "value": 22}]}
    page = mia.post("/segments/count", **form(tree)).get_data(as_text=True)
    assert number(page) == "2"
    assert ">Person 1<" in page
    answer = mia.post("/segments/new", name="Young of Lyon", **form(tree))
    assert answer.status_code == 302, answer.get_data(as_text=True)
    kept = one(Segment)
    assert (kept.name, kept.conditions) == ("Young of Lyon", tree)
    place = answer.location.removeprefix("/admin")
    page = mia.text(place)
    assert re.sub(r"<[^>]*>", "", page).count("city is Lyon and age is less than 22") == 1
    assert number(mia.text(f"{place}/part")) == "2"
    assert "Person 0" in mia.text(f"/contacts?segment_id={kept.id}")
    assert "Person 7" not in mia.text(f"/contacts?segment_id={kept.id}")
    assert "Young of Lyon" in mia.text("/segments")


def test_conditions_are_added_and_removed_by_parts_of_the_page_and_without_them(mia: Browser, town: Demo) -> None:
    given = form({"all": [LYON]})
    part = mia.post("/segments/form", do="add:0", **given)
    assert part.headers["HX-Trigger-After-Settle"] == "recount"
    text = part.get_data(as_text=True)
    assert "<html" not in text
    assert 'name="g0.1.field"' in text
    assert 'value="Lyon"' in text
    whole = mia.post("/segments/new", do="group", name="Half done", **given).get_data(as_text=True)
    assert "<html" in whole
    assert 'name="g1.0.field"' in whole
    assert 'value="Half done"' in whole
    assert rows(Segment) == []
    text = mia.post("/segments/form", **{**given, "g0.0.field": "last_inbound_at"}).get_data(as_text=True)
    assert 'type="datetime-local"' in text
    text = mia.post("/segments/form", **{**given, "g0.0.op": "is_set"}).get_data(as_text=True)
    assert 'name="g0.0.value"' not in text


def test_what_is_wrong_is_said_at_its_condition(mia: Browser, town: Demo) -> None:
    tree = {"all": [{"any": [LYON]}, {"all": [vip(), {"field": "attributes.age", "op": "<", "value": 1}]}]}
    given = {**form(tree), "g1.1.value": "old", "name": "Wrong"}
    answer = mia.post("/segments/new", **given)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert page.count("Give a number, such as 12.5.") == 1
    assert page.index("Give a number") > page.index('id="g1.1.value"')
    assert "Say more to see how many they are" in mia.post("/segments/count", **given).get_data(as_text=True)
    for name in ("", "x" * 201):
        assert mia.post("/segments/new", **{**form(tree), "name": name}).status_code == 422
    assert rows(Segment) == []


def test_a_name_is_given_once(mia: Browser, town: Demo) -> None:
    assert mia.post("/segments/new", name="Lyon", **form({"all": [LYON]})).status_code == 302
    again = mia.post("/segments/new", name="Lyon", **form({"all": [LYON]}))
    assert again.status_code == 422
    assert "There is a segment &#39;Lyon&#39; already" in again.get_data(as_text=True)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"g0.0.field": "boom", "g0.0.op": "is", "g0.0.value": "x"},
        {"g0.0.field": "attributes.gone", "g0.0.op": "is", "g0.0.value": "x"},
        {"g0.0.field": "name", "g0.0.op": "contains", "g0.0.value": "\x00"},
        {"g0.0.field": "attributes.age", "g0.0.op": "is", "g0.0.value": "9" * 5000},
        {"g0.0.field": "created_at", "g0.0.op": "within_days", "g0.0.value": "9" * 5000},
        {"g0.0.field": "created_at", "g0.0.op": "before", "g0.0.value": "0001-01-01T00:00"},
        {"g9.99.field": "name", "g5.7.op": "is"},
        {"g0.0.field": "country", "g0.0.op": "is", "g0.0.value": "ZZ"},
        {"g0.0.field": "campaign", "g0.0.op": "read", "g0.0.value": "none"},
    ],
    ids=["nothing", "no field", "gone", "nul", "long number", "many days", "year one", "holes", "no country", "no id"],
)
def test_nothing_that_is_typed_breaks_the_form(mia: Browser, town: Demo, given: dict[str, str]) -> None:
    for path in ("/segments/form", "/segments/count"):
        assert mia.post(path, **given).status_code == 200, path
    assert mia.post("/segments/new", name="Odd", **given).status_code in (302, 422)


def test_one_is_changed_and_deleted(mia: Browser, town: Demo) -> None:
    mia.post("/segments/new", name="Lyon", **form({"all": [LYON]}))
    place = f"/segments/{one(Segment).id}"
    assert 'value="Lyon"' in mia.text(f"{place}/edit")
    rome = {"any": [{**LYON, "value": "Rome"}, vip()]}
    assert mia.post(f"{place}/edit", name="Rome", **form(rome)).status_code == 302
    assert (one(Segment).name, one(Segment).conditions) == ("Rome", rome)
    assert number(mia.text(f"{place}/part")) == "8"
    assert mia.post(f"{place}/delete").status_code == 302
    assert mia.get(place).status_code == 404
    assert execute("SELECT count(*) FROM contacts") == [(10,)]


def test_one_that_the_form_cannot_show_is_shown_and_kept(mia: Browser, town: Demo) -> None:
    deep = {"all": [{"any": [{"all": [vip()]}]}]}
    with db.transaction() as session:
        made = segments.create(session, town.workspace_id, name="Deep", conditions=deep)
    page = mia.text(f"/segments/{made.id}")
    assert "deeper than the form can show" in page
    assert f"/segments/{made.id}/edit" not in page
    assert mia.get(f"/segments/{made.id}/edit").status_code == 302
    assert "Deep" in mia.text("/segments")


def test_people_campaigns_and_countries_are_chosen_by_name(mia: Browser, town: Demo) -> None:
    campaign_id = campaign(town)
    given = {"g0.0.field": "campaign", "g0.0.op": "read", "g0.0.value": str(campaign_id)}
    assert ">Spring</option>" in mia.post("/segments/form", **given).get_data(as_text=True)
    mia.post("/segments/new", name="Readers", **given)
    assert "has read Spring" in re.sub(r"<[^>]*>", "", mia.text("/segments"))
    given = {"g0.0.field": "country", "g0.0.op": "is", "g0.0.value": "US"}
    text = mia.post("/segments/form", **given).get_data(as_text=True)
    assert '<option value="DE" >Germany</option>' in text
    assert number(mia.post("/segments/count", **given).get_data(as_text=True)) == "10"


def test_a_viewer_sees_how_many_and_nobody(app: Flask, town: Demo, mia: Browser) -> None:
    mia.post("/segments/new", name="Lyon", **form({"all": [LYON]}))
    place = f"/segments/{one(Segment).id}"
    who = browser(app, town, "viewer")
    part = who.text(f"{place}/part")
    assert number(part) == "4"
    assert "Person" not in part
    assert "/edit" not in who.text(place)
    for page in (place, "/segments"):
        assert ("Lyon</" in who.text(page), "city" in who.text(page)) == (True, False), page
        assert "city" in mia.text(page), page
    assert who.post("/segments/count", **form({"all": [LYON]})).status_code == 403
