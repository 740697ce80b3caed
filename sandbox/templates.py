"""Message templates, kept per business account. Only an approved one can be sent."""

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from zlib import crc32

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.seeds import SEEDS

QUALITY_SINCE = 1_790_000_000
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(slots=True)
class Template:
    """One template in one language. A pending one is reviewed when `review_at` has come."""

    id: str
    waba_id: str
    name: str
    language: str
    category: str
    components: list[Json]
    parameter_format: str = "POSITIONAL"
    verdict: str = "APPROVED"
    review_at: float = 0
    rejected_reason: str = "NONE"
    quality: str = "UNKNOWN"
    more: Json = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Its state now."""
        return self.verdict if time.time() >= self.review_at else "PENDING"

    @property
    def named(self) -> bool:
        """Whether its parameters go by name."""
        return self.parameter_format.upper() == "NAMED"

    def part(self, kind: str) -> Json | None:
        """Return a component, or None."""
        return next((part for part in self.components if str(part.get("type", "")).upper() == kind), None)

    @property
    def buttons(self) -> list[Json]:
        """Its buttons."""
        return (self.part("BUTTONS") or {}).get("buttons") or []

    def public(self) -> Json:
        """Return the template as the Graph API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "components": self.components,
            "parameter_format": self.parameter_format,
            "rejected_reason": self.rejected_reason if self.status == "REJECTED" else "NONE",
            "quality_score": {"score": self.quality, "date": QUALITY_SINCE},
        } | self.more


class Templates:
    """All templates; an account gets its first ones when it is first asked for."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[str, Template]] = {}
        self._by_name: dict[tuple[str, str, str], Template] = {}
        self._by_id: dict[str, Template] = {}

    def of(self, waba_id: str) -> list[Template]:
        """Return the templates of an account."""
        return list(self._account(waba_id).values())

    def get(self, template_id: str) -> Template | None:
        """Return a template by id, or None."""
        return self._by_id.get(template_id)

    def find(self, waba_id: str, name: str, language: str) -> Template | None:
        """Return a template by name and language, or None."""
        self._account(waba_id)
        return self._by_name.get((waba_id, name, language))

    def sendable(self, waba_id: str, name: str, language: str) -> Template:
        """Return a template that may be sent, or raise the error Meta gives."""
        found = self.find(waba_id, name, language)
        if found is None:
            raise GraphError(132001, f"template name ({name}) does not exist in {language}")
        if found.status == "PAUSED":
            raise GraphError(132015, f"template name ({name}) is paused")
        if found.status == "DISABLED":
            raise GraphError(132016, f"template name ({name}) is disabled")
        if found.status != "APPROVED":
            raise GraphError(132001, f"template name ({name}) is not approved in {language}: {found.status}")
        return found

    def put(self, event: Json) -> None:
        """Apply a `template` event: add or replace one."""
        template = Template(**event["template"])
        self._account(template.waba_id)
        self._add(template)

    def remove(self, event: Json) -> None:
        """Apply a `template_gone` event."""
        self._account(event["waba"])
        template = self._by_id.pop(event["id"], None)
        if template is not None:
            del self._accounts[template.waba_id][template.id]
            del self._by_name[template.waba_id, template.name, template.language]

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every template back."""
        for waba_id, templates in self._accounts.items():
            for seed in _seeds(waba_id):
                if seed.id not in templates:
                    yield {"k": "template_gone", "waba": waba_id, "id": seed.id}
            for template in templates.values():
                yield {"k": "template", "template": asdict(template)}

    def _account(self, waba_id: str) -> dict[str, Template]:
        account = self._accounts.get(waba_id)
        if account is None:
            account = self._accounts[waba_id] = {}
            for seed in _seeds(waba_id):
                self._add(seed)
        return account

    def _add(self, template: Template) -> None:
        self._accounts[template.waba_id][template.id] = template
        self._by_name[template.waba_id, template.name, template.language] = template
        self._by_id[template.id] = template


def variables(text: str) -> list[str]:
    """Return the placeholders of a text, each once, in order."""
    return list(dict.fromkeys(_VARIABLE.findall(text)))


def filled(text: str, values: dict[str, str]) -> str:
    """Return a text with its placeholders replaced."""
    return _VARIABLE.sub(lambda found: values.get(found.group(1), found.group()), text)


def _seeds(waba_id: str) -> Iterator[Template]:
    for facts in SEEDS:
        key = f"{waba_id}/{facts['name']}/{facts['language']}"
        yield Template(
            id=str(10**15 + crc32(key.encode())),
            waba_id=waba_id,
            name=facts["name"],
            language=facts["language"],
            category=facts["category"],
            components=facts["components"],
            parameter_format=facts["parameter_format"],
            verdict=facts["status"],
            rejected_reason=facts.get("rejected_reason", "NONE"),
            quality="GREEN" if facts["status"] == "APPROVED" else "UNKNOWN",
        )
