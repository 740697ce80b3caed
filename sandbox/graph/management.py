"""Numbers, accounts, profiles and subscriptions: small, but what is written can be read back."""

import secrets
from dataclasses import asdict, replace
from typing import Any

import requests

from sandbox.errors import GraphError, unknown_object
from sandbox.fields import Json
from sandbox.graph.call import Call
from sandbox.graph.paging import only, page
from sandbox.numbers import Number
from sandbox.sender import new_session

APP_ID = "670843887433847"
_PROFILE = ("about", "address", "description", "email", "websites", "vertical", "profile_picture_handle")
_VERIFY_TIMEOUT = 10.0


def number(call: Call) -> Json:
    """Answer `GET /{phone_number_id}`."""
    return _number(call, call.number(call.parts[0]))


def numbers(call: Call) -> Json:
    """Answer `GET /{waba_id}/phone_numbers`."""
    waba_id = _account(call)
    return page(call, [_number(call, found) for found in call.world.numbers.of_account(waba_id)])


def change_number(call: Call) -> Json:
    """Answer `POST /{phone_number_id}`: a webhook address of its own, or none."""
    found = call.number(call.parts[0])
    configuration = call.body().get("webhook_configuration")
    if not isinstance(configuration, dict):
        raise GraphError(100, message="(#100) The parameter webhook_configuration is required.")
    url = configuration.get("override_callback_uri") or None
    if url is not None:
        _verify(url, configuration.get("verify_token"))
    _change(call, found, override_url=url)
    return {"success": True}


def account(call: Call) -> Json:
    """Answer `GET /{waba_id}`."""
    waba_id = call.parts[0]
    first = call.world.numbers.of_account(waba_id)[0]
    return only(
        call,
        {
            "id": waba_id,
            "name": first.verified_name,
            "currency": "USD",
            "timezone_id": "1",
            "message_template_namespace": f"{int(waba_id) if waba_id.isdigit() else 0:032x}",
            "account_review_status": "APPROVED",
            "business_verification_status": "verified",
            "country": "US",
            "ownership_type": "SELF",
            "status": "ACTIVE",
        },
    )


def profile(call: Call) -> Json:
    """Answer `GET /{phone_number_id}/whatsapp_business_profile`."""
    found = call.number(call.parts[0])
    default: Json = {"about": "Hey there! I am using WhatsApp.", "vertical": "RETAIL", "websites": []}
    shown = default | {key: value for key, value in found.profile.items() if key != "profile_picture_handle"}
    return {"data": [only(call, {"messaging_product": "whatsapp", **shown}, ("messaging_product",))]}


def set_profile(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/whatsapp_business_profile`."""
    found = call.number(call.parts[0])
    given = {key: value for key, value in call.body().items() if value is not None}
    if given.pop("messaging_product", None) != "whatsapp":
        raise GraphError(100, message="(#100) The parameter messaging_product is required.")
    for key in given:
        if key not in _PROFILE:
            raise GraphError(100, message=f'(#100) Unexpected key "{key}" on param "whatsapp_business_profile".')
    if len(str(given.get("about", ""))) > 139 or len(str(given.get("description", ""))) > 512:
        raise GraphError(131009, "about has at most 139 characters, description at most 512.")
    _change(call, found, profile={**found.profile, **given})
    return {"success": True}


def request_code(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/request_code`: nobody is called, and any six digits will do."""
    call.number(call.parts[0])
    method = call.body().get("code_method")
    if method not in ("SMS", "VOICE"):
        raise GraphError(100, message="(#100) Param code_method must be one of {SMS, VOICE}.")
    return {"success": True}


def verify_code(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/verify_code`."""
    call.number(call.parts[0])
    code = str(call.body().get("code") or "")
    if not (code.isdigit() and len(code) == 6):
        raise GraphError(100, message="(#100) Param code must be a string of 6 digits.")
    return {"success": True}


def register(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/register`."""
    found = call.number(call.parts[0])
    pin = str(call.body().get("pin") or "")
    if not (pin.isdigit() and len(pin) == 6):
        raise GraphError(100, message="(#100) Param pin must be a string of 6 digits.")
    _change(call, found, registered=True)
    return {"success": True}


def deregister(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/deregister`."""
    _change(call, call.number(call.parts[0]), registered=False)
    return {"success": True}


def subscriptions(call: Call) -> Json:
    """Answer `GET /{waba_id}/subscribed_apps`."""
    first = call.world.numbers.of_account(_account(call))[0]
    link = {"link": "https://example.test/app", "name": "Sandbox app", "id": APP_ID}
    override = {"override_callback_uri": first.override_url} if first.override_url else {}
    return {"data": [{"whatsapp_business_api_data": link, **override}]}


def subscribe(call: Call) -> Json:
    """Answer `POST /{waba_id}/subscribed_apps`; an override address must pass the verification first."""
    waba_id = _account(call)
    url = call.body().get("override_callback_uri") or None
    if url is not None:
        _verify(url, call.body().get("verify_token"))
    for found in call.world.numbers.of_account(waba_id):
        _change(call, found, override_url=url)
    return {"success": True}


def unsubscribe(call: Call) -> Json:
    """Answer `DELETE /{waba_id}/subscribed_apps`."""
    for found in call.world.numbers.of_account(_account(call)):
        _change(call, found, override_url=None)
    return {"success": True}


def handshake(url: str, token: str) -> tuple[bool, int | None, str]:
    """Ask a webhook address to prove itself; return whether it did, its status and the beginning of its answer."""
    challenge = str(10**9 + secrets.randbelow(9 * 10**9))
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
    try:
        with new_session() as session:
            answer = session.get(url, params=query, timeout=_VERIFY_TIMEOUT, allow_redirects=False)
    except requests.RequestException as problem:
        return False, None, type(problem).__name__
    return answer.status_code == 200 and answer.text == challenge, answer.status_code, answer.text[:200]


def _verify(url: object, token: object) -> None:
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise GraphError(100, message="(#100) Param override_callback_uri must be a valid URI.")
    passed, status, _ = handshake(url, str(token or ""))
    if not passed:
        reason = "no answer" if status is None else f"HTTP status {status}"
        raise GraphError(2201, message=f"(#2201) Callback verification failed: {reason}.", status=400)


def _number(call: Call, found: Number) -> Json:
    webhooks = {"application": found.webhook_url}
    if found.override_url:
        webhooks["phone_number"] = found.override_url
    return only(
        call,
        {
            "verified_name": found.verified_name,
            "code_verification_status": "VERIFIED",
            "display_phone_number": found.display_phone_number,
            "quality_rating": "GREEN",
            "platform_type": "CLOUD_API",
            "throughput": {"level": "STANDARD"},
            "webhook_configuration": webhooks,
            "name_status": "APPROVED",
            "account_mode": "LIVE",
            "status": "CONNECTED" if found.registered else "DISCONNECTED",
            "is_official_business_account": False,
            "is_pin_enabled": True,
            "whatsapp_business_manager_messaging_limit": "TIER_100K",
            "id": found.phone_number_id,
        },
    )


def _account(call: Call) -> str:
    waba_id = call.parts[0]
    if waba_id not in call.accounts():
        raise unknown_object(waba_id, call.method.lower())
    return waba_id


def _change(call: Call, found: Number, **changes: Any) -> None:
    call.world.commit({"k": "number", "number": asdict(replace(found, **changes))})
