"""Templates before a message is accepted: what may not be sent is refused and why, what fits is rendered."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message
from crm_tasks.templates import service
from crm_tasks.templates.models import Template
from crm_tasks.workspaces.models import Channel
from tests.core.ledger import in_threads
from tests.fixtures import Demo
from tests.messages.apply import rows
from tests.templates.fetched import fetch, template
from tests.webapp.api import Api, error, fields

WORDS = [{"type": "text", "text": "Ann"}, {"type": "text", "text": "A-100"}]


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def body(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "body", "parameters": list(parameters)}


def new(demo: Demo, name: str, *components: Any, language: str = "en_US") -> dict[str, Any]:
    given = {"name": name, "language": {"code": language}, "components": list(components)}
    return {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": "template", "template": given}


def put(name: str, **values: Any) -> None:
    found = template(name)
    with db.transaction() as session:
        row = session.get_one(Template, found.id)
        for key, value in values.items():
            setattr(row, key, value)


def test_a_template_that_fits_is_accepted_rendered_and_has_its_category(demo: Demo, api: Api) -> None:
    fetch(demo)
    answer = api.post("/messages", new(demo, "order_update", body(*WORDS)))
    assert answer.status_code == 202, answer.get_json()
    shown = answer.get_json()
    assert shown["text"].splitlines() == [
        "Order update",
        "Hi Ann, your order A-100 has left our warehouse and is on its way.",
        "Reply STOP to opt out",
    ]
    assert shown["category"] == "utility"
    marketing = api.post(
        "/messages", new(demo, "spring_sale", {"type": "HEADER", "parameters": [text("Bo")]}, body(text("5 %")))
    )
    assert marketing.get_json()["category"] == "marketing"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("PAUSED", "template_paused"),
        ("REJECTED", "template_rejected"),
        ("DISABLED", "template_disabled"),
        ("PENDING", "template_pending"),
        ("DELETED", "template_deleted"),
        ("LIMIT_EXCEEDED", "template_not_approved"),
        ("SOMETHING NEW", "template_not_approved"),
    ],
)
def test_a_template_that_may_not_be_sent_is_refused_with_the_reason(
    demo: Demo, api: Api, status: str, code: str
) -> None:
    fetch(demo)
    put("order_update", status=status, reason="TOO_LOUD")
    refused = api.post("/messages", new(demo, "order_update", body(*WORDS)))
    assert (refused.status_code, error(refused)["code"]) == (409, code)
    assert "TOO_LOUD" in error(refused)["message"]
    assert list(fields(refused)) == ["template.name"]
    assert error(refused)["hint"]
    assert rows(Message) == []


def test_an_unknown_template_is_refused_with_what_there_is(demo: Demo, api: Api) -> None:
    fetch(demo)
    refused = api.post("/messages", new(demo, "order_updat", body(*WORDS)))
    assert (refused.status_code, error(refused)["code"]) == (422, "template_unknown")
    assert "order_update" in fields(refused)["template.name"]
    refused = api.post("/messages", new(demo, "order_update", body(*WORDS), language="fr"))
    assert fields(refused)["template.language.code"] == "There is order_update in en_US, pt_BR."


def test_before_the_first_fetch_nothing_is_refused_and_the_list_is_asked_for(demo: Demo, api: Api) -> None:
    for _ in range(2):
        assert api.post("/messages", new(demo, "whatever")).status_code == 202
    assert [job.task for job in rows(Job)].count("messages.sync_templates") == 1


def test_a_list_that_comes_between_the_two_looks_at_it_refuses_nothing(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as one message of 200 that was never sent: the first fetch was committed while it was looked at."""
    read = service._languages

    def come_first(session: Session, channel: Channel) -> dict[str, list[str]]:
        fetch(demo)
        return read(session, channel)

    monkeypatch.setattr(service, "_languages", come_first)
    with db.transaction() as session:
        channel = session.get_one(Channel, demo.channel_id)
        assert service.seen(session, channel, "order_update", "en_US")[1] is None
        _, refused = service.seen(session, channel, "order_update", "fr")
        assert refused is not None and refused.code == "template_unknown"


WRONG: list[tuple[str, str, list[Any], str, str]] = [
    ("order_update", "en_US", [], "template.components", "The body wants 2 parameters ({{1}}, {{2}}), not 0."),
    ("order_update", "en_US", [body(*WORDS[:1])], "template.components.0.parameters", "{{2}}), not 1."),
    ("order_update", "en_US", [body(*WORDS, text("x"))], "template.components.0.parameters", "not 3."),
    ("order_update", "en_US", [body(text(""), text("x"))], "template.components.0.parameters", "not empty"),
    (
        "order_update",
        "en_US",
        [body({"type": "image", "image": {"id": "1"}}, text("x"))],
        "template.components.0.parameters",
        "is text",
    ),
    (
        "order_update",
        "en_US",
        [body(*WORDS), {"type": "header", "parameters": [text("x")]}],
        "template.components.1.parameters",
        "The header wants no parameters, not 1.",
    ),
    (
        "order_update",
        "en_US",
        [body(*WORDS), {"type": "wing"}],
        "template.components.1.type",
        "Use header, body or button.",
    ),
    ("order_update", "en_US", [body(*WORDS), {}], "template.components.1.type", "Use header, body or button."),
    (
        "order_update",
        "en_US",
        [body(*WORDS), {"type": "button", "sub_type": "quick_reply", "index": 5}],
        "template.components.1.index",
        "has 2 buttons",
    ),
    (
        "order_update",
        "en_US",
        [body(*WORDS), {"type": "button", "sub_type": "url", "index": "0"}],
        "template.components.1.sub_type",
        "quick_reply",
    ),
    (
        "order_update",
        "en_US",
        [body(*WORDS), {"type": "button", "sub_type": "url", "index": "one"}],
        "template.components.1.index",
        "by its number",
    ),
    ("order_photo", "en_US", [body(*WORDS)], "template.components", "The header wants 1 parameter of type image."),
    (
        "order_photo",
        "en_US",
        [body(*WORDS), {"type": "header", "parameters": [text("x")]}],
        "template.components.1.parameters",
        "1 parameter of type image",
    ),
    (
        "order_photo",
        "en_US",
        [body(*WORDS), {"type": "header", "parameters": [{"type": "image", "image": {}}]}],
        "template.components.1.parameters",
        "needs an id or a link",
    ),
    (
        "order_photo",
        "en_US",
        [body(*WORDS), {"type": "header", "parameters": [{"type": "image", "image": {"id": "1"}}]}],
        "template.components",
        "Button 0 (url) wants 1 parameter of type text.",
    ),
    (
        "appointment_reminder",
        "es",
        [body(text("Ann", parameter_name="first_name"), text("1", parameter_name="dia"))],
        "template.components.0.parameters",
        "missing: day, hour; unknown: dia",
    ),
    (
        "appointment_reminder",
        "es",
        [body(text("a"), text("b"), text("c"))],
        "template.components.0.parameters",
        "by parameter_name",
    ),
]


@pytest.mark.parametrize(
    ("name", "language", "components", "field", "remedy"), WRONG, ids=lambda value: str(value)[:50]
)
def test_parameters_that_do_not_fit_are_named_by_component(
    demo: Demo, api: Api, name: str, language: str, components: list[Any], field: str, remedy: str
) -> None:
    fetch(demo)
    given = new(demo, name, *components, language=language)
    with db.transaction() as session, pytest.raises(Invalid) as found:
        service.check(session, session.get_one(Channel, demo.channel_id), given["template"])
    assert found.value.code == "template_parameters"
    assert any(each.field == field and remedy in each.message for each in found.value.fields)
    refused = api.post("/messages", given)
    # What no template could want is refused by its shape, closer to where it is wrong.
    assert (refused.status_code, error(refused)["code"] in ("template_parameters", "invalid")) == (422, True)
    assert any(each["field"].startswith("template.components") for each in error(refused)["fields"])
    assert rows(Message) == []


def test_what_fits_here_fits_the_provider_too(demo: Demo, api: Api) -> None:
    fetch(demo)
    photo = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://x.example/a.jpg"}}]}
    track = {"type": "button", "sub_type": "URL", "index": 0, "parameters": [text("A-100")]}
    shown = api.post("/messages", new(demo, "order_photo", photo, body(*WORDS), track)).get_json()
    assert shown["text"] == "[image]\nHere is your order Ann, A-100, just before it was packed."
    given = [
        text("lunes", parameter_name="day"),
        text("9", parameter_name="hour"),
        text("Ana", parameter_name="first_name"),
    ]
    shown = api.post("/messages", new(demo, "appointment_reminder", body(*given), language="es")).get_json()
    assert shown["text"] == "Hola Ana, le recordamos su cita del lunes a las 9 horas."
    price = {"type": "currency", "currency": {"fallback_value": "5 $", "code": "USD", "amount_1000": 5000}}
    shown = api.post("/messages", new(demo, "order_update", body(text("Ann"), price))).get_json()
    assert "your order 5 $ has left" in shown["text"]


# --- the list ----------------------------------------------------------------------------------------------------


def test_templates_are_listed_by_page_and_by_filter(demo: Demo, api: Api) -> None:
    fetch(demo)
    everything = api.get("/templates?limit=200").get_json()["data"]
    paged, path = [], "/templates?limit=4"
    while True:
        page = api.get(path).get_json()
        paged += page["data"]
        if page["next"] is None:
            break
        path = f"/templates?limit=4&cursor={page['next']}"
    assert paged == everything
    assert [(t["name"], t["language"]) for t in everything] == sorted((t["name"], t["language"]) for t in everything)
    for query, key, value in (
        ("status=paused", "status", "PAUSED"),
        ("category=MARKETING", "category", "marketing"),
        ("language=es", "language", "es"),
        ("name=spring_sale", "name", "spring_sale"),
    ):
        found = api.get(f"/templates?{query}").get_json()["data"]
        assert found and {each[key] for each in found} == {value}, query


def test_what_is_deleted_is_listed_only_if_asked_for(demo: Demo, api: Api) -> None:
    fetch(demo)
    put("order_update", status="DELETED")
    names = {(t["name"], t["language"]) for t in api.get("/templates?limit=200").get_json()["data"]}
    assert ("order_update", "en_US") not in names
    assert [t["name"] for t in api.get("/templates?status=DELETED").get_json()["data"]] == ["order_update"]


def test_a_template_can_be_looked_at_by_its_own_workspace_alone(demo: Demo, api: Api, stranger: Api) -> None:
    fetch(demo)
    found = template("order_update")
    shown = api.get(f"/templates/{found.id}").get_json()
    assert (shown["name"], shown["sendable"], shown["parameters"]["body"]["names"]) == (
        "order_update",
        True,
        ["1", "2"],
    )
    refused = stranger.get(f"/templates/{found.id}")
    assert (refused.status_code, error(refused)["code"]) == (404, "template_not_found")
    assert stranger.get("/templates").get_json()["data"] == []


def test_a_fetch_is_asked_for_once_however_many_ask(app: Any, demo: Demo, api: Api, stranger: Api) -> None:
    answers = in_threads(*[lambda: Api(app.test_client(), api.key).post("/templates/sync", {}) for _ in range(4)])
    assert {answer.status_code for answer in answers} == {202}
    assert len({job for answer in answers for job in answer.get_json()["job_ids"]}) == 1
    assert len(rows(Job)) == 1
    refused = stranger.post("/templates/sync", {"channel_id": str(demo.channel_id)})
    assert (refused.status_code, error(refused)["code"]) == (404, "channel_not_found")
