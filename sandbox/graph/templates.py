"""Templates of the Graph API: list, create, read, edit, delete, unpause."""

import time
from dataclasses import asdict, replace
from typing import Any

import orjson

from sandbox.errors import GraphError, unknown_object
from sandbox.fields import Json
from sandbox.graph import template_rules
from sandbox.graph.call import Call
from sandbox.graph.paging import only, page
from sandbox.ids import media_id
from sandbox.templates import Template

LIMIT = 6000
_FILTERS = ("status", "name", "language", "category")


def listed(call: Call) -> Json:
    """Answer `GET /{waba_id}/message_templates`."""
    waba_id = _account(call)
    everything = call.world.templates.of(waba_id)
    wanted = {key: value for key in _FILTERS if (value := call.query(key))}
    found = [template for template in everything if all(_meets(template, *pair) for pair in wanted.items())]
    answer = page(call, [only(call, template.public()) for template in found])
    if call.query("summary"):
        answer["summary"] = {
            "total_count": len(found),
            "message_template_count": len(everything),
            "message_template_limit": LIMIT,
            "are_translations_complete": True,
        }
    return answer


def create(call: Call) -> Json:
    """Answer `POST /{waba_id}/message_templates`: the template is pending until it has been reviewed."""
    waba_id = _account(call)
    facts = template_rules.new(call.body())
    world = call.world
    with world.lock:
        if world.templates.find(waba_id, facts["name"], facts["language"]):
            raise GraphError(
                100,
                message="Content in this language already exists",
                details=f"There is already {facts['language']} content for this template.",
                subcode=2388024,
            )
        template = Template(id=media_id(), waba_id=waba_id, **facts)
        _review(call, template)
    return {"id": template.id, "status": "PENDING", "category": template.category}


def one(call: Call) -> Json:
    """Answer `GET /{template_id}`."""
    return only(call, _template(call).public())


def edit(call: Call) -> Json:
    """Answer `POST /{template_id}`: new content, new review."""
    template = _template(call)
    if template.status in ("PENDING", "DISABLED"):
        raise GraphError(100, message=f"(#100) A template that is {template.status} cannot be edited.")
    facts = template_rules.new(
        {"name": template.name, "language": template.language, "category": template.category}
        | {"parameter_format": template.parameter_format, "components": template.components}
        | call.body()
    )
    with call.world.lock:
        _review(call, replace(template, **facts))
    return {"success": True, "id": template.id, "name": template.name, "category": template.category}


def delete(call: Call) -> Json:
    """Answer `DELETE /{waba_id}/message_templates?name=…[&hsm_id=…]`."""
    waba_id = _account(call)
    name, template_id = call.query("name"), call.query("hsm_id")
    if not name and not template_id:
        raise GraphError(100, message="(#100) The parameter name is required.")
    world = call.world
    with world.lock:
        found = [
            template
            for template in world.templates.of(waba_id)
            if (not name or template.name == name) and (not template_id or template.id == template_id)
        ]
        if not found:
            raise GraphError(100, message="Message Template Not Found", subcode=2593002)
        for template in found:
            world.commit({"k": "template_gone", "waba": waba_id, "id": template.id})
    return {"success": True}


def unpause(call: Call) -> Json:
    """Answer `POST /{template_id}/unpause`."""
    template = call.world.templates.get(call.parts[0])
    if template is None or template.waba_id not in call.accounts():
        raise unknown_object(call.parts[0])
    if template.status != "PAUSED":
        return {"success": False, "reason": "The template is not paused."}
    call.world.commit({"k": "template", "template": asdict(template) | {"verdict": "APPROVED"}})
    return {"success": True}


def _account(call: Call) -> str:
    waba_id = call.parts[0]
    if waba_id not in call.accounts():
        raise unknown_object(waba_id, call.method.lower())
    return waba_id


def _template(call: Call) -> Template:
    found = call.world.templates.get(call.parts[0])
    assert found is not None
    return found


def _meets(template: Template, key: str, value: str) -> bool:
    if key == "name":
        return value in template.name
    return str(getattr(template, key)).upper() == value.upper()


def _review(call: Call, template: Template) -> None:
    """Commit a template whose review ends later, with the webhook that will say so."""
    world = call.world
    template.review_at = round(time.time() + (world.limits.template_review_ms or 0) / 1000, 3)
    template.verdict, template.rejected_reason = template_rules.verdict(template)
    world.commit({"k": "template", "template": asdict(template)})
    number = world.numbers.of_account(template.waba_id)[0]
    value: dict[str, Any] = {
        "event": template.verdict,
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language,
        "reason": template.rejected_reason,
        "message_template_category": template.category,
    }
    world.commit(
        {
            "k": "hook",
            "uid": world.outbox.uid(),
            "due": template.review_at,
            "num": number.phone_number_id,
            "field": "message_template_status_update",
            "value": orjson.dumps(value),
        }
    )
