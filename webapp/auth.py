"""Who calls the API: a key of a workspace. A key may also be an operator's, which sees and holds the whole system."""

import uuid
from dataclasses import dataclass

from flask import g, request

from crm_tasks.core import db
from crm_tasks.core.errors import Forbidden, Unauthorized
from crm_tasks.workspaces import service as workspaces


@dataclass(frozen=True, slots=True)
class Caller:
    """The key behind a request."""

    workspace_id: uuid.UUID
    operator: bool
    name: str

    @property
    def sees(self) -> uuid.UUID | None:
        """The workspace whose jobs and holds this caller may see; None is all of them."""
        return None if self.operator else self.workspace_id


def require_key() -> None:
    """Find the caller of an API request.

    Raises:
        Unauthorized: no key, or not a valid one.
    """
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Unauthorized("This needs an API key.", hint="Send the header `Authorization: Bearer <api key>`.")
    key = db.retrying(workspaces.key_of, secret.strip())
    if key is None:
        raise Unauthorized("This API key is not valid.", code="bad_api_key", hint="`crm key create` makes a new one.")
    g.caller = Caller(key.workspace_id, key.operator, f"key:{key.prefix}")


def caller() -> Caller:
    """Return the caller of this request."""
    return g.caller


def require_operator() -> None:
    """Allow operators' keys only.

    Raises:
        Forbidden: the key is a workspace's.
    """
    if not caller().operator:
        raise Forbidden("This concerns the whole system and needs an operator's key.", code="operator_only")
