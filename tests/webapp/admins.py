"""The admin as people with roles use it, without a network between."""

import re
import uuid
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.core import db
from crm_tasks.workspaces import members, users
from crm_tasks.workspaces.roles import MemberRole
from tests.fixtures import Demo

PASSWORD = "a long enough password"


@dataclass(frozen=True, slots=True)
class Browser:
    """Somebody who is logged in."""

    client: FlaskClient
    email: str

    def get(self, path: str, **options: Any) -> TestResponse:
        """Open a page."""
        return self.client.get(f"/admin{path}", **options)

    def text(self, path: str) -> str:
        """Return a page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.get_data(as_text=True)[-800:])
        return answer.get_data(as_text=True)

    def post(self, path: str, **form: str) -> TestResponse:
        """Send a form, with the token that every page has."""
        return self.client.post(f"/admin{path}", data={"csrf_token": self.token(), **form})

    def token(self) -> str:
        """Return the token of this session's forms."""
        return token_in(self.get("/me").get_data(as_text=True))


def token_in(page: str) -> str:
    """Return the token of a form."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found is not None, page[:500]
    return found[1]


def log_in(client: FlaskClient, email: str, password: str = PASSWORD, **options: Any) -> TestResponse:
    """Send the form of the login."""
    page = client.get("/admin/login", **options).get_data(as_text=True)
    form = {"email": email, "password": password, "csrf_token": token_in(page)}
    return client.post("/admin/login", data=form, **options)


def person(email: str, *roles: tuple[uuid.UUID, MemberRole], operator: bool = False) -> uuid.UUID:
    """Make somebody who can log in."""
    with db.transaction() as session:
        user, _ = users.create(session, email, password=PASSWORD, operator=operator)
        for workspace_id, role in roles:
            members.add(session, workspace_id, user.id, role)
        return user.id


def browser(app: Flask, demo: Demo, role: str) -> Browser:
    """Return somebody who is logged in and has this role in a workspace, or is an operator."""
    email = f"{role}@example.test"
    if role == "operator":
        person(email, operator=True)
    else:
        person(email, (demo.workspace_id, MemberRole(role)))
    client = app.test_client()
    assert log_in(client, email).status_code == 302
    return Browser(client, email)
