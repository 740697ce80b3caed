"""What gateways tell their customers: receipts, statuses and inbound texts, each a signed request of its own.

Requests with the same `key` are about the same message and go out in order.
"""

import hashlib
import hmac
from base64 import b64encode
from urllib.parse import urlencode, urlsplit

import orjson

from sandbox.fields import Json

AGENT = "sandbox-gateway"
_FACTS = ("uid", "due", "kind", "key", "url", "fields")


class Callback:
    """One request to a callback address. `kind` names the gateway, and with it the secret and the manner."""

    __slots__ = (*_FACTS, "num")

    def __init__(self, facts: Json) -> None:
        self.uid: int = facts["uid"]
        self.due: float = facts["due"]
        self.kind: str = facts["kind"]
        self.key: str = facts["key"]
        self.url: str = facts["url"]
        self.fields: Json = facts["fields"]
        self.num = f"callbacks of {self.kind} to {urlsplit(self.url).netloc}"

    def event(self) -> Json:
        """Return the event that brings it back."""
        return {"k": "callback", **{key: getattr(self, key) for key in _FACTS}}

    def request(self, secret: str) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers: a signed form in Twilio's manner, else signed JSON."""
        if self.kind == "twilio":
            form = {key: str(value) for key, value in self.fields.items()}
            headers = {"X-Twilio-Signature": twilio_signature(secret, self.url, form)}
            headers |= {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "TwilioProxy"}
            return urlencode(form).encode(), headers
        body = orjson.dumps(self.fields)
        signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return body, {"Content-Type": "application/json", "X-Signature-256": signed, "User-Agent": AGENT}


def twilio_signature(token: str, url: str, form: dict[str, str]) -> str:
    """Return the value of `X-Twilio-Signature`: over the exact URL and the fields in the order of their names."""
    text = url + "".join(name + form[name] for name in sorted(form))
    return b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()
