"""A real browser for tests of pages, and the one who sits at it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.outside import Site
from tests.webapp.admins import PASSWORD

CHROMIUM = Path("/usr/bin/chromium")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
]
EMAIL = "ann@example.test"
# Where pictures of every page are kept, if somebody wants to look at them.
PICTURES = os.environ.get("ADMIN_PICTURES")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@contextmanager
def watched(chromium: Any, web: Site, look: str = "light", *, but: str = "") -> Iterator[Any]:
    """Open a page that fails for any error on its console, save one with these words, or any request elsewhere."""
    problems: list[str] = []
    opened = chromium.new_page(**LOOKS[look])
    opened.set_default_timeout(20_000)
    opened.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith(web.url) else None)
    yield opened
    opened.close()
    assert [each for each in problems if not but or but not in each] == []


def fill_login(page: Any, web: Site, password: str = PASSWORD) -> None:
    """Send the form of the login."""
    page.goto(f"{web.url}/admin/login")
    page.get_by_label("Email Address").fill(EMAIL)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def enter(page: Any, web: Site) -> None:
    """Log in, and see the home page."""
    fill_login(page, web)
    page.get_by_role("heading", name="Today", exact=True).wait_for()


def settled(page: Any, selector: str) -> None:
    """Wait until a part that was fetched hears what is done to it: htmx listens a moment after it is shown."""
    page.locator(selector).wait_for()
    page.wait_for_function("!document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling, .htmx-added')")


def picture(page: Any, name: str) -> None:
    """Keep a picture of what is shown, if pictures are wanted."""
    if PICTURES:
        page.wait_for_load_state("networkidle")
        # By default Playwright hides the caret and stops animations by a style, which our policy forbids.
        page.screenshot(
            path=f"{PICTURES}/{name.replace(' ', '-')}.png", full_page=True, caret="initial", animations="allow"
        )
