"""One call of the Graph API: what came in, whom it is for, and whether its bearer token is good for that."""

from dataclasses import dataclass, field

import orjson
from flask import Request

from sandbox.errors import GraphError, unknown_object
from sandbox.fields import Json
from sandbox.intake import Intake
from sandbox.numbers import Number
from sandbox.world import World


@dataclass(slots=True)
class Call:
    """A request under a version of the Graph API; `parts` is its path behind the version."""

    world: World
    request: Request
    parts: tuple[str, ...]
    method: str
    token: str = field(repr=False)
    raw: bytes
    intake: Intake = field(init=False)
    _json: Json | None = None
    _bad: GraphError | None = None

    def peek(self) -> Json:
        """Return the JSON object that was sent, an empty one when there is none or it is broken."""
        if self._json is None:
            try:
                self._json = self._read()
            except GraphError as error:
                self._bad, self._json = error, {}
        return self._json

    def body(self) -> Json:
        """Return the JSON object that was sent; a form counts as one.

        Raises:
            GraphError: 100, when it cannot be read.
        """
        found = self.peek()
        if self._bad is not None:
            raise self._bad
        return found

    def query(self, key: str) -> str | None:
        """Return a query parameter."""
        return self.request.args.get(key)

    def owned(self) -> list[Number]:
        """Return the numbers the token is good for.

        Raises:
            GraphError: 190, when there is no such token.
        """
        numbers = self.world.numbers.of_token(self.token) if self.token else []
        if not numbers:
            reason = "Cannot parse access token" if self.token else "An access token is required for this request"
            raise GraphError(190, message=f"Invalid OAuth access token - {reason}")
        return numbers

    def accounts(self) -> set[str]:
        """Return the business accounts the token is good for."""
        return {number.waba_id for number in self.owned()}

    def number(self, phone_number_id: str) -> Number:
        """Return a number the token is good for; any other one does not exist."""
        accounts = self.accounts()
        number = self.world.numbers.get(phone_number_id)
        if number is None or number.waba_id not in accounts:
            raise unknown_object(phone_number_id, self.method.lower())
        return number

    def _read(self) -> Json:
        if not self.raw:
            return {key: value for key, value in self.request.form.items() if key != "access_token"}
        try:
            found = orjson.loads(self.raw)
        except orjson.JSONDecodeError as error:
            raise GraphError(100, message=f"(#100) The request body is not valid JSON: {error}.") from None
        if not isinstance(found, dict):
            raise GraphError(100, message="(#100) The request body must be a JSON object.")
        return found


def bearer(request: Request) -> str:
    """Return the access token of a request, from its header or its query."""
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.args.get("access_token", "")
