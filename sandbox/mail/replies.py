"""What an SMTP server says with each reply code when a fault gives no text of its own."""

WORDS = {
    421: "4.3.2 Service not available, closing transmission channel",
    450: "4.2.0 Greylisted, try again later",
    451: "4.3.0 Local error in processing",
    452: "4.2.2 Insufficient system storage",
    454: "4.7.0 Temporary authentication failure",
    521: "5.3.2 Server does not accept mail",
    530: "5.7.0 Authentication required",
    535: "5.7.8 Authentication credentials invalid",
    550: "5.1.1 No such user here",
    551: "5.1.6 User has moved",
    552: "5.2.2 Mailbox full",
    553: "5.1.3 Mailbox name not allowed",
    554: "5.7.1 Message refused by policy",
}


def words(code: int, text: str | None = None) -> str:
    """Return a whole reply: the code, and the text or the usual words."""
    usual = WORDS.get(code) or ("4.0.0 Try again later" if code < 500 else "5.0.0 The error was ordered")
    return f"{code} {text or usual}"
