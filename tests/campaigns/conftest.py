"""What the tests of campaigns share: a business with templates, whose channel points at the sandbox."""

import pytest

from tests.fixtures import Demo, make_demo
from tests.outside import Sandbox
from tests.prove.healthy import open_account
from tests.templates.fetched import fetch


@pytest.fixture
def shop(empty: None, sandbox: Sandbox) -> Demo:
    """A business whose channel points at the sandbox, which sends no statuses unless a test wants them."""
    sandbox.quiet()
    demo = make_demo(base_url=sandbox.url)
    open_account()
    fetch(demo)
    return demo
