"""What a failure run knows in the end."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """Options, kills, figures; and what contradicts each sentence, when all was quiet and at the very end."""

    options: dict[str, Any]
    kills: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)
    last: dict[str, list[str]] = field(default_factory=dict)
    complaints: dict[str, dict[str, int]] = field(default_factory=dict)
    crm_prove: str = ""
    holds: bool = False
