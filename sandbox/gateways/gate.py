"""The entrance of the gateways: faults, credentials, and one event for a message, its callbacks and its log entry."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from flask import Response, current_app, request

from sandbox.fields import Json
from sandbox.intake import Intake, as_json, cut, ordered, reply
from sandbox.log import iso
from sandbox.timing import Step, schedule
from sandbox.world import World


class Refused(Exception):
    """An error answer, in the shape of the API that gives it."""

    def __init__(self, status: int, body: Json, code: int | str | None = None) -> None:
        super().__init__(code)
        self.status, self.body, self.code = status, body, code


# Words an error that a fault orders: its status and its code, if it has one.
Wording = Callable[[int, int | None], Refused]


@dataclass(slots=True)
class Taken:
    """An accepted message: what is answered, and what comes of it. `again` says that its key was known already."""

    id: str
    answer: bytes
    status: int = 200
    again: bool = False
    key: str | None = None
    route: Json | None = None
    calls: list[Json] = field(default_factory=list)
    mail: Json | None = None

    def facts(self) -> Json:
        """Return what its event holds besides the request."""
        facts: Json = {"id": self.id, "key": self.key, "route": self.route, "calls": self.calls}
        if self.again:
            facts["twice"] = True
        if self.mail is not None:
            facts["mail"] = self.mail
        return facts


def intake(kind: str, body: bytes, token: str, to: str | None) -> Intake:
    """Take in the request at hand and let the faults meet it."""
    world: World = current_app.extensions["sandbox"]
    effect = world.faults.meet(kind, request.path, to)
    return Intake(world, kind, request.path, request.method, body, token, time.time(), effect, to=to)


def serve(here: Intake, wording: Wording, take: Callable[[Intake], Taken]) -> Response:
    """Answer one request: faults first, then the message; what is taken is one event with its callbacks."""
    effect = here.effect
    here.wait()
    if effect.drop == "before":
        here.log(None, b"null", cut=True)
        return cut()
    if here.crowded:
        return _refuse(here, wording(503, None))
    if effect.refusal and not effect.refusal.get("accept"):
        response = _ordered(effect.refusal, wording)
        code = wording(response.status_code, effect.refusal.get("error_code")).code
        here.log(response.status_code, as_json(response.get_data()), code=code)
        return response
    try:
        with here.world.lock:
            here.t = time.time()
            taken = take(here)
            status, response = _outcome(here, taken, wording)
            more: Json = {"cut": True} if status is None else {}
            here.world.commit(here.facts("took", status, taken.answer, **taken.facts(), **more))
    except Refused as problem:
        return _refuse(here, problem)
    return response


def receipts(
    here: Intake, route: Json, steps: list[Step], message_id: str, told: Callable[[str, float], Json]
) -> list[Json]:
    """Return the callbacks that tell what becomes of a message; none when nobody is there to be told."""
    if not route["url"]:
        return []
    return [
        callback(here.world, route, message_id, told(name, moment), due)
        for name, due, moment in schedule(here.effect, here.t, steps)
    ]


def callback(world: World, route: Json, message_id: str, told: Json, due: float) -> Json:
    """Return one callback as its event holds it; the caller holds the world's lock."""
    return {
        "uid": world.outbox.uid(),
        "due": due,
        "kind": route["kind"],
        "key": message_id,
        "url": route["url"],
        "fields": told,
    }


def receipt(route: Json, message_id: str, status: str, moment: float, error: tuple[int, str] | None) -> Json:
    """Return what the JSON gateways say of a message."""
    told: Json = {"messageId": message_id, "status": status, "to": route["to"], "timestamp": iso(moment)}
    if error is not None:
        told |= {"error": error[1], "errorCode": error[0]}
    return told


def text(given: Json, key: str) -> str | None:
    """Return a text of a request, None when it is missing, empty or something else."""
    found: Any = given.get(key)
    return found if isinstance(found, str) and found.strip() else None


def _outcome(here: Intake, taken: Taken, wording: Wording) -> tuple[int | None, Response]:
    """Return what a taken message is answered with: the truth, unless a fault hides it."""
    if here.effect.drop == "after":
        return None, cut()
    if here.effect.refusal:
        response = _ordered(here.effect.refusal, wording)
        return response.status_code, response
    return taken.status, reply(taken.status, taken.answer)


def _ordered(action: Json, wording: Wording) -> Response:
    return ordered(action, orjson.dumps(wording(action["status"], action.get("error_code")).body))


def _refuse(here: Intake, problem: Refused) -> Response:
    answer = orjson.dumps(problem.body)
    here.log(problem.status, answer, code=problem.code)
    return reply(problem.status, answer)
