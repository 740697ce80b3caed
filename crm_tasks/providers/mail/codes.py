"""What the codes of mail servers mean, for replies to us and for bounces that come days later: one table.

The enhanced code leads where there is one, as it tells a full mailbox from a message that is too big; else the plain
one. Sources: RFC 5321 (replies), RFC 3463 and the IANA registry "SMTP Enhanced Status Codes" (each row names its RFC
where that is another).
"""

import re
from enum import StrEnum


class Kind(StrEnum):
    """What a no is about, and so what to do."""

    AGAIN = "again"  # a matter of time
    ADDRESS = "address"  # nobody has this address: never write to it again
    DISABLED = "disabled"  # the mailbox is switched off; it may come back, so the second such bounce counts
    FULL = "full"  # the mailbox is full
    SIZE = "size"  # too big for them
    POLICY = "policy"  # taken for spam or refused by a rule: the content or our reputation, not the address
    OURS = "ours"  # our login or our sender's address is wrong: nothing can be sent like this
    MESSAGE = "message"  # this message cannot go; nothing is said about the address


# The last two numbers of X.n.m: (what it is about, what it means)
ENHANCED: dict[str, tuple[Kind, str]] = {
    "1.0": (Kind.ADDRESS, "something is wrong with the address"),
    "1.1": (Kind.ADDRESS, "there is no such mailbox"),
    "1.2": (Kind.ADDRESS, "there is no such mail domain"),
    "1.3": (Kind.ADDRESS, "the address is not written as the server wants it"),
    "1.4": (Kind.ADDRESS, "the address is ambiguous"),
    "1.6": (Kind.ADDRESS, "the mailbox has moved and left no new address"),
    "1.7": (Kind.OURS, "the sender's address is not valid"),
    "1.8": (Kind.OURS, "the sender's domain is not known"),
    "1.9": (Kind.MESSAGE, "passed on to a system that reports nothing"),  # RFC 3886
    "1.10": (Kind.ADDRESS, "the domain takes no mail"),  # RFC 7505
    "2.0": (Kind.MESSAGE, "something is wrong with the mailbox"),
    "2.1": (Kind.DISABLED, "the mailbox is disabled"),
    "2.2": (Kind.FULL, "the mailbox is full"),
    "2.3": (Kind.SIZE, "the message is longer than the mailbox takes"),
    "2.4": (Kind.MESSAGE, "the mailing list could not be expanded"),
    "3.0": (Kind.AGAIN, "something is wrong with their mail system"),
    "3.1": (Kind.AGAIN, "their mail system is full"),
    "3.2": (Kind.AGAIN, "their mail system takes no mail now"),
    "3.3": (Kind.MESSAGE, "their mail system lacks a feature that is needed"),
    "3.4": (Kind.SIZE, "the message is too big for them"),
    "3.5": (Kind.AGAIN, "their mail system is not set up right"),
    "3.6": (Kind.MESSAGE, "the priority was changed"),  # RFC 6710
    "4.0": (Kind.AGAIN, "something is wrong with the network"),
    "4.1": (Kind.AGAIN, "their server does not answer"),
    "4.2": (Kind.AGAIN, "the connection broke"),
    "4.3": (Kind.AGAIN, "a directory did not answer"),
    "4.4": (Kind.ADDRESS, "no way leads to the domain"),
    "4.5": (Kind.AGAIN, "their mail system is congested"),
    "4.6": (Kind.MESSAGE, "the message went in circles"),
    "4.7": (Kind.AGAIN, "the time for delivery ran out"),
    "5.0": (Kind.MESSAGE, "something is wrong with the protocol"),
    "5.1": (Kind.MESSAGE, "a command is not valid there"),
    "5.2": (Kind.MESSAGE, "a command is not understood"),
    "5.3": (Kind.AGAIN, "too many recipients"),
    "5.4": (Kind.MESSAGE, "a command's argument is not valid"),
    "5.5": (Kind.MESSAGE, "the wrong version of the protocol"),
    "5.6": (Kind.MESSAGE, "a line of the login is too long"),  # RFC 4954
    "6.0": (Kind.MESSAGE, "something is wrong with the content"),
    "6.1": (Kind.MESSAGE, "this type of content is not supported"),
    "6.2": (Kind.MESSAGE, "a conversion is needed and forbidden"),
    "6.3": (Kind.MESSAGE, "a conversion is needed and not supported"),
    "6.5": (Kind.MESSAGE, "the conversion failed"),
    "6.6": (Kind.MESSAGE, "the content is not available"),  # RFC 4468
    "6.7": (Kind.MESSAGE, "addresses beyond ASCII are not taken there"),  # RFC 6531
    "7.0": (Kind.POLICY, "refused for a reason of security"),
    "7.1": (Kind.POLICY, "refused by a rule"),
    "7.2": (Kind.POLICY, "writing to this list is not allowed"),
    "7.3": (Kind.POLICY, "a conversion for security is needed and not possible"),
    "7.7": (Kind.POLICY, "the message was changed on its way"),
    "7.8": (Kind.OURS, "the login is not accepted"),  # RFC 4954
    "7.9": (Kind.OURS, "this way to log in is too weak"),  # RFC 4954
    "7.10": (Kind.OURS, "encryption is needed"),  # RFC 5248
    "7.11": (Kind.OURS, "logging in needs encryption"),  # RFC 4954
    "7.12": (Kind.OURS, "the password must be changed first"),  # RFC 4422
    "7.13": (Kind.OURS, "the sender's account is disabled"),  # RFC 5248
    "7.14": (Kind.OURS, "the server does not trust this sender"),  # RFC 5248
    "7.15": (Kind.MESSAGE, "the priority is too low"),  # RFC 6710
    "7.16": (Kind.SIZE, "the message is too big for its priority"),  # RFC 6710
    "7.17": (Kind.ADDRESS, "the mailbox has another owner now"),  # RFC 7293
    "7.18": (Kind.ADDRESS, "the domain has another owner now"),  # RFC 7293
    "7.20": (Kind.POLICY, "no DKIM signature passed"),  # RFC 7372
    "7.21": (Kind.POLICY, "no acceptable DKIM signature"),  # RFC 7372
    "7.22": (Kind.POLICY, "no DKIM signature of the author"),  # RFC 7372
    "7.23": (Kind.POLICY, "SPF failed"),  # RFC 7372
    "7.24": (Kind.POLICY, "SPF could not be checked"),  # RFC 7372
    "7.25": (Kind.POLICY, "the sending server's reverse DNS failed"),  # RFC 7372
    "7.26": (Kind.POLICY, "several checks of the sender failed"),  # RFC 7372
    "7.27": (Kind.OURS, "the sender's domain takes no mail"),  # RFC 7505
    "7.28": (Kind.POLICY, "too much mail at once"),  # IANA
    "7.29": (Kind.POLICY, "ARC failed"),  # RFC 8617
    "7.30": (Kind.MESSAGE, "the way there cannot be encrypted"),  # RFC 8689
}
# RFC 5321 section 4.2.3 unless noted; what they mean for a recipient.
PLAIN: dict[int, tuple[Kind, str]] = {
    521: (Kind.ADDRESS, "their server takes no mail"),  # RFC 7504
    530: (Kind.OURS, "a login is needed"),  # RFC 4954
    534: (Kind.OURS, "this way to log in is too weak"),  # RFC 4954
    535: (Kind.OURS, "the login is not accepted"),  # RFC 4954
    538: (Kind.OURS, "logging in needs encryption"),  # RFC 4954
    550: (Kind.ADDRESS, "there is no such mailbox, or it is not available"),
    551: (Kind.ADDRESS, "the mailbox is not here"),
    552: (Kind.FULL, "the mailbox is full"),
    553: (Kind.ADDRESS, "the address is not allowed"),
    554: (Kind.POLICY, "refused"),
    556: (Kind.ADDRESS, "the domain takes no mail"),  # RFC 7504
}
# What a kind says about the person behind the address.
VERDICTS = {Kind.ADDRESS: "bounced", Kind.DISABLED: "disabled", Kind.FULL: "full"}
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")


def enhanced(text: str) -> str | None:
    """Return the enhanced code that a text begins with, such as `5.1.1`."""
    match = _ENHANCED.match(text.strip())
    return match[0] if match else None


def meaning(code: int, status: str | None) -> tuple[Kind, str]:
    """Return what a permanent no means.

    Args:
        code: the three digits of a reply, or 0 where there is only a status (in a bounce).
        status: the enhanced code, if there is one. X.0.0 says nothing: the plain code decides then.
    """
    _, subject, detail = (status or "5.0.0").split(".")
    if subject != "0":
        found = ENHANCED.get(f"{subject}.{detail}") or ENHANCED.get(f"{subject}.0")
        if found:
            return found
    return PLAIN.get(code, (Kind.MESSAGE, "refused for a reason that is not in our table"))
