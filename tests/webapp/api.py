"""The API as an integrator calls it, without a network between."""

import uuid
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_tasks.core import db
from crm_tasks.workspaces import service as workspaces
from tests.fixtures import Demo

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Api:
    """A caller with a key."""

    client: FlaskClient
    key: str

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET."""
        return self._call("GET", path, options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        """POST, with a body of JSON if there is one."""
        return self._call("POST", path, options if body is None else {"json": body, **options})

    def patch(self, path: str, body: Any, **options: Any) -> TestResponse:
        """PATCH, with a body of JSON."""
        return self._call("PATCH", path, {"json": body, **options})

    def delete(self, path: str, **options: Any) -> TestResponse:
        """DELETE."""
        return self._call("DELETE", path, options)

    def _call(self, method: str, path: str, options: dict[str, Any]) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return self.client.open(PREFIX + path, method=method, headers=headers, **options)


def key_of(demo: Demo, *, operator: bool = False) -> str:
    """Make another key of a workspace."""
    with db.transaction() as session:
        return workspaces.create_key(session, demo.workspace_id, "another", operator=operator)[1]


def error(answer: TestResponse) -> dict[str, Any]:
    """Return the error of an answer, which has the one shape that all have."""
    body = answer.get_json()
    assert body is not None, answer.get_data(as_text=True)
    assert set(body) == {"error"}, body
    found = body["error"]
    assert found["code"] and found["message"], found
    if "request_id" in found:  # what machines ask every few seconds has none
        assert uuid.UUID(found["request_id"])
    return found


def fields(answer: TestResponse) -> dict[str, str]:
    """Return what is wrong with which field."""
    return {each["field"]: each["message"] for each in error(answer)["fields"]}
