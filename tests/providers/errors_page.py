"""docs/reference/whatsapp-errors.md, made from the table of errors.

`python -m tests.providers.errors_page` writes it anew.
"""

from crm_tasks.providers.provider import Action
from crm_tasks.providers.whatsapp.errors import SOURCES, TABLE
from tests.harness import ROOT

PAGE = ROOT / "docs/reference/whatsapp-errors.md"
ACTIONS = {
    Action.RETRY: "sent again soon, by the attempts and pauses of the queue `messages`, or after the time that the "
    "provider names (5 minutes for 133015, 10 for 134101)",
    Action.PAIR: "this one conversation waits 4^n seconds after the n-th refusal, an hour at most; others go on",
    Action.LATER: "put off for 24 hours once; refused again, it has failed for good",
    Action.STOP: "the number is held (`crm hold list`) and its messages wait; a person ends the hold once the cause is "
    "gone (that of 131064 ends by itself after 24 hours)",
    Action.MESSAGE: "the message has failed for good",
    Action.PERSON: "the message has failed for good, and nothing else would reach this person either. 131026 marks the "
    "person unreachable until the person writes; 131050 puts the person on the suppression list for marketing",
    Action.UNKNOWN: "it may have been sent: a status webhook, the channel's policy or a person decides",
}
HEAD = """# WhatsApp's errors, and what becomes of the message

By `error.code` of an answer, never by its HTTP status. The same codes come later in `statuses[].errors[]`, when a
message that was accepted has failed: then it stays failed, with the code in `error`, and the marks of 131026 and 131050
are set all the same.

A code that is not in the table is permanent for its message; it is logged as an error (`whatsapp.unknown_code`) with
the provider's own words, so that a row can be added. Made from `crm_tasks/providers/whatsapp/errors.py` by
`python -m tests.providers.errors_page`.
"""


def page() -> str:
    """Return the page."""
    lines = [HEAD, "## What is done", "", "| action | meaning |", "|---|---|"]
    lines += [f"| `{action}` | {text} |" for action, text in ACTIONS.items()]
    lines += ["", "## The codes", "", "| code | meaning | action | source |", "|---|---|---|---|"]
    rows = {str(code): row for code, row in TABLE.items() if code < 200}
    rows["200–299"] = (Action.STOP, "a permission is missing", "S1")
    rows |= {str(code): row for code, row in TABLE.items() if code > 299}
    lines += [f"| {code} | {meaning} | `{action}` | {source} |" for code, (action, meaning, source) in rows.items()]
    lines += ["", "## Sources", "", *(f"- **{name}** {text}" for name, text in SOURCES.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
