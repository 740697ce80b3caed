"""Graph API errors: the codes clients switch on, with the HTTP status and the words that go with them."""

from typing import Any

from sandbox.ids import trace_id

HREF = "/documentation/business-messaging/whatsapp/support/error-codes"
OAUTH = "OAuthException"

# code: (HTTP status, title, what it means)
CODES: dict[int, tuple[int, str, str]] = {
    0: (401, "AuthException", "We could not authenticate the app user."),
    1: (400, "API Unknown", "The request could not be understood."),
    2: (503, "API Service", "The service is down or overloaded."),
    3: (500, "API Method", "The app lacks the capability or permission for this call."),
    4: (429, "API Too Many Calls", "The app has reached its call rate limit."),
    10: (403, "Permission Denied", "The permission is not granted or was removed."),
    33: (400, "Parameter value is not valid", "The business phone number was deleted."),
    100: (400, "Invalid parameter", "The request has one or more unsupported or misspelled parameters."),
    190: (401, "Access token has expired", "The access token is not valid."),
    368: (403, "Temporarily blocked for policies violations", "The account is restricted for a policy violation."),
    2500: (400, "Unknown path components", "The path does not exist."),
    80007: (429, "Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
    130403: (400, "User is blocked", "Your business blocked this user. Unblock them first."),
    130429: (429, "Rate limit hit", "Cloud API message throughput has been reached."),
    130472: (400, "User's number is part of an experiment", "The message was not sent as part of an experiment."),
    130497: (403, "Business account is restricted from messaging users in this country", "The country is restricted."),
    131000: (500, "Something went wrong", "The message failed to send because of an unknown error."),
    131005: (403, "Access denied", "The permission is not granted or was removed."),
    131008: (400, "Required parameter is missing", "The request is missing a required parameter."),
    131009: (400, "Parameter value is not valid", "One or more parameter values are invalid."),
    131016: (500, "Service unavailable", "A service is temporarily unavailable."),
    131021: (400, "Recipient cannot be sender", "Sender and recipient phone number are the same."),
    131026: (400, "Message undeliverable", "The message cannot be delivered to this recipient."),
    131031: (403, "Account has been locked", "The account is restricted or disabled."),
    131037: (400, "Display name approval needed", "The number needs an approved display name before it can send."),
    131042: (400, "Business eligibility payment issue", "There is a problem with the payment method."),
    131045: (500, "Incorrect certificate", "The message failed because of a phone number registration error."),
    131047: (400, "Re-engagement message", "More than 24 hours have passed since the customer last wrote."),
    131048: (429, "Spam rate limit hit", "Too many earlier messages were blocked or flagged as spam."),
    131049: (
        400,
        "This message was not delivered to maintain healthy ecosystem engagement.",
        "The message was held back to maintain healthy ecosystem engagement.",
    ),
    131050: (400, "User stopped marketing messages", "The user chose to stop marketing messages from your business."),
    131051: (400, "Unsupported message type", "The message type is not supported."),
    131052: (400, "Media download error", "The media the user sent cannot be downloaded."),
    131053: (400, "Media upload error", "The media of the message cannot be used."),
    131055: (400, "Method not allowed", "The call is not allowed for this kind of message."),
    131056: (429, "(Business Account, Consumer Account) pair rate limit hit", "Too many messages to the same user."),
    131057: (500, "Account in maintenance mode", "The number is in maintenance."),
    131062: (400, "Business-scoped user id not allowed", "The message needs the recipient's phone number."),
    132000: (400, "Template param count mismatch", "The number of parameters does not match the template."),
    132001: (404, "Template does not exist", "The template does not exist in this language or is not approved."),
    132005: (400, "Template hydrated text too long", "The text is too long once the parameters are filled in."),
    132007: (400, "Template format character policy violated", "The template content violates a policy."),
    132012: (400, "Template parameter format mismatch", "A parameter has not the format the template asks for."),
    132015: (400, "Template is paused", "The template is paused for low quality and cannot be sent."),
    132016: (400, "Template is disabled", "The template was paused too often and is disabled for good."),
    133004: (503, "Server temporarily unavailable", "The server is temporarily unavailable."),
    133010: (400, "Phone number not registered", "The phone number is not registered."),
}


class GraphError(Exception):
    """An error answer of the Graph API."""

    def __init__(
        self,
        code: int,
        details: str | None = None,
        *,
        message: str | None = None,
        kind: str = OAUTH,
        subcode: int | None = None,
        status: int | None = None,
        limit: str | None = None,
    ) -> None:
        super().__init__(code, details, message)
        self.code = code
        self.details = details
        self.kind = kind
        self.subcode = subcode
        self.limit = limit
        self.status = status or CODES.get(code, (400,))[0]
        self.message = message or f"(#{code}) {CODES[code][1] if code in CODES else 'Unknown error'}"

    def body(self) -> dict[str, Any]:
        """Return the JSON answer."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "code": self.code}
        if self.details is not None:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        error["fbtrace_id"] = trace_id()
        return {"error": error}


def coded(code: int, status: int | None = None) -> GraphError:
    """Return an error with the words its code usually comes with."""
    return GraphError(code, CODES[code][2] if code in CODES else "The error was ordered.", status=status)


def unknown_object(name: str, verb: str = "post") -> GraphError:
    """Return the error for an id that does not exist or belongs to somebody else."""
    return GraphError(
        100,
        message=f"Unsupported {verb} request. Object with ID '{name}' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation.",
        kind="GraphMethodException",
        subcode=33,
    )


def unknown_path(path: str) -> GraphError:
    """Return the error for a path nothing answers on."""
    return GraphError(2500, message=f"Unknown path components: /{path.strip('/')}")


def status_error(code: int) -> dict[str, Any]:
    """Return the `errors` item of a failed status."""
    title, details = CODES[code][1:] if code in CODES else ("Unknown error", "The error was ordered.")
    return {"code": code, "title": title, "message": title, "error_data": {"details": details}, "href": HREF}
