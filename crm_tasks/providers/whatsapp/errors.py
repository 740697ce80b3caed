"""What WhatsApp's errors mean for the message at hand: one table, by `error.code` and never by the HTTP status.

Source of codes and meanings: Meta, "Error codes" of the Cloud API (2026-09). A code that is not here is permanent for
its message and raises an alert, as repeating what nobody understands can only do harm.
"""

from datetime import timedelta

from crm_tasks.providers.provider import Action, Refusal

R, P, L, S, M, U = Action.RETRY, Action.PAIR, Action.LATER, Action.STOP, Action.MESSAGE, Action.PERSON

# code: (action, what it means)
TABLE: dict[int, tuple[Action, str]] = {
    0: (S, "the access token is not accepted"),
    1: (R, "unknown error or bad request"),
    2: (R, "the service is down or overloaded"),
    3: (S, "the app lacks a capability or permission"),
    4: (R, "the app's call limit is reached"),
    10: (S, "a permission is missing or was removed"),
    33: (S, "the business number does not exist any more"),
    100: (M, "a parameter is not valid"),
    104: (S, "no access token was sent"),
    190: (S, "the access token has expired or was revoked"),
    368: (S, "the account is blocked for breaking a policy"),
    80007: (R, "the account's rate limit is reached"),
    130403: (U, "the business has blocked this person"),
    130429: (R, "the number's throughput is reached"),
    130472: (M, "held back by an experiment on marketing messages"),
    130497: (U, "the account may not message this country"),
    131000: (Action.UNKNOWN, "something went wrong"),
    131005: (S, "access denied"),
    131008: (M, "a required parameter is missing"),
    131009: (M, "the value of a parameter is not valid"),
    131016: (R, "the service is unavailable"),
    131021: (U, "sender and recipient are the same"),
    131026: (U, "undeliverable: not on WhatsApp, or unable to receive"),
    131030: (M, "the recipient is not on the test number's list"),
    131031: (S, "the account is locked"),
    131037: (S, "the display name is not approved"),
    131042: (S, "there is a problem with payment"),
    131043: (M, "the message expired before it could be delivered"),
    131045: (S, "the number is not registered"),
    131047: (M, "the 24-hour window is closed; send a template"),
    131048: (S, "sending is limited: too many were reported as spam"),
    131049: (L, "held back to keep the person from too much marketing"),
    131050: (U, "the person stopped marketing messages"),
    131051: (M, "this type of message is not supported"),
    131052: (M, "the media could not be fetched"),
    131053: (M, "the media could not be uploaded"),
    131055: (M, "the method is not allowed"),
    131056: (P, "too many messages to this person in a short time"),
    131057: (R, "the account is in maintenance"),
    131062: (M, "this message cannot go to a user id; use the phone number"),
    131063: (M, "marketing templates are switched off for this API"),
    131064: (S, "limited for templates in the wrong category"),
    132000: (M, "the template wants another number of parameters"),
    132001: (M, "the template does not exist in this language or is not approved"),
    132005: (M, "the text is too long after substitution"),
    132007: (M, "the template breaks the content policy"),
    132012: (M, "a parameter has the wrong format"),
    132015: (L, "the template is paused"),
    132016: (M, "the template is disabled"),
    132018: (M, "the template is not valid"),
    132068: (M, "the flow is blocked"),
    132069: (L, "the flow is throttled"),
    133000: (R, "the number is being deregistered"),
    133004: (R, "the server is temporarily unavailable"),
    133010: (S, "the number is not registered"),
    133015: (R, "the number was just deleted; wait 5 minutes"),
    134011: (S, "the payment terms are not accepted"),
    135000: (M, "the message could not be sent as it is"),
    2494100: (R, "the number is in maintenance"),
}
# Reported of a message that was accepted first: another channel may reach this person.
UNREACHABLE = (131026,)


def refusal(code: int, said: str = "", retry_after: timedelta | None = None) -> Refusal:
    """Return what an error code means; `said` is the provider's own text for codes that we do not know."""
    if 200 <= code <= 299:
        return Refusal(Action.STOP, code, "a permission is missing")
    action, meaning = TABLE.get(code, (Action.MESSAGE, f"an error that is not in our table: {said[:200]}"))
    return Refusal(action, code, meaning, retry_after)


def pair_wait(times: int) -> timedelta:
    """Return how long to leave one person alone after the n-th 131056: 4^n seconds, an hour at most."""
    return timedelta(seconds=min(4 ** max(times, 1), 3600))
