"""The pages of campaigns: behind a login and CSRF, a form that creates and rehearses, buttons that start and stop."""

import re
import uuid

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.campaigns.service import planning, rehearsal, watching
from crm_tasks.contacts import service as contacts
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import IdentityKind, SuppressionScope
from crm_tasks.core import db
from crm_tasks.workspaces import members, users
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.roles import MemberRole
from tests.campaigns.audience import NEXT_MONTH, SALE, campaign, counts, found, go_on, people, person, run, work_off
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.outside import Sandbox
from tests.prove.healthy import open_account
from tests.templates.fetched import fetch, template
from tests.webapp.admins import browser
from tests.webapp.test_admin import EMAIL, PASSWORD, log_in, token

NEW = "/admin/campaigns/new"
FORM = {
    "name": "Spring",
    "type": "template",
    "header-1-from": "name",
    "header-1": "friend",
    "body-1": "20 %",
    "audience": "all",
}


@pytest.fixture
def shop(demo: Demo, sandbox: Sandbox) -> Demo:
    """A business with a channel that points at the sandbox."""
    sandbox.quiet()
    execute("UPDATE channels SET base_url = :url", url=sandbox.url)
    open_account()
    fetch(demo)
    return demo


@pytest.fixture
def ann(client: FlaskClient, shop: Demo) -> FlaskClient:
    """A browser of somebody who is logged in."""
    with db.transaction() as session:
        user, _ = users.create(session, EMAIL, password=PASSWORD)
        members.add(session, shop.workspace_id, user.id, MemberRole.MARKETER)
    assert log_in(client).status_code == 302
    return client


@pytest.mark.parametrize("path", ["/admin/campaigns", NEW, "/admin/campaigns/0b0f3a52-0000-4000-8000-000000000000"])
def test_without_a_login_nothing_is_shown_or_done(client: FlaskClient, shop: Demo, path: str) -> None:
    assert client.get(path).status_code == 302
    assert client.post(path, data=FORM).status_code in (302, 400, 405)


def test_without_the_token_of_the_form_nothing_is_made(ann: FlaskClient) -> None:
    assert "/admin/login" in ann.post(NEW, data=FORM).location
    assert execute("SELECT count(*) FROM campaigns") == [(0,)]


def filled(ann: FlaskClient, shop: Demo, **values: str) -> dict[str, str]:
    """Return the form as somebody has filled it in."""
    sale = {"template": str(template("spring_sale").id), "channel_id": str(shop.channel_id)}
    return {**FORM, **sale, "csrf_token": token(ann, NEW), **values}


def create(ann: FlaskClient, shop: Demo, **values: str) -> str:
    """Send the form, and return where it leads."""
    answer = ann.post(NEW, data=filled(ann, shop, **values))
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return answer.location


def state_of(text: str) -> str:
    found = re.search(r'id="state"><span[^>]*>([a-z]+)<', text)
    assert found is not None
    return found[1]


def press(ann: FlaskClient, page: str, action: str) -> int:
    return ann.post(f"{page}/{action}", data={"csrf_token": token(ann, page)}).status_code


def test_the_form_creates_and_rehearses_and_the_buttons_start(ann: FlaskClient, shop: Demo) -> None:
    people(shop, 3)
    page = create(ann, shop)
    work_off()
    text = ann.get(page).get_data(as_text=True)
    assert "will be sent" in text
    assert "Spring is here, Person 0!" in text
    assert press(ann, page, "start") == 302
    go_on()
    text = ann.get(f"{page}/part").get_data(as_text=True)
    assert state_of(text) == "finished"
    assert 'id="funnel-accepted">3<' in text
    ((by,),) = execute("SELECT created_by FROM campaigns")
    assert by == f"user:{EMAIL}"


@pytest.mark.parametrize(
    ("values", "step", "said"),
    [
        ({"body-1": "{{citty}}"}, "what", "There is no attribute &#39;citty&#39;."),
        ({"body-1": ""}, "what", "Body {{1}}: "),
        ({"template": ""}, "what", "Template: "),
        ({"template": "0b0f3a52-0000-4000-8000-000000000000"}, "what", "Template: "),
        ({"type": "kept"}, "what", "Message: Say what everybody gets."),
        ({"type": "text", "body": ""}, "what", "Text: "),
        ({"type": "email", "subject": "Hi", "text": "Hello"}, "what", "sends no email"),
        ({"channel_id": "0b0f3a52-0000-4000-8000-000000000000"}, "what", "Template: "),
        ({"channel_id": "nonsense"}, "what", "Channel: "),
        ({"audience": "tags", "tags": " ,"}, "whom", "Tags: "),
        ({"audience": "segment_id"}, "whom", "Segment: "),
        ({"audience": "segment_id", "segment_id": "0b0f3a52-0000-4000-8000-000000000000"}, "whom", "no segment"),
        ({"audience": "contact_ids", "contact_ids": "Ann"}, "whom", "Contacts: "),
        ({"name": " "}, "when", "Name: "),
        ({"start": "at"}, "when", "Start: "),
        ({"start": "at", "scheduled_for": "soon"}, "when", "Start: "),
        ({"start": "at", "scheduled_for": "2027-06-01T09:00", "time_zone": "Mars/One"}, "when", "Time zone: "),
        ({"budget": "much"}, "when", "Budget: "),
        ({"failure_share": "500"}, "when", "Failures: "),
        ({"minimum": "1.5"}, "when", "Judge by: "),
    ],
)
def test_what_is_wrong_is_shown_at_its_step_and_what_was_typed_stays(
    ann: FlaskClient, shop: Demo, values: dict[str, str], step: str, said: str
) -> None:
    answer = ann.post(NEW, data=filled(ann, shop, **values))
    text = answer.get_data(as_text=True)
    assert (answer.status_code, f'name="at" value="{step}"' in text) == (422, True)
    assert said in text.partition('role="alert"')[2].partition("</div>")[0]
    assert "Spring" in text or "name" in values
    assert execute("SELECT count(*) FROM campaigns") == [(0,)]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"audience": "tags", "tags": "VIP, spring"}, {"tags": ["VIP", "spring"]}),
        ({"type": "text", "body": "Hello"}, {"all": True}),
        ({"start": "at", "scheduled_for": f"{NEXT_MONTH:%Y-%m-%dT%H:%M}", "time_zone": "Europe/Berlin"}, {"all": True}),
    ],
)
def test_the_form_says_what_the_api_says(
    ann: FlaskClient, shop: Demo, values: dict[str, str], kept: dict[str, object]
) -> None:
    page = create(ann, shop, **values)
    made = found(uuid.UUID(page.rpartition("/")[2]))
    assert made.audience == kept
    assert made.state is (CampaignState.SCHEDULED if "scheduled_for" in values else CampaignState.DRAFT)


def test_the_form_writes_the_message_that_the_api_would(ann: FlaskClient, shop: Demo) -> None:
    made = found(uuid.UUID(create(ann, shop, budget="12.5", failure_share="10").rpartition("/")[2]))
    assert made.message == SALE
    assert (made.budget, made.guards["failure_share"], made.guards["minimum"]) == (12_500_000, 0.1, 100)


def test_each_step_is_checked_before_the_next_and_none_before_going_back(ann: FlaskClient, shop: Demo) -> None:
    form = filled(ann, shop, at="whom", audience="tags", tags="", template="")
    assert ann.post(NEW, data={**form, "go": "what"}).status_code == 422
    answer = ann.post(NEW, data={**form, "tags": "vip", "go": "what"})
    assert (answer.status_code, 'name="at" value="what"' in answer.get_data(as_text=True)) == (200, True)
    assert ann.post(NEW, data={**form, "at": "what", "go": "when"}).status_code == 422
    back = ann.post(NEW, data={**form, "at": "what", "go": "whom"})
    assert (back.status_code, 'name="at" value="whom"' in back.get_data(as_text=True)) == (200, True)


def test_the_number_of_people_is_shown_and_some_of_them(ann: FlaskClient, shop: Demo, other: Demo) -> None:
    people(shop, 6)
    people(other, 2)
    form = filled(ann, shop)
    page = ann.post("/admin/campaigns/audience", data=form).get_data(as_text=True)
    assert 'id="meant">6<' in page
    assert "Person 0" in page
    assert "and 1 more" in page
    nobody = {**form, "audience": "tags", "tags": "vip"}
    assert "Nobody is meant" in ann.post("/admin/campaigns/audience", data=nobody).get_data(as_text=True)
    wrong = {**form, "audience": "segment_id", "segment_id": "x"}
    assert "Segment: " in ann.post("/admin/campaigns/audience", data=wrong).get_data(as_text=True)


def test_the_preview_is_what_a_person_of_the_audience_would_see(ann: FlaskClient, shop: Demo) -> None:
    first, second = people(shop, 2)
    form = filled(ann, shop)
    page = ann.post("/admin/campaigns/preview", data=form).get_data(as_text=True)
    assert "Spring is here, Person 0!" in page
    assert "20 %" in page
    assert str(first) in page
    assert "Person 1" in ann.post("/admin/campaigns/preview", data={**form, "after": str(first)}).get_data(as_text=True)
    again = ann.post("/admin/campaigns/preview", data={**form, "after": str(second)}).get_data(as_text=True)
    assert "Person 0" in again
    bold = {**form, "type": "text", "body": "*Now* <b>only</b> {{name}}"}
    shown = ann.post("/admin/campaigns/preview", data=bold).get_data(as_text=True)
    assert "<strong>Now</strong> &lt;b&gt;only&lt;/b&gt; Person 0" in shown
    lacks = ann.post("/admin/campaigns/preview", data={**form, "body-1-from": "email", "body-1": ""})
    assert "No email is known of this person" in lacks.get_data(as_text=True)
    nobody = ann.post("/admin/campaigns/preview", data={**form, "audience": "tags", "tags": "vip"})
    assert "Spring is here, friend!" in nobody.get_data(as_text=True)


def test_the_fields_are_those_of_the_template(ann: FlaskClient, shop: Demo) -> None:
    form = filled(ann, shop, template=str(template("order_photo").id))
    page = ann.post("/admin/campaigns/fields", data=form).get_data(as_text=True)
    for label in ("Header: image, by its address", "Body {{1}}", "Body {{2}}", "End of the button"):
        assert label in page
    assert "paused" not in page.lower()


def test_a_template_with_everything_is_written_and_read_again(ann: FlaskClient, shop: Demo) -> None:
    values = {
        "template": str(template("order_photo").id),
        "header": "https://shop.example.test/a.jpg",
        "body-1": "A-1",
        "body-2-from": "name",
        "body-2": "you",
        "button-0": "A-1",
    }
    page = create(ann, shop, **values)
    text = ann.get(f"{page}/edit").get_data(as_text=True)
    for name, value in values.items():
        assert value in text, name
    assert "The message as the API wrote it" not in text


MAIL = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "shop@example.test", "callback_secret": "s"}


def channel(demo: Demo, kind: str, **values: object) -> str:
    """Add a channel, and return its id."""
    with db.transaction() as session:
        new = workspaces.NewChannel(kind=kind, name=kind, values=values, base_url="http://127.0.0.1:9")
        return str(workspaces.add_channel(session, demo.workspace_id, new).id)


def test_an_sms_and_an_e_mail_are_written_seen_and_read_again(ann: FlaskClient, shop: Demo) -> None:
    ann_lee = person(shop, 1, name="Ann")
    with db.transaction() as session:
        contacts.add_identity(session, shop.workspace_id, ann_lee, (IdentityKind.EMAIL, "ann@example.test"))
    sms = {"type": "text", "body": "Hello {{name|there}}", "category": "utility"}
    sms["channel_id"] = channel(shop, "sms", token="t", callback_secret="s")
    mail = {"type": "email", "subject": "For {{name}}", "text": "Dear {{name}}, at {{email}}", "category": "marketing"}
    mail["channel_id"] = channel(shop, "smtp", **MAIL)
    for values, seen in ((sms, ["phone-sms", "Hello Ann"]), (mail, ["For Ann", "Dear Ann, at ann@example.test"])):
        form = filled(ann, shop, **values)
        fields = ann.post("/admin/campaigns/fields", data=form).get_data(as_text=True)
        assert 'id="template"' not in fields
        shown = ann.post("/admin/campaigns/preview", data=form).get_data(as_text=True)
        assert [words for words in seen if words not in shown] == []
        page = create(ann, shop, **values)
        again = ann.get(f"{page}/edit").get_data(as_text=True)
        assert [value for value in values.values() if value not in again] == []
        assert "The message as the API wrote it" not in again
        made = found(uuid.UUID(page.rpartition("/")[2]))
        assert (made.type, made.message["category"]) == (values["type"], values["category"])


def test_while_it_is_rehearsed_its_page_says_how_far_that_is(ann: FlaskClient, shop: Demo) -> None:
    people(shop, 5)
    page = create(ann, shop)
    mine = uuid.UUID(page.rpartition("/")[2])
    while db.retrying(planning.plan_on, mine):
        pass
    assert "0 of 5" in ann.get(page).get_data(as_text=True)
    db.retrying(lambda session: rehearsal.rehearse_on(session, mine, chunk=3))
    assert "3 of 5" in ann.get(page).get_data(as_text=True)
    work_off()
    assert "3 of 5" not in ann.get(page).get_data(as_text=True)


def test_a_draft_is_changed_and_rehearsed_anew(ann: FlaskClient, shop: Demo) -> None:
    people(shop, 3, tags=["vip"])
    page = create(ann, shop)
    work_off()
    text = ann.get(f"{page}/edit").get_data(as_text=True)
    assert 'value="Spring"' in text
    mine = uuid.UUID(page.rpartition("/")[2])
    assert ann.post(f"{page}/edit", data=filled(ann, shop, name="Summer")).status_code == 302
    assert (found(mine).name, found(mine).rehearsal is not None) == ("Summer", True)
    changed = filled(ann, shop, name="Summer", audience="tags", tags="vip", **{"body-1": "30 %"})
    assert ann.post(f"{page}/edit", data=changed).status_code == 302
    assert (found(mine).audience, found(mine).rehearsal) == ({"tags": ["vip"]}, None)
    work_off()
    assert "30 %" in ann.get(page).get_data(as_text=True)


def test_what_the_form_cannot_show_stays_as_the_api_wrote_it(ann: FlaskClient, shop: Demo) -> None:
    picture = {"type": "image", "image": {"link": "https://shop.example.test/a.jpg", "caption": "Hello {{name}}"}}
    mine = campaign(shop, picture)
    page = f"/admin/campaigns/{mine}/edit"
    assert "The message as the API wrote it" in ann.get(page).get_data(as_text=True)
    form = filled(ann, shop, type="kept", was_kept="1", name="Picture")
    assert ann.post(page, data=form).status_code == 302
    assert (found(mine).name, found(mine).message["image"]) == ("Picture", picture["image"])


def test_of_one_that_runs_only_name_budget_and_guards_are_changed(ann: FlaskClient, shop: Demo) -> None:
    mine = campaign(shop)
    page = f"/admin/campaigns/{mine}"
    press(ann, page, "start")
    text = ann.get(f"{page}/edit").get_data(as_text=True)
    assert "What may still change" in text
    form = filled(ann, shop, name="Later", budget="3", audience="tags", tags="vip")
    assert ann.post(f"{page}/edit", data=form).status_code == 302
    assert (found(mine).name, found(mine).budget, found(mine).audience) == ("Later", 3_000_000, {"all": True})
    assert ann.post(f"{page}/delete", data={"csrf_token": token(ann, page)}).status_code == 409


def test_a_draft_is_deleted_with_its_plan(ann: FlaskClient, shop: Demo) -> None:
    people(shop, 3)
    page = create(ann, shop, start="at", scheduled_for=f"{NEXT_MONTH:%Y-%m-%dT%H:%M}", time_zone="Europe/Berlin")
    work_off()
    assert ann.post(f"{page}/delete", data={"csrf_token": token(ann, page)}).location == "/admin/campaigns"
    assert ann.get(page).status_code == 404
    assert execute("SELECT count(*) FROM recipients") == [(0,)]
    execute("UPDATE jobs SET run_at = crm_now() WHERE state = 'queued'")
    work_off()
    assert execute("SELECT count(*) FROM jobs WHERE state = 'dead'") == [(0,)]


def test_buttons_pause_resume_and_cancel_and_refuse_in_words(ann: FlaskClient, shop: Demo) -> None:
    mine = campaign(shop)
    page = f"/admin/campaigns/{mine}"
    for action, state in (("start", "running"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert press(ann, page, action) == 302
        assert found(mine).state == state
    answer = ann.post(f"{page}/start", data={"csrf_token": token(ann, page)})
    assert answer.status_code == 409
    assert "The campaign is cancelled" in answer.get_data(as_text=True)
    assert press(ann, page, "explode") == 404


def test_all_are_listed_by_state_and_page(ann: FlaskClient, shop: Demo) -> None:
    assert "No campaign yet" in ann.get("/admin/campaigns").get_data(as_text=True)
    made = [campaign(shop, name=f"Number {n}.") for n in range(52)]
    press(ann, f"/admin/campaigns/{made[0]}", "cancel")
    first = ann.get("/admin/campaigns").get_data(as_text=True)
    assert ("Number 51." in first, "Number 2." in first, "Number 1." in first) == (True, True, False)
    second = ann.get(f"/admin/campaigns?before={made[2]}").get_data(as_text=True)
    assert ("Number 2." in second, "Number 1." in second, "Number 0." in second) == (False, True, True)
    cancelled = ann.get("/admin/campaigns?state=cancelled").get_data(as_text=True)
    assert ("Number 0." in cancelled, "Number 1." in cancelled) == (True, False)
    assert "None in this state" in ann.get("/admin/campaigns?state=halted").get_data(as_text=True)
    assert "Number 51." in ann.get("/admin/campaigns?state=nonsense").get_data(as_text=True)
    assert ann.get("/admin/campaigns?before=x").status_code == 404


# --- while it goes -----------------------------------------------------------------------------------------------


def failed(mine: uuid.UUID, *positions: int, code: str = "131026") -> None:
    """Let messages have failed as a status would say it."""
    execute(
        "UPDATE messages m SET state = 'failed', failed_at = crm_now(), error = jsonb_build_object('code', cast(:c AS "
        "text), 'title', 'Not on +4915112345678') FROM recipients r "
        "WHERE m.id = r.message_id AND r.campaign_id = :i AND r.position = ANY(:p)",
        c=code,
        i=mine,
        p=list(positions),
    )


def test_the_live_page_says_how_far_it_came_and_why_some_got_nothing(app: Flask, ann: FlaskClient, shop: Demo) -> None:
    people(shop, 6)
    mine = campaign(shop, SALE)
    run(mine)
    execute("UPDATE messages SET state = 'read' WHERE id IN (SELECT message_id FROM recipients WHERE position <= 2)")
    failed(mine, 4, 5)
    failed(mine, 6, code="131049")
    page = f"/admin/campaigns/{mine}"
    text = ann.get(f"{page}/part").get_data(as_text=True)
    figures = dict(re.findall(r'id="funnel-([a-z]+)">(\d+)<', text))
    assert figures == {"audience": "6", "accepted": "3", "delivered": "2", "read": "2", "replied": "0"}
    assert "Accepted and failed since the start" in text
    assert "Not on +4915112345678" in text
    viewer = browser(app, shop, "viewer").text(f"/campaigns/{mine}")
    assert "Not on •••" in viewer
    assert "/retry-failed" not in viewer
    form = {"csrf_token": token(ann, page), "code": "131026"}
    assert ann.post(f"{page}/retry-failed", data=form).status_code == 302
    go_on()
    assert counts(mine) == {"accepted": 3, "read": 2, "failed": 1}


def test_a_chart_never_has_more_than_sixty_bars(ann: FlaskClient, shop: Demo) -> None:
    people(shop, 2)
    mine = campaign(shop, SALE)
    run(mine)
    execute("UPDATE campaigns SET started_at = crm_now() - interval '10 hours', finished_at = crm_now()")
    text = ann.get(f"/admin/campaigns/{mine}").get_data(as_text=True)
    assert "Each 10 minutes" in text
    assert text.count("from minute ") == 60
    assert "from minute 590: 2, 0" in text


def test_a_halted_campaign_says_why_and_what_to_do(ann: FlaskClient, shop: Demo) -> None:
    people(shop, 4)
    mine = campaign(shop, SALE, guards={"minimum": 2})
    run(mine, rounds=1)
    failed(mine, 1, 2, 3, 4)
    execute("UPDATE campaigns SET state = 'running', finished_at = NULL")
    with db.transaction() as session:
        watching.supervise(session, mine)
    page = f"/admin/campaigns/{mine}"
    text = ann.get(page).get_data(as_text=True)
    assert state_of(text) == "halted"
    assert "Halted by failures:" in text
    assert "4 of 4 failed" in text
    assert "repair what can be repaired" in text
    assert "What would stop it" in text
    assert press(ann, page, "continue") == 302


def test_recipients_are_found_by_state_forecast_and_reason(app: Flask, ann: FlaskClient, shop: Demo) -> None:
    ids = people(shop, 53)
    with db.transaction() as session:
        how = {"scope": SuppressionScope.ALL, "reason": "test", "actor": "test", "evidence": {}}
        suppression.suppress_contact(session, shop.workspace_id, ids[0], medium="whatsapp", **how)
    page = create(ann, shop)
    work_off()
    listed = f"{page}/recipients"
    first = ann.get(listed).get_data(as_text=True)
    assert "Person 49<" in first and "Person 50<" not in first
    link = re.search(r'class="btn" href="([^"]*after=[^"]+)"', first)
    assert link is not None
    assert "Person 50<" in ann.get(link[1].replace("&amp;", "&")).get_data(as_text=True)
    out = ann.get(f"{listed}?forecast=opted_out").get_data(as_text=True)
    assert ("Person 0<" in out, "Person 1<" in out, "suppressed" in out) == (True, False, True)
    assert "opted out" in ann.get(page).get_data(as_text=True)
    assert "Person 0<" in ann.get(f"{listed}?code=suppressed").get_data(as_text=True)
    assert "Nobody matches" in ann.get(f"{listed}?state=read").get_data(as_text=True)
    assert "as forecast" in ann.get(f"{listed}?otherwise=1").get_data(as_text=True)
    assert "Person 0<" in ann.get(f"{listed}?state=nonsense&forecast=nonsense").get_data(as_text=True)
    for wrong in ("x", "-1", "9" * 30):
        assert ann.get(f"{listed}?after={wrong}").status_code == 404
    viewer = browser(app, shop, "viewer")
    assert "Person" not in viewer.text(listed.removeprefix("/admin"))
    assert "Spring is here" not in viewer.text(page.removeprefix("/admin"))


def test_a_test_goes_to_oneself(ann: FlaskClient, shop: Demo) -> None:
    page = create(ann, shop)
    form = {"csrf_token": token(ann, page)}
    answer = ann.post(f"{page}/test", data={**form, "to": "+4915112345678"})
    assert (answer.status_code, "On its way to +4915112345678." in answer.get_data(as_text=True)) == (200, True)
    assert execute("SELECT count(*) FROM messages WHERE type = 'template'") == [(1,)]
    for wrong in ("", "nobody", "x" * 300):
        assert ann.post(f"{page}/test", data={**form, "to": wrong}).status_code == 409
