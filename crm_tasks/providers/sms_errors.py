"""What the errors of SMS mean for the message and its person: Twilio's numbers, which others use as well.

Source: Twilio, "Error and warning dictionary" (twilio.com/docs/api/errors/<code>). Those from 30001 on come later, in a
callback, as the message was accepted first.
"""

from crm_tasks.providers.provider import Action

R, S, M, P = Action.RETRY, Action.STOP, Action.MESSAGE, Action.PERSON

# code: (action, what it means)
TABLE: dict[int, tuple[Action, str]] = {
    20003: (S, "the account's credentials are not accepted"),
    20005: (S, "the account is not active"),
    20404: (S, "there is no such account"),
    20429: (R, "too many requests at once"),
    21211: (P, "this is not a valid phone number"),
    21212: (S, "the sender is not a valid number"),
    21214: (P, "this number cannot be reached"),
    21408: (P, "sending to this country is not enabled"),
    21602: (M, "there is no text"),
    21603: (S, "there is no sender"),
    21604: (M, "there is no recipient"),
    21605: (M, "the text is too long"),
    21606: (S, "the sender cannot send SMS"),
    21608: (P, "a trial account may only write to verified numbers"),
    21609: (S, "the address for callbacks is not valid: see PUBLIC_URL"),
    21610: (P, "the person has unsubscribed"),
    21611: (R, "too many messages wait for this sender"),
    21612: (P, "this number cannot be reached from this sender"),
    21614: (P, "this is not a mobile number"),
    21617: (M, "the text is too long"),
    21703: (S, "the messaging service has no sender"),
    30001: (M, "the provider's queue was full"),
    30002: (M, "the account was suspended"),
    30003: (P, "the phone is off or cannot be reached"),
    30004: (P, "the person or the network blocks this sender"),
    30005: (P, "the number is unknown, and may not exist any more"),
    30006: (P, "a landline, or a network that cannot be reached"),
    30007: (M, "filtered as unwanted by the network or the provider"),
    30008: (M, "the network does not say why"),
    30034: (M, "the sender is not registered for this traffic"),
}
UNSUBSCRIBED = 21610


def meaning(code: int) -> str:
    """Return what an error means, in words."""
    return TABLE[code][1] if code in TABLE else "an error that is not in our table"


def verdict(code: int) -> str | None:
    """Return what an error says about the person, as in `provider.Report`."""
    if code == UNSUBSCRIBED:
        return "unsubscribed"
    return "unreachable" if code in TABLE and TABLE[code][0] is P else None
