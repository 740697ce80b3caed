"""What the tests of the command line share."""

import pytest

from crm_tasks.cli import shown


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which nothing is folded."""
    monkeypatch.setattr(shown.console, "width", 300)
