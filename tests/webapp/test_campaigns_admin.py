"""The pages of campaigns: behind a login and CSRF, a form that creates and rehearses, buttons that start and stop."""

import re
import uuid

import pytest
from flask.testing import FlaskClient

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.core import db
from crm_tasks.workspaces import members, users
from crm_tasks.workspaces.roles import MemberRole
from tests.campaigns.audience import campaign, found, go_on, people, work_off
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.outside import Sandbox
from tests.prove.healthy import open_account
from tests.templates.fetched import fetch
from tests.webapp.test_admin import EMAIL, PASSWORD, log_in, token

NEW = "/admin/campaigns/new"
FORM = {
    "name": "Spring",
    "type": "template",
    "template": "spring_sale en_US",
    "header_values": "{{name|friend}}",
    "body_values": "20 %",
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


def create(ann: FlaskClient, shop: Demo, **values: str) -> str:
    """Send the form, and return where it leads."""
    form = {**FORM, "channel_id": str(shop.channel_id), "csrf_token": token(ann, NEW), **values}
    answer = ann.post(NEW, data=form)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return answer.location


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
    assert re.search(r'id="state">finished<', text)
    assert re.search(r"<td>accepted</td><td class=\"num \">3</td>", text)
    ((by,),) = execute("SELECT created_by FROM campaigns")
    assert by == f"user:{EMAIL}"


def test_what_is_wrong_is_shown_and_what_was_typed_stays(ann: FlaskClient, shop: Demo) -> None:
    form = {**FORM, "channel_id": str(shop.channel_id), "csrf_token": token(ann, NEW), "body_values": "{{citty}}"}
    answer = ann.post(NEW, data=form)
    text = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "There is no attribute &#39;citty&#39;." in text
    assert "{{citty}}" in text
    assert 'value="Spring"' in text


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"audience": "tags", "tags": "VIP, spring"}, {"tags": ["VIP", "spring"]}),
        ({"type": "text", "body": "Hello"}, {"all": True}),
        ({"scheduled_for": "2027-06-01T09:00", "time_zone": "Europe/Berlin"}, {"all": True}),
    ],
)
def test_the_form_says_what_the_api_says(
    ann: FlaskClient, shop: Demo, values: dict[str, str], kept: dict[str, object]
) -> None:
    page = create(ann, shop, **values)
    made = found(uuid.UUID(page.rpartition("/")[2]))
    assert made.audience == kept
    assert made.state is (CampaignState.SCHEDULED if "scheduled_for" in values else CampaignState.DRAFT)


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


def test_all_are_listed(ann: FlaskClient, shop: Demo) -> None:
    campaign(shop)
    assert "Spring" in ann.get("/admin/campaigns").get_data(as_text=True)
