"""Segments: conditions mean in SQL what they say, whatever is written in them; counts; audiences."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import phonenumbers
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from crm_tasks.contacts import audience, segments
from crm_tasks.contacts.conditions import OPERATORS, Kind
from crm_tasks.contacts.models import Attribute, AttributeType, Contact, Identity, IdentityKind
from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import Conversation
from tests.fixtures import Demo, make_demo

ATTRIBUTES = {"city": "text", "points": "number", "vip": "boolean", "born": "date"}
# Values that would be something else to SQL, LIKE or JSON; each is a value to us.
ODD = ["'; DROP TABLE contacts; --", "100%", "a_c", "back\\slash", '"', "{}", ":name", "%s", "$1", "{a,b}", "''"]
WORDS = st.sampled_from(["Ann", "ann b", "1000", "abc", "backslash", "Lyon", "LYON", "é", "Évry", *ODD])
TAGS = st.sampled_from(["vip", "new", "it's", "a,b", "{x}", '"q"'])
NUMBERS = st.sampled_from([-1, 0, 1, 2.5, 0.1, 10**12])
DATES = st.dates(date(2020, 1, 1), date(2030, 1, 1))
NOW = datetime.now(UTC)
MOMENTS = st.integers(-20, 20).map(lambda days: NOW - timedelta(days=days + 30, minutes=7))
PHONES = [
    *("+4915112345678", "+14155550123", "+14165550123", "+393312345678", "+390669812345", "+79161234567"),
    *("+77011234567", "+447911123456", "+447781123456", "+12425551234", "+18005551234", "+5511987654321"),
]
COUNTRIES = ["DE", "US", "CA", "IT", "VA", "RU", "KZ", "GB", "GG", "BS", "BR"]
USERS = [uuid.UUID(int=1), uuid.UUID(int=2)]

people = st.fixed_dictionaries(
    {
        "name": st.none() | WORDS,
        "locale": st.none() | st.sampled_from(["de", "DE", "pt-BR"]),
        "tags": st.lists(TAGS, unique=True, max_size=3).map(sorted),
        "assigned_to": st.none() | st.sampled_from(USERS),
        "created_at": MOMENTS,
        "last_inbound_at": st.none() | MOMENTS,
        "phone": st.none() | st.sampled_from(PHONES),
        "attributes": st.fixed_dictionaries(
            {},
            optional={
                # Also of a type that is not theirs any more.
                "city": WORDS | st.just(7),
                "points": NUMBERS | st.just("many"),
                "vip": st.booleans() | st.just("yes"),
                "born": DATES.map(date.isoformat) | st.just(5),
            },
        ),
    }
)

_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: WORDS,
    Kind.NUMBER: NUMBERS,
    Kind.BOOLEAN: st.booleans(),
    Kind.DATE: DATES.map(date.isoformat),
    Kind.MOMENT: MOMENTS.map(datetime.isoformat),
    Kind.TAGS: TAGS,
    Kind.IDENTITY: st.sampled_from(["phone", "email"]),
    Kind.COUNTRY: st.sampled_from(COUNTRIES),
    Kind.USER: st.sampled_from(USERS).map(str),
}
_FIELDS = {
    "name": Kind.TEXT,
    "locale": Kind.TEXT,
    "tags": Kind.TAGS,
    "identity": Kind.IDENTITY,
    "country": Kind.COUNTRY,
    "assigned_to": Kind.USER,
    "created_at": Kind.MOMENT,
    "last_inbound_at": Kind.MOMENT,
    **{f"attributes.{name}": Kind(type) for name, type in ATTRIBUTES.items()},
}


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(sorted(_FIELDS)))
    kind = _FIELDS[field]
    op = draw(st.sampled_from(sorted(OPERATORS[kind])))
    made = {"field": field, "op": op}
    if op == "between":
        made["value"] = sorted([draw(_VALUES[kind]), draw(_VALUES[kind])])
    elif op.endswith("_days"):
        made["value"] = draw(st.integers(1, 60))
    elif not op.startswith("is_") or op == "is_not":
        made["value"] = draw(_VALUES[kind])
    return made


trees = st.recursive(
    leaves(),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
        | inner.map(lambda part: {"not": part})
    ),
    max_leaves=6,
).filter(lambda tree: _depth(tree) <= 5)


def _depth(tree: dict[str, Any]) -> int:
    if "field" in tree:
        return 0
    ((_, inner),) = tree.items()
    return 1 + max(map(_depth, inner if isinstance(inner, list) else [inner]))


# --- the same, read by a person who knows no SQL ------------------------------------------------------------------


def meets(tree: dict[str, Any], person: dict[str, Any], now: datetime) -> bool:
    if "all" in tree:
        return all(meets(part, person, now) for part in tree["all"])
    if "any" in tree:
        return any(meets(part, person, now) for part in tree["any"])
    if "not" in tree:
        return not meets(tree["not"], person, now)
    field, op, wanted = tree["field"], tree["op"], tree.get("value")
    if field == "tags":
        has = wanted in person["tags"] if op.startswith("has") else bool(person["tags"])
        return has is (op in ("has", "is_set"))
    if field == "identity":
        return ((wanted == "phone") and person["phone"] is not None) is (op == "has")
    if field == "country":
        number = person["phone"] and phonenumbers.parse(person["phone"])
        return bool(number and phonenumbers.region_code_for_number(number) == wanted) is (op == "is")
    value = _value(field, person)
    return _compare(_FIELDS[field], op, value, wanted, now)


def _value(field: str, person: dict[str, Any]) -> Any:
    if not field.startswith("attributes."):
        return person[field]
    name = field.removeprefix("attributes.")
    value = person["attributes"].get(name)
    fits = {"text": str, "date": str, "boolean": bool, "number": (int, float)}[ATTRIBUTES[name]]
    return value if isinstance(value, fits) else None


def _compare(kind: Kind, op: str, value: Any, wanted: Any, now: datetime) -> bool:
    if op in ("is_set", "is_not_set"):
        return (value is not None) is (op == "is_set")
    if value is None:
        return op == "is_not"
    if op.endswith("_days"):
        if kind is Kind.DATE:
            return (now - timedelta(days=wanted)).date().isoformat() <= value <= now.date().isoformat()
        return (value >= now - timedelta(days=wanted)) is (op == "within_days")
    if kind is Kind.TEXT:
        value, wanted = value.lower(), wanted.lower()
    if kind is Kind.MOMENT:
        wanted = (
            [datetime.fromisoformat(each) for each in wanted] if op == "between" else datetime.fromisoformat(wanted)
        )
    if kind is Kind.USER:
        value = str(value)
    compare: dict[str, Callable[[], bool]] = {
        "is": lambda: value == wanted,
        "is_not": lambda: value != wanted,
        "contains": lambda: wanted in value,
        "starts_with": lambda: value.startswith(wanted),
        "<": lambda: value < wanted,
        "<=": lambda: value <= wanted,
        ">": lambda: value > wanted,
        ">=": lambda: value >= wanted,
        "before": lambda: value < wanted,
        "after": lambda: value > wanted,
        "between": lambda: wanted[0] <= value <= wanted[1],
    }
    return compare[op]()


def define(session: Session, workspace_id: uuid.UUID) -> None:
    for name, type in ATTRIBUTES.items():
        session.add(Attribute(workspace_id=workspace_id, name=name, type=AttributeType(type)))


def put(session: Session, demo: Demo, person: dict[str, Any]) -> uuid.UUID:
    contact_id = new_id()
    columns = {name: value for name, value in person.items() if name not in ("phone", "last_inbound_at")}
    session.add(Contact(id=contact_id, workspace_id=demo.workspace_id, **columns))
    session.flush()
    if person.get("phone"):
        session.execute(
            sa.insert(Identity).values(
                id=new_id(),
                workspace_id=demo.workspace_id,
                contact_id=contact_id,
                kind=IdentityKind.PHONE,
                value=person["phone"],
            )
        )
    if person.get("last_inbound_at"):
        session.add(
            Conversation(
                workspace_id=demo.workspace_id,
                channel_id=demo.channel_id,
                contact_id=contact_id,
                last_inbound_at=person["last_inbound_at"],
            )
        )
    return contact_id


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(persons=st.lists(people, min_size=1, max_size=4), wanted=st.lists(trees, min_size=1, max_size=8))
def test_conditions_mean_in_sql_what_they_say(demo: Demo, persons: list[dict], wanted: list[dict]) -> None:
    with db.transaction() as session:
        # One number is one person's.
        session.execute(sa.text("DROP INDEX uq_identities_value"))
        define(session, demo.workspace_id)
        ids = {put(session, demo, person): person for person in persons}
        session.flush()
        now = session.scalar(sa.select(db.now()))
        assert now is not None
        for tree in wanted:
            stored = json.loads(json.dumps(tree))
            query = sa.select(Contact.id).where(segments.compile(session, demo.workspace_id, stored))
            expected = {contact_id for contact_id, person in ids.items() if meets(tree, person, now)}
            assert set(session.scalars(query)) == expected, tree
        session.rollback()


@pytest.mark.parametrize(
    ("op", "value", "found"),
    [
        ("contains", "0%", {"100% sure"}),
        ("contains", "_", {"a_c"}),
        ("starts_with", "a_", {"a_c"}),
        ("contains", "b\\", {"b\\c"}),
        ("contains", "%", {"100% sure"}),
        ("is", "a_c", {"a_c"}),
        ("is_not", "%", {"100% sure", "1000", "a_c", "abc", "b\\c", "bc"}),
    ],
)
def test_a_wildcard_is_a_letter_like_others(demo: Demo, session: Session, op: str, value: str, found: set[str]) -> None:
    for name in ("100% sure", "1000", "a_c", "abc", "b\\c", "bc"):
        put(session, demo, {"name": name})
    wanted = {"field": "name", "op": op, "value": value}
    query = sa.select(Contact.name).where(segments.compile(session, demo.workspace_id, wanted))
    assert set(session.scalars(query)) == found


def test_the_search_for_what_is_wrong_names_every_place(demo: Demo, session: Session) -> None:
    define(session, demo.workspace_id)
    wanted = {
        "all": [
            {"field": "attributes.point", "op": "is", "value": 1},
            {"any": [{"field": "attributes.points", "op": "contains", "value": 1}]},
            {"field": "attributes.born", "op": "before", "value": "2026-02-30"},
            {"not": {"field": "tags", "op": "has"}},
            {"field": "name", "op": "is_set", "value": 1},
            {"field": "country", "op": "is", "value": "Germany"},
            {"field": "name", "op": "is", "value": "x", "case": True},
            {"all": []},
            7,
        ]
    }
    with pytest.raises(Invalid) as refused:
        segments.compile(session, demo.workspace_id, wanted)
    found = {each.field: each.message for each in refused.value.fields}
    assert list(found) == [
        "conditions.all.0.field",
        "conditions.all.1.any.0.op",
        "conditions.all.2.value",
        "conditions.all.3.not.value",
        "conditions.all.4.value",
        "conditions.all.5.value",
        "conditions.all.6.case",
        "conditions.all.7.all",
        "conditions.all.8",
    ]
    assert "Did you mean 'points'?" in found["conditions.all.0.field"]
    assert "<, <=, >, >=" in found["conditions.all.1.any.0.op"]


def test_conditions_are_bounded_in_depth_and_number(demo: Demo, session: Session) -> None:
    deep: dict[str, Any] = {"field": "name", "op": "is_set"}
    for _ in range(6):
        deep = {"not": deep}
    wide = {"all": [{"any": [{"field": "name", "op": "is_set"}] * 26}] * 2}
    for wanted in (deep, wide, {}, {"all": [{"field": "name", "op": "is_set"}] * 51}):
        with pytest.raises(Invalid):
            segments.compile(session, demo.workspace_id, wanted)


def test_what_became_of_a_campaign_can_be_asked(demo: Demo, session: Session) -> None:
    # Hides the table of campaigns for this transaction.
    session.execute(
        sa.text("CREATE TEMP TABLE recipients (campaign_id uuid, contact_id uuid, message_id uuid) ON COMMIT DROP")
    )
    campaign = uuid.uuid4()
    ids = {name: put(session, demo, {"name": name}) for name in ("planned", "sent", "delivered", "read", "replied")}
    put(session, demo, {"name": "nobody"})
    for name, contact_id in ids.items():
        message_id = None if name == "planned" else new_id()
        row = {"campaign": campaign, "contact": contact_id, "message": message_id}
        session.execute(sa.text("INSERT INTO recipients VALUES (:campaign, :contact, :message)"), row)
        if message_id:
            state = "read" if name == "replied" else name
            _message(session, demo, contact_id, message_id, "out", state, 0)
            if name != "sent":
                _message(session, demo, contact_id, new_id(), "in", "received", 5 if name == "replied" else -5)

    def who(op: str, of: uuid.UUID = campaign) -> set[str | None]:
        wanted = {"field": "campaign", "op": op, "value": str(of)}
        query = sa.select(Contact.name).where(segments.compile(session, demo.workspace_id, wanted))
        return set(session.scalars(query))

    assert who("targeted") == set(ids)
    assert who("received") == {"delivered", "read", "replied"}
    assert who("read") == {"read", "replied"}
    assert who("replied") == {"replied"}
    assert who("targeted", uuid.uuid4()) == set()


def _message(
    session: Session, demo: Demo, contact_id: uuid.UUID, message_id: uuid.UUID, direction: str, state: str, minutes: int
) -> None:
    session.execute(
        sa.text(
            "INSERT INTO conversations (id, workspace_id, channel_id, contact_id) "
            "VALUES (:new, :workspace, :channel, :contact) ON CONFLICT DO NOTHING"
        ),
        {"new": new_id(), "workspace": demo.workspace_id, "channel": demo.channel_id, "contact": contact_id},
    )
    session.execute(
        sa.text(
            "INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type, "
            "author, occurred_at, accepted_at) SELECT :id, workspace_id, channel_id, id, contact_id, :direction, "
            ":state, 'text', 'x', now() + make_interval(mins => :minutes), now() FROM conversations "
            "WHERE contact_id = :contact"
        ),
        {"id": message_id, "direction": direction, "state": state, "minutes": minutes, "contact": contact_id},
    )


# --- audiences ---------------------------------------------------------------------------------------------------


def test_an_audience_is_of_one_workspace_and_without_who_is_erased(demo: Demo, session: Session) -> None:
    other = make_demo(number="2", name="Other")
    ann = put(session, demo, {"name": "Ann", "tags": ["new", "vip"]})
    bob = put(session, demo, {"name": "Bob", "tags": ["old"]})
    eve = put(session, other, {"name": "Eve", "tags": ["vip"]})
    put(session, demo, {"erased_at": NOW, "tags": ["vip"]})
    session.flush()
    vips = segments.create(
        session, demo.workspace_id, name="VIPs", conditions={"field": "tags", "op": "has", "value": "VIP"}
    )

    def who(wanted: dict[str, Any]) -> set[uuid.UUID]:
        found = set(session.scalars(audience.select(session, demo.workspace_id, wanted)))
        assert audience.count(session, demo.workspace_id, wanted) == len(found)
        return found

    assert who({"all": True}) == {ann, bob}
    assert who({"tags": ["VIP", "old"]}) == {ann, bob}
    assert who({"segment_id": str(vips.id)}) == {ann}
    assert who({"contact_ids": [bob, str(eve)]}) == {bob}


@pytest.mark.parametrize(
    "wanted",
    [{}, {"all": False}, {"all": "yes"}, {"all": True, "tags": ["x"]}, {"tags": []}, {"contact_ids": ["1"]}, {"x": 1}],
    ids=str,
)
def test_an_audience_names_exactly_one_kind(wanted: dict[str, Any]) -> None:
    assert audience.AudienceSchema().validate(wanted)
    assert not audience.AudienceSchema().validate({"all": True})


def test_counts_are_remembered_for_five_minutes(demo: Demo, session: Session) -> None:
    wanted = {"field": "tags", "op": "has", "value": "vip"}
    put(session, demo, {"tags": ["vip"]})
    session.flush()
    assert segments.count(session, demo.workspace_id, wanted) == 1
    put(session, demo, {"tags": ["vip"]})
    session.flush()
    assert segments.count(session, demo.workspace_id, wanted) == 1
    assert segments.count(session, demo.workspace_id, {"all": [wanted]}) == 2
    ((key, ttl),) = _entries(1)
    assert str(demo.workspace_id) in key
    assert 0 < ttl <= 300


def _entries(value: int) -> list[tuple[str, int]]:
    from crm_tasks.core.redis import manager

    client = manager().client()
    keys = [key.decode() for key in client.scan_iter("*segment:*") if client.get(key) == str(value).encode()]
    return [(key, client.ttl(key)) for key in keys]
