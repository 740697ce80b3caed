"""What axe-core finds wrong with a page for people who do not see it, or cannot use a mouse."""

from importlib import resources
from typing import Any

_SCRIPT = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_GRAVE = ("serious", "critical")
_RUN = "() => axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"


def faults(page: Any) -> list[str]:
    """Return the serious and critical faults of a page, each with the rule, the element and what to do.

    The script is evaluated by the browser's debugger, which no policy of the page stops: the policy stays as it is.
    """
    page.evaluate(_SCRIPT)
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {' '.join(node['failureSummary'].split())}"
        for rule in page.evaluate(_RUN)
        if rule["impact"] in _GRAVE
        for node in rule["nodes"]
    ]
