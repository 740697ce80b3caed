"""What scripts learn of the webhook receivers, and what they tell them to answer."""

from dataclasses import asdict

from flask import Response

from sandbox.control import answer, blueprint, payload, whole_query, world
from sandbox.fields import BadInput
from sandbox.hooks import store
from sandbox.hooks.routes import LONGEST_NAME


@blueprint.get("/hooks")
@blueprint.get("/hooks/<name>")
def get_hooks(name: str | None = None) -> Response:
    """Give what came, to all receivers or to one, the newest last; `since` and `limit` narrow it down."""
    here = world()
    since, limit = whole_query("since", 0), whole_query("limit", store.KEPT)
    with here.lock:
        found = here.hooks.since(since, name, limit)
        counts, answers = here.hooks.counts(), here.hooks.answers()
        last = here.log.last
    shown = {"data": [each.public() for each in found], "next": last}
    if name is None:
        return answer(shown | {"counts": counts, "answers": answers})
    return answer(shown | {"count": counts.get(name, 0), "answer": answers.get(name)})


@blueprint.put("/hooks/<name>")
def put_hook(name: str) -> Response:
    """Set what a receiver answers, and the secret that requests to it are signed with."""
    here = world()
    if len(name) > LONGEST_NAME:
        raise BadInput(f"The name must have at most {LONGEST_NAME} characters.", "name")
    wanted = store.parse(payload())
    with here.lock:
        if len(here.hooks.answers()) >= store.MOST_NAMES and name not in here.hooks.answers():
            raise BadInput(f"At most {store.MOST_NAMES} receivers can have an answer.", "name")
        here.commit({"k": "hook_rule", "name": name, "answer": asdict(wanted)})
    here.faults.wake()
    return answer(wanted.public())


@blueprint.delete("/hooks/<name>")
def delete_hook(name: str) -> Response:
    """Forget a receiver: its answer and what came to it."""
    here = world()
    here.commit({"k": "hook_rule", "name": name, "answer": None})
    here.faults.wake()
    return answer({"forgotten": name})
