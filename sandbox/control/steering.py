"""What scripts set: faults, limits, numbers, template states; and the clearing of everything."""

import time
from dataclasses import asdict, replace

import orjson
from flask import Response, request

from sandbox import faults, fields, limits, numbers
from sandbox.control import answer, blueprint, payload, world
from sandbox.fields import BadInput
from sandbox.speech import hook

STATES = ("APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED", "FLAGGED", "IN_APPEAL", "PENDING_DELETION")


@blueprint.get("/faults")
def get_faults() -> Response:
    """Give the active rules with their hits."""
    return answer({"data": [rule.public() for rule in world().faults]})


@blueprint.put("/faults")
def put_faults() -> Response:
    """Replace the rules."""
    world().commit({"k": "faults", "rules": faults.parse(payload())})
    return get_faults()


@blueprint.delete("/faults")
def delete_faults() -> Response:
    """Remove every rule."""
    world().commit({"k": "faults", "rules": []})
    return get_faults()


@blueprint.get("/limits")
def get_limits() -> Response:
    """Give the limits in force."""
    return answer(world().limits.public())


@blueprint.route("/limits", methods=["PUT", "PATCH"])
def put_limits() -> Response:
    """Replace the limits; PATCH changes only what it names."""
    here = world()
    with here.lock:
        new = limits.parse(payload(), here.limits if request.method == "PATCH" else None)
        here.commit({"k": "limits", "limits": new.public()})
    return get_limits()


@blueprint.get("/numbers")
def get_numbers() -> Response:
    """Give the numbers, the demo number first, without their secrets."""
    return answer({"data": [number.public() for number in world().numbers]})


@blueprint.put("/numbers")
def put_numbers() -> Response:
    """Add or replace numbers; the others stay."""
    here = world()
    given = payload()
    given = given if isinstance(given, list) else [given]
    parsed = [numbers.parse(item, here.numbers.demo) for item in given]
    for number in parsed:
        here.commit({"k": "number", "number": asdict(number)})
    return get_numbers()


@blueprint.put("/templates")
def put_template() -> Response:
    """Put a template into a state, with the webhook that tells of it."""
    here = world()
    given = fields.known(payload(), ("phone_number_id", "name", "language", "status", "reason"))
    number = here.numbers.named(fields.optional(given, "phone_number_id"))
    status = fields.text(given, "status").upper()
    if status not in STATES:
        raise BadInput(f"status must be one of {', '.join(STATES)}.", "status")
    name, language = fields.text(given, "name"), fields.text(given, "language", "en_US")
    with here.lock:
        template = here.templates.find(number.waba_id, name, language)
        if template is None:
            raise BadInput(f"There is no template {name} in {language}.", "name", 404)
        reason = fields.text(given, "reason", "NONE")
        changed = replace(template, verdict=status, review_at=0, rejected_reason=reason)
        here.commit({"k": "template", "template": asdict(changed)})
    value = {
        "event": status,
        "message_template_id": int(template.id),
        "message_template_name": name,
        "message_template_language": language,
        "reason": reason,
        "message_template_category": template.category,
    }
    hook(here, number, "message_template_status_update", orjson.dumps(value), time.time())
    return answer(changed.public())


@blueprint.route("/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def unknown(rest: str) -> Response:
    """Answer what does not exist, or not with this method."""
    raise BadInput(f"There is no {request.method} /_sandbox/{rest}.", status=404)


@blueprint.delete("/state")
def delete_state() -> Response:
    """Forget everything but the numbers."""
    world().clear()
    return answer({"cleared": True})
