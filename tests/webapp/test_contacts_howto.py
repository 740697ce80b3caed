"""docs/howto/contacts.md: every call in it works as it stands there, and its tables name what there is."""

import json
import re
import shlex
from typing import Any

from crm_tasks.contacts.conditions import FIELDS, OPERATORS, Kind
from tests.harness import ROOT
from tests.webapp.api import Api

TEXT = (ROOT / "docs/howto/contacts.md").read_text()


def calls() -> list[tuple[str, str, Any]]:
    """Return method, path and body of each call, in their order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL):
        for line in re.split(r"^\$ ", block, flags=re.MULTILINE):
            if not line.startswith("crmcurl"):
                continue
            words = shlex.split(line)
            options = dict(zip(words[2::2], words[3::2], strict=True))
            body = options.get("-d")
            method = options.get("-X") or ("POST" if body else "GET")
            found.append((method, words[1].removeprefix("$URL/api/v1"), body))
    return found


def test_every_call_works_as_it_stands_there(api: Api) -> None:
    known: dict[str, str] = {}
    made = {"/contacts": "$CONTACT", "/segments": "$SEGMENT", "/bulk": "$BULK"}
    found = calls()
    assert len(found) >= 18
    for method, path, body in found:
        for name, value in known.items():
            path, body = path.replace(name, value), body and body.replace(name, value)
        if path.endswith("?erase=true"):
            again = api.post("/contacts", {"name": "Ann", "phone": "+14155550111"}).get_json()["id"]
            path = f"/contacts/{again}?erase=true"
        answer = api._call(method, path, {"json": json.loads(body)} if body else {})
        assert answer.status_code < 300, (method, path, answer.get_data(as_text=True))
        if method == "POST" and path in made:
            known[made[path]] = answer.get_json()["id"]
        if path.endswith("?erase=true"):
            known["$ERASURE"] = answer.get_json()["id"]


def test_every_field_and_operator_is_named() -> None:
    table = TEXT[TEXT.index("| field | operators |") : TEXT.index("## One action")]
    for field in FIELDS:
        assert f"`{field}`" in table, field
    for kind in Kind:
        for op in OPERATORS[kind]:
            assert f"`{op}`" in table, op
