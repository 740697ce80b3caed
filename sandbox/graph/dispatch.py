"""Which handler answers which call."""

from collections.abc import Callable
from typing import Any

from sandbox.errors import GraphError, unknown_object, unknown_path
from sandbox.fields import Json
from sandbox.graph import blocks, management, media, messages, receipts, templates
from sandbox.graph.call import Call

Handler = Callable[[Call], Any]

# Behind a phone number's or a business account's id.
_EDGES: dict[tuple[str, str], Handler] = {
    ("POST", "messages"): messages.send,
    ("POST", "marketing_messages"): messages.send_marketing,
    ("POST", "media"): media.upload,
    ("GET", "whatsapp_business_profile"): management.profile,
    ("POST", "whatsapp_business_profile"): management.set_profile,
    ("GET", "block_users"): blocks.blocked,
    ("POST", "block_users"): blocks.block,
    ("DELETE", "block_users"): blocks.unblock,
    ("POST", "request_code"): management.request_code,
    ("POST", "verify_code"): management.verify_code,
    ("POST", "register"): management.register,
    ("POST", "deregister"): management.deregister,
    ("GET", "phone_numbers"): management.numbers,
    ("GET", "subscribed_apps"): management.subscriptions,
    ("POST", "subscribed_apps"): management.subscribe,
    ("DELETE", "subscribed_apps"): management.unsubscribe,
    ("GET", "message_templates"): templates.listed,
    ("POST", "message_templates"): templates.create,
    ("DELETE", "message_templates"): templates.delete,
    ("POST", "unpause"): templates.unpause,
}
_TEMPLATE_EDGES = ("message_templates", "unpause", "upsert_message_templates", "migrate_message_templates")


def kind_of(call: Call, body: Json) -> str:
    """Return the kind under which a call is logged, and by which faults find it."""
    last = call.parts[-1]
    if last in ("messages", "marketing_messages"):
        if body.get("status") is None:
            return "message"
        return "typing" if body.get("typing_indicator") else "read"
    if last == "media" or call.world.media.get(last):
        return "media"
    return "template" if last in _TEMPLATE_EDGES or call.world.templates.get(last) else "other"


def handler(call: Call) -> Handler:
    """Return what answers a call.

    Raises:
        GraphError: the path does not exist, or not for this method.
    """
    if len(call.parts) == 2:
        found = _EDGES.get((call.method, call.parts[1]))
        if found is None:
            call.owned()
            raise _no_edge(call)
        if found is messages.send and call.peek().get("status") is not None:
            return receipts.mark
        return found
    if len(call.parts) == 1 and call.parts[0]:
        return _node(call)
    raise unknown_path("/".join(call.parts))


def _no_edge(call: Call) -> GraphError:
    if any(name == call.parts[1] for _, name in _EDGES):
        return unknown_object(call.parts[0], call.method.lower())
    return unknown_path(call.parts[1])


def _node(call: Call) -> Handler:
    """Return what answers a call on an object itself."""
    wanted = call.parts[0]
    accounts = call.accounts()
    medium = call.world.media.get(wanted)
    template = call.world.templates.get(wanted)
    number = call.world.numbers.get(wanted)
    if medium is not None and medium.waba_id in accounts:
        found = {"GET": media.metadata, "DELETE": media.delete}.get(call.method)
    elif template is not None and template.waba_id in accounts:
        found = {"GET": templates.one, "POST": templates.edit}.get(call.method)
    elif number is not None and number.waba_id in accounts:
        found = {"GET": management.number, "POST": management.change_number}.get(call.method)
    elif wanted in accounts:
        found = {"GET": management.account}.get(call.method)
    else:
        found = None
    if found is None:
        raise unknown_object(wanted, call.method.lower())
    return found
