"""A business whose channel points at the sandbox."""

import pytest

from tests.fixtures import Demo, make_demo
from tests.outside import Sandbox
from tests.webapp.conftest import api, forgetful, operator, other, stranger

__all__ = ["api", "forgetful", "operator", "other", "stranger"]


@pytest.fixture
def demo(empty: None, sandbox: Sandbox) -> Demo:
    """A business whose channel points at the sandbox, which sends no statuses unless a test wants them."""
    sandbox.quiet()
    return make_demo(base_url=sandbox.url)
