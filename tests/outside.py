"""The simulated outside world as a test steers it, and the web app as the outside world sees it."""

from typing import Any

import orjson
import requests

from tests.harness import Program, eventually


class Site:
    """A server of ours under test."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self.url = program, f"http://127.0.0.1:{port}"
        self.http = requests.Session()
        self.http.trust_env = False

    def start(self, path: str) -> None:
        """Start it and wait until it answers."""
        self.program.start()
        eventually(lambda: self._answers(path), f"{self.program.name} answers", 30)

    def _answers(self, path: str) -> bool:
        assert self.program.popen is not None
        assert self.program.popen.poll() is None, self.program.said()[-3000:]
        try:
            return self.http.get(self.url + path, timeout=2).ok
        except requests.RequestException:
            return False


class Sandbox(Site):
    """The sandbox: what it received, and what it is told to do."""

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call `/_sandbox/…` and return what it says."""
        answer = self.http.request(method, f"{self.url}/_sandbox/{path}", json=body, timeout=70)
        assert answer.status_code < 300, answer.text
        return orjson.loads(answer.content)

    def empty(self) -> None:
        """Forget everything; statuses come at once and say no more than `delivered`."""
        self.control("DELETE", "state")
        self.control("PUT", "limits", {"statuses": {"sent_ms": 0, "delivered_ms": 20, "auto_read": False}})

    def quiet(self) -> None:
        """Send no statuses."""
        self.faults({"kind": "message", "statuses": "none"})

    def faults(self, *rules: dict[str, Any]) -> None:
        """Replace the rules."""
        self.control("PUT", "faults", list(rules))

    def log(self, kind: str, **query: Any) -> list[dict[str, Any]]:
        """Return everything of a kind that it received, the oldest first."""
        answer = self.http.get(f"{self.url}/_sandbox/log", params={"kind": kind, **query}, timeout=10)
        return orjson.loads(answer.content)["data"]

    def sends(self, text: str | None = None) -> list[dict[str, Any]]:
        """Return the requests to send a message, all or those of one text."""
        return [entry for entry in self.log("message") if text is None or _text(entry) == text]

    def texts(self) -> list[str | None]:
        """Return the texts that it received, in order."""
        return [_text(entry) for entry in self.log("message")]


def _text(entry: dict[str, Any]) -> str | None:
    body = entry["body"]
    return (body.get("text") or {}).get("body") if isinstance(body, dict) else None
