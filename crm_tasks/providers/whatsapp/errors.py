"""What WhatsApp's errors mean for the message at hand: one table, by `error.code` and never by the HTTP status.

Each row names its source. A code that is not here is permanent for its message and raises an alert, as repeating what
nobody understands can only do harm. docs/reference/whatsapp-errors.md is made from this table.
"""

from datetime import timedelta
from typing import Any

from crm_tasks.providers.provider import Action, Refusal

R, P, L, S, M, U = Action.RETRY, Action.PAIR, Action.LATER, Action.STOP, Action.MESSAGE, Action.PERSON

# code: (action, what it means, where that is said: see SOURCES)
TABLE: dict[int, tuple[Action, str, str]] = {
    0: (S, "the access token is not accepted", "S1"),
    1: (R, "unknown error or bad request", "S1"),
    2: (R, "the service is down or overloaded", "S1"),
    3: (S, "the app lacks a capability or permission", "S1"),
    4: (R, "the app's call limit is reached", "S1, S3"),
    10: (S, "a permission is missing or was removed", "S1"),
    33: (S, "the business number does not exist any more", "S1"),
    100: (M, "a parameter is not valid", "S1"),
    104: (S, "no access token was sent", "S1"),
    190: (S, "the access token has expired or was revoked", "S1"),
    368: (S, "the account is blocked for breaking a policy", "S1"),
    80007: (R, "the account's rate limit is reached", "S1, S3"),
    80008: (L, "too many management calls on the account", "S1, S3"),
    130403: (U, "the business has blocked this person", "S1"),
    130429: (R, "the number's throughput is reached", "S1, S6"),
    130472: (M, "held back by an experiment on marketing messages", "S1"),
    130497: (U, "the account may not message this country", "S1"),
    131000: (Action.UNKNOWN, "something went wrong", "S1"),
    131005: (S, "access denied", "S1"),
    131008: (M, "a required parameter is missing", "S1"),
    131009: (M, "the value of a parameter is not valid", "S1"),
    131016: (R, "the service is unavailable", "S1"),
    131021: (U, "sender and recipient are the same", "S1"),
    131026: (U, "undeliverable: not on WhatsApp, or unable to receive", "S1"),
    131030: (M, "the recipient is not on the test number's list", "S12"),
    131031: (S, "the account is locked", "S1"),
    131037: (S, "the display name is not approved", "S1"),
    131042: (S, "there is a problem with payment", "S1"),
    131043: (M, "the message expired before it could be delivered", "S12"),
    131045: (S, "the number is not registered", "S1"),
    131047: (M, "the 24-hour window is closed; send a template", "S1, S5"),
    131048: (S, "sending is limited: too many were reported as spam", "S1"),
    131049: (L, "held back to keep the person from too much marketing", "S1, S28"),
    131050: (U, "the person stopped marketing messages", "S1, S28"),
    131051: (M, "this type of message is not supported", "S1"),
    131052: (M, "the media could not be fetched", "S1, S8"),
    131053: (M, "the media could not be uploaded", "S1, S8"),
    131055: (M, "the method is not allowed", "S1"),
    131056: (P, "too many messages to this person in a short time", "S1, S3"),
    131057: (R, "the account is in maintenance", "S1, S6"),
    131062: (M, "this message cannot go to a user id; use the phone number", "S1, S11"),
    131063: (M, "marketing templates are switched off for this API", "S1"),
    131064: (S, "limited for templates in the wrong category", "S1"),
    132000: (M, "the template wants another number of parameters", "S1"),
    132001: (M, "the template does not exist in this language or is not approved", "S1"),
    132005: (M, "the text is too long after substitution", "S1"),
    132007: (M, "the template breaks the content policy", "S1"),
    132012: (M, "a parameter has the wrong format", "S1"),
    132015: (L, "the template is paused", "S1, S20"),
    132016: (M, "the template is disabled", "S1, S20"),
    132018: (M, "the template is not valid", "S1"),
    132068: (M, "the flow is blocked", "S1"),
    132069: (L, "the flow is throttled", "S1"),
    133000: (L, "the number's deregistration is not complete", "S1"),
    133004: (R, "the server is temporarily unavailable", "S1"),
    133005: (M, "the number's PIN is wrong", "S1"),
    133006: (M, "the number must be verified first", "S1"),
    133008: (L, "the number's PIN was guessed too often", "S1"),
    133009: (L, "the number's PIN was guessed too fast", "S1"),
    133010: (S, "the number is not registered", "S1"),
    133015: (R, "the number was just deleted; wait 5 minutes", "S1"),
    133016: (L, "registered or deregistered too often", "S1"),
    134011: (S, "the payment terms are not accepted", "S1"),
    134100: (M, "only marketing templates can go this way", "S1"),
    134101: (R, "the template is being prepared for marketing messages; wait 10 minutes", "S1"),
    134102: (S, "marketing messages are not available to this account", "S1"),
    135000: (M, "the message could not be sent as it is", "S1"),
    2494100: (R, "the number is in maintenance", "S12"),
}

SOURCES = {
    "S1": "Meta, Cloud API, Support: Error codes (2026-09)",
    "S3": "Meta, About the WhatsApp Business Platform: rate limits, pair rate limits (2026-09)",
    "S5": "Meta, Cloud API: Send messages, customer service windows (2026-09)",
    "S6": "Meta, Cloud API: Throughput (2026-09)",
    "S8": "Meta, Cloud API: Media (2026-09)",
    "S11": "Meta, Business-scoped user IDs (2026-05)",
    "S12": "Listed by clients of the API (pywa 4.5), not on Meta's page today",
    "S20": "Meta, Templates: Template pausing, Template quality",
    "S28": "Meta, Marketing templates: limits per user, stop and resume",
}
# Whole ranges: every code of these hundreds.
PERMISSIONS = range(200, 300)
# Codes that say something of the person rather than of the message.
UNREACHABLE, STOPPED_MARKETING = 131026, 131050
WINDOW_CLOSED = 131047
# The template is not what we think it is: unknown there, paused, disabled.
OTHER_TEMPLATE = (132001, 132015, 132016)
# What may go a day later, once.
TOO_MUCH_MARKETING = 131049
# How long the provider says to wait, where it says so.
_WAITS = {133015: timedelta(minutes=5), 134101: timedelta(minutes=10)}
# What stops the number for a while and ends by itself.
_PASSES = {131064: timedelta(hours=24)}


_NEW_KEY = (
    "Make a new access token in Meta's Business settings and give it to "
    "`crm channel rotate-credentials ID --set access_token=@FILE`."
)
_ACCOUNT = "See what Meta asks for in WhatsApp Manager."
# What a person is to do about an error that stops a number; the rest is told by the account's pages.
_REMEDIES = {
    **dict.fromkeys((0, 104, 190), _NEW_KEY),
    **dict.fromkeys(
        (3, 10, 131005), "Give the app the permissions whatsapp_business_messaging and whatsapp_business_management."
    ),
    **dict.fromkeys((131042, 134011), "Settle payment and its terms in the billing pages of WhatsApp Manager."),
    **dict.fromkeys((33, 131045, 133010), "Register the number again with the Cloud API."),
    131048: "Wait until Meta lifts the limit, and write only to people who asked for it.",
}


def refusal(code: int, said: str = "", retry_after: timedelta | None = None) -> Refusal:
    """Return what an error code means; `said` is the provider's own text for codes that we do not know."""
    if code in PERMISSIONS:
        return Refusal(Action.STOP, code, "a permission is missing")
    action, meaning, _ = TABLE.get(code, (Action.MESSAGE, f"an error that is not in our table: {said[:200]}", ""))
    return Refusal(action, code, meaning, retry_after or _WAITS.get(code), _PASSES.get(code))


def is_known(code: Any) -> bool:
    """Say whether the table has this code; ours, of failures without one, are negative."""
    return isinstance(code, int) and (code in TABLE or code in PERMISSIONS or code < 0)


def remedy(code: int) -> str:
    """Return what a person is to do about an error that stops a number."""
    return _REMEDIES.get(10 if 200 <= code <= 299 else code, _ACCOUNT)


def pair_wait(times: int) -> timedelta:
    """Return how long to leave one person alone after the n-th 131056: 4^n seconds, an hour at most."""
    return timedelta(seconds=min(4 ** max(times, 1), 3600))
