"""A real sandbox process, a real receiver of its webhooks, and waiting for facts instead of sleeping."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import requests

from tests.harness import ROOT, eventually, free_ports

NUMBER = "106540352242922"
WABA = "102290129340398"
TOKEN = "sandbox-access-token"
SECRET = "sandbox-app-secret"
CUSTOMER = "+15550001111"
DEADLINE = 10.0


def wait_for(condition: Callable[[], Any], what: str = "the condition", deadline: float = DEADLINE) -> Any:
    """Return the condition's first true value."""
    return eventually(condition, what, deadline)


def free_port() -> int:
    return free_ports(1)[0]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing when the sandbox, tired of waiting, has hung up."""


class Receiver:
    """The web app's place: takes webhooks, remembers them, answers as told."""

    def __init__(self, port: int = 0) -> None:
        self.lock = threading.Lock()
        self.reset()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                requests = outer.requests  # a later test has another list, and wants nothing of this
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay)
                with outer.lock:
                    status = outer.statuses.pop(0) if outer.statuses else outer.status
                    requests.append((dict(self.headers), body, status))
                self._answer(status, b"EVENT_RECEIVED")

            def do_GET(self) -> None:
                query = dict(pair.split("=", 1) for pair in self.path.partition("?")[2].split("&") if "=" in pair)
                good = query.get("hub.verify_token") == outer.verify_token
                self._answer(200 if good else 403, query.get("hub.challenge", "").encode() if good else b"no")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/whatsapp"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self) -> None:
        with self.lock:
            self.requests: list[tuple[dict[str, str], bytes, int]] = []
            self.status, self.statuses, self.delay = 200, [], 0.0
            self.verify_token = "sandbox-verify-token"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def bodies(self) -> list[Any]:
        with self.lock:
            return [orjson.loads(body) for _, body, status in self.requests if status == 200]

    def changes(self, field: str = "messages") -> list[Any]:
        return [
            change["value"]
            for body in self.bodies()
            for entry in body["entry"]
            for change in entry["changes"]
            if change["field"] == field
        ]

    def status_updates(self, message_id: str | None = None) -> list[Any]:
        found = [status for value in self.changes() for status in value.get("statuses", ())]
        return [status for status in found if message_id in (None, status["id"])]

    def names(self, message_id: str) -> list[str]:
        return [status["status"] for status in self.status_updates(message_id)]

    def messages(self) -> list[Any]:
        return [message for value in self.changes() for message in value.get("messages", ())]


class Sandbox:
    """A sandbox process and the requests a test makes to it."""

    def __init__(self, home: Path, webhook_url: str, **env: str) -> None:
        self.home = home
        self.port, self.smtp_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SANDBOX_", "CRM_"))},
            "CRM_HOME": str(home),
            "SANDBOX_PORT": str(self.port),
            "SANDBOX_SMTP_PORT": str(self.smtp_port),
            "SANDBOX_WEBHOOK_URL": webhook_url,
            **env,
        }
        self.session = requests.Session()
        self.session.trust_env = False
        self.start()

    def start(self) -> None:
        self.output = (self.home / "sandbox.out").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox"], cwd=ROOT, env=self.env, stdout=self.output, stderr=subprocess.STDOUT
        )
        wait_for(self.alive, "the sandbox", 20)

    def alive(self) -> bool:
        assert self.process.poll() is None, (self.home / "sandbox.out").read_text()
        try:
            return self.session.get(f"{self.url}/_sandbox/health", timeout=2).ok
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.session.close()

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(timeout=15)
        self.output.close()
        return code

    def graph(self, method: str, path: str, token: str | None = TOKEN, version: str = "v26.0", **kwargs: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= kwargs.pop("headers", {})
        return self.session.request(method, f"{self.url}/{version}/{path}", headers=headers, timeout=20, **kwargs)

    def post(self, body: Any, number: str = NUMBER, **kwargs: Any) -> Any:
        return self.graph("POST", f"{number}/messages", json=body, **kwargs)

    def send(self, to: str = CUSTOMER, body: str = "Hello", **more: Any) -> str:
        """Send a text, or the message `more` describes, and return its id."""
        message = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}, **more}
        if message["type"] != "text":
            del message["text"]
        answer = self.post(message)
        assert answer.status_code == 200, answer.text
        return answer.json()["messages"][0]["id"]

    def control(self, method: str, path: str, json: Any = None, *, status: int = 200) -> Any:
        answer = self.session.request(method, f"{self.url}/_sandbox/{path}", json=json, timeout=70)
        assert answer.status_code == status, answer.text
        return answer.json()

    def fault(self, **rule: Any) -> None:
        self.control("PUT", "faults", [rule])

    def log(self, kind: str = "", **query: Any) -> list[Any]:
        return self.session.get(f"{self.url}/_sandbox/log", params={"kind": kind, **query}).json()["data"]

    def stats(self) -> Any:
        return self.control("GET", "stats")

    def inbound(self, text: str = "Hi", **more: Any) -> str:
        message = {"from": CUSTOMER, "type": "text", "text": {"body": text}, **more}
        return self.control("POST", "inbound?wait=1", message)["id"]

    def quiet(self) -> None:
        """Wait until every webhook has been delivered."""
        wait_for(lambda: self.stats()["webhooks"]["pending"] == 0, "every webhook's delivery")

    def gateway(self, path: str, body: Any, token: str | None = TOKEN, **headers: str) -> Any:
        """Post JSON to a gateway and return the answer."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.session.post(f"{self.url}/{path}", json=body, headers=headers, timeout=20)
