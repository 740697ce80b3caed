"""People: invited by a link that works once, given roles, removed; workspaces made, switched, suspended."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crm_tasks.core import holds
from crm_tasks.core.db import transaction
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.webapp.admins import PASSWORD, Browser, browser, log_in, person, token_in

BOB = "bob@example.test"


@pytest.fixture
def owner(app: Flask, demo: Demo) -> Browser:
    """An owner who is logged in."""
    return browser(app, demo, "owner")


def invited(who: Browser, email: str = BOB, role: str = "agent") -> str:
    """Invite somebody, and return the path of the link."""
    answer = who.post("/people/invitations", email=email, role=role)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    found = re.search(r'value="http[^"]+(/admin/join/[^"]+)"', answer.get_data(as_text=True))
    assert found is not None
    return found[1]


def accept(client: FlaskClient, link: str, password: str = PASSWORD) -> int:
    page = client.get(link).get_data(as_text=True)
    return client.post(link, data={"csrf_token": token_in(page), "password": password}).status_code


def roles() -> dict[str, str]:
    return dict(execute("SELECT email, m.role FROM memberships m JOIN users u ON u.id = m.user_id"))


def test_a_link_lets_one_person_in_once(app: Flask, owner: Browser) -> None:
    link = invited(owner)
    assert BOB in owner.text("/people")
    bob = app.test_client()
    assert "becomes agent" in bob.get(link).get_data(as_text=True)
    assert accept(bob, link) == 302
    assert roles()[BOB] == "agent"
    assert log_in(bob, BOB).status_code == 302
    assert bob.get("/admin/").status_code == 200
    again = app.test_client().get(link)
    assert again.status_code == 404
    assert "works once" in again.get_data(as_text=True)


def test_the_link_is_kept_nowhere(owner: Browser) -> None:
    token = invited(owner).rpartition("/")[2]
    assert token not in owner.text("/people")
    # The owner's login is in the audit too, and says nothing of it.
    audit = "SELECT detail::text FROM audit_events WHERE detail::text LIKE '%bob@example.test%'"
    kept = execute(f"SELECT row_to_json(i)::text FROM invitations i UNION {audit}")
    assert len(kept) == 2
    assert token not in str(kept)


def test_a_link_grows_old_is_taken_back_and_replaced(app: Flask, owner: Browser, clock: Callable[[str], None]) -> None:
    first, second = invited(owner), invited(owner)
    assert app.test_client().get(first).status_code == 404
    ((invitation_id,),) = execute("SELECT id FROM invitations WHERE ended_at IS NULL")
    assert owner.post(f"/people/invitations/{invitation_id}/take-back").status_code == 302
    assert app.test_client().get(second).status_code == 404
    third = invited(owner)
    assert app.test_client().get(third).status_code == 200
    clock("now() + interval '8 days'")
    assert app.test_client().get(third).status_code == 404


def test_a_short_password_is_refused_and_the_link_still_works(app: Flask, owner: Browser) -> None:
    link, bob = invited(owner), app.test_client()
    assert accept(bob, link, "short") == 422
    assert accept(bob, link, "") == 422
    assert accept(bob, link) == 302


def test_the_link_alone_does_not_act_for_somebody_who_has_a_login(app: Flask, owner: Browser) -> None:
    person(BOB)
    link, thief, bob = invited(owner), app.test_client(), app.test_client()
    assert "You have a login already" in thief.get(link).get_data(as_text=True)
    form = {"csrf_token": token_in(thief.get("/admin/login").get_data(as_text=True)), "password": "another password!"}
    assert thief.post(link, data=form).status_code == 422
    assert BOB not in roles()
    assert log_in(bob, BOB).status_code == 302
    assert accept(bob, link) == 302
    assert roles()[BOB] == "agent"


def test_only_owners_make_and_unmake_owners(app: Flask, demo: Demo, owner: Browser) -> None:
    admin = browser(app, demo, "admin")
    ((owner_id,),) = execute("SELECT id FROM users WHERE email = :e", e=owner.email)
    ((admin_id,),) = execute("SELECT id FROM users WHERE email = :e", e=admin.email)
    assert admin.post("/people/invitations", email=BOB, role="owner").status_code == 422
    assert admin.post(f"/people/{admin_id}/role", role="owner").status_code == 409
    assert admin.post(f"/people/{owner_id}/role", role="viewer").status_code == 409
    assert admin.post(f"/people/{owner_id}/remove").status_code == 409
    assert roles() == {owner.email: "owner", admin.email: "admin"}
    assert owner.post(f"/people/{admin_id}/role", role="owner").status_code == 302
    assert owner.post(f"/people/{admin_id}/role", role="king").status_code == 409
    assert roles()[admin.email] == "owner"


def test_a_workspace_keeps_an_owner(owner: Browser) -> None:
    ((owner_id,),) = execute("SELECT id FROM users WHERE email = :e", e=owner.email)
    for path, form in ((f"/people/{owner_id}/remove", {}), (f"/people/{owner_id}/role", {"role": "admin"})):
        answer = owner.post(path, **form)
        assert answer.status_code == 409
        assert "A workspace keeps an owner" in answer.get_data(as_text=True)
    assert roles() == {owner.email: "owner"}


def test_who_is_removed_is_out_at_the_next_request(app: Flask, demo: Demo, owner: Browser) -> None:
    agent = browser(app, demo, "agent")
    ((agent_id,),) = execute("SELECT id FROM users WHERE email = :e", e=agent.email)
    assert owner.post(f"/people/{agent_id}/remove").status_code == 302
    assert agent.get("/campaigns").status_code == 403


@pytest.mark.parametrize("email", ["", "bob", "owner@example.test"])
def test_who_cannot_be_invited_is_not(owner: Browser, email: str) -> None:
    assert owner.post("/people/invitations", email=email, role="agent").status_code == 422


# --- workspaces --------------------------------------------------------------------------------------------------


def test_the_workspace_at_hand_is_switched(app: Flask, demo: Demo, other: Demo) -> None:
    who = browser(app, demo, "owner")
    execute(
        "INSERT INTO memberships (workspace_id, user_id, role) SELECT :w, id, 'viewer' FROM users", w=other.workspace_id
    )
    assert who.get("/people").status_code == 200
    assert who.post(f"/workspaces/{other.workspace_id}/switch").status_code == 302
    assert "Other" in who.text("/")
    assert who.get("/people").status_code == 403


def test_an_operator_makes_suspends_and_releases(app: Flask, demo: Demo) -> None:
    root = browser(app, demo, "operator")
    assert root.post("/workspaces", name=" ").status_code == 422
    assert root.post("/workspaces", name="Third", region="de").status_code == 302
    assert execute("SELECT region FROM workspaces WHERE name = 'Third'") == [("DE",)]
    assert "Third" in root.text("/people")
    assert root.post(f"/workspaces/{demo.workspace_id}/suspend", reason=" ").status_code == 409
    assert root.post(f"/workspaces/{demo.workspace_id}/suspend", reason="not paid").status_code == 302
    assert root.post(f"/workspaces/{demo.workspace_id}/suspend", reason="again").status_code == 409
    owner = browser(app, demo, "owner")
    assert "This workspace is suspended: not paid" in owner.text("/")
    with transaction() as session:
        (hold,) = holds.in_force(session, [f"workspace:{demo.workspace_id}"])
    assert owner.post(f"/holds/{hold.id}/release").status_code == 404
    assert root.post(f"/workspaces/{demo.workspace_id}/release").status_code == 302
    assert "suspended" not in owner.text("/")


# --- oneself -----------------------------------------------------------------------------------------------------


def test_times_are_shown_in_the_zone_of_who_looks(owner: Browser) -> None:
    assert owner.post("/me", time_zone="Europe/Nowhere").status_code == 422
    assert owner.post("/me", time_zone="Asia/Kolkata").status_code == 302
    execute("UPDATE memberships SET created_at = '2026-07-01 20:00+00'")
    page = owner.text("/people")
    assert "2026-07-02 01:30" in page
    assert 'datetime="2026-07-01T20:00:00+00:00"' in page


def test_a_new_password_ends_every_session(app: Flask, owner: Browser) -> None:
    second = app.test_client()
    log_in(second, owner.email)
    assert owner.post("/me/password", password="wrong", new_password="another long one").status_code == 422
    assert owner.post("/me/password", password=PASSWORD, new_password="short").status_code == 422
    assert owner.post("/me/password", password=PASSWORD, new_password="another long one").status_code == 302
    assert second.get("/admin/").status_code == 302
    assert owner.get("/").status_code == 302
    assert log_in(second, owner.email, "another long one").status_code == 302
