"""What marketers and operators do with campaigns and dead letters, in a real browser, while real workers work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.audience import attribute, counts, people
from tests.campaigns.pumping import received, set_channel
from tests.core.ledger import NOTE, execute, lines, states
from tests.fixtures import Demo
from tests.harness import Program, beat, eventually, worker
from tests.outside import Sandbox, Site
from tests.prove.healthy import open_account
from tests.templates.fetched import fetch
from tests.webapp import axe
from tests.webapp.admins import person
from tests.webapp.browsing import EMAIL, MARKS, enter, picture
from tests.webapp.dead import dead

pytestmark = MARKS
Start = Callable[[Program], Program]
# So many people, so many a second: slow enough to be paused, and to be looked at.
PEOPLE, RATE = 60, 12
LONG = 60_000


@pytest.fixture
def shop(demo: Demo, sandbox: Sandbox) -> Demo:
    """A business with customers and a slow channel at the sandbox, and somebody who may do everything."""
    sandbox.quiet()
    execute("UPDATE channels SET base_url = :url", url=sandbox.url)
    open_account()
    fetch(demo)
    attribute(demo, "city")
    people(demo, PEOPLE, tags=["spring"])
    people(demo, 3, prefix="+1415666")
    set_channel(demo, per_second=RATE)
    person(EMAIL, operator=True)
    return demo


@pytest.fixture
def at_work(start: Start, tmp_path: Path) -> Callable[[], None]:
    """Let workers and a scheduler begin."""

    def begin() -> None:
        start(worker(tmp_path, "messages", "campaigns", "notifications", include="tests.tasks"))
        start(beat(tmp_path))

    return begin


@pytest.mark.parametrize("look", ["light"])
def test_a_campaign_from_the_form_to_its_end_paused_on_the_way(
    page: Any, web: Site, shop: Demo, sandbox: Sandbox, at_work: Callable[[], None], look: str
) -> None:
    at_work()
    enter(page, web)
    page.get_by_role("link", name="Campaigns", exact=True).click()
    page.get_by_role("link", name="New campaign").click()
    page.get_by_text(f"{PEOPLE + 3} people").wait_for()
    page.get_by_label("Who has any of these tags").check()
    page.get_by_label("Tags, separated by commas").fill("spring")
    page.get_by_text(f"{PEOPLE} people").wait_for()
    page.get_by_role("button", name="Next: what").click()

    page.get_by_label("Template", exact=True).select_option(label="spring_sale · en_US · marketing")
    page.get_by_label("Header {{1}}").select_option(label="The person's name")
    page.get_by_label("Body {{1}}").select_option(label="The person's city")
    page.get_by_text("No city is known of this person").wait_for()
    page.locator("#body-1").fill("20 %")
    page.get_by_text("Take 20 % off everything").wait_for()
    page.get_by_text("Spring is here, Person 0!").wait_for()
    page.get_by_role("button", name="Somebody else").click()
    page.get_by_text("Spring is here, Person 1!").wait_for()
    assert not axe.faults(page)
    picture(page, f"campaign-what-{look}")
    page.get_by_role("button", name="Next: when").click()
    assert not axe.faults(page)
    page.get_by_label("Name, which only people here see").fill("Spring")
    page.get_by_label("Name, which only people here see").press("Enter")

    # The page comes to the result of the rehearsal without anybody touching it.
    page.locator("#will-be-sent", has_text=str(PEOPLE)).wait_for(timeout=LONG)
    assert page.get_by_text("Take 20 % off everything").count() == 5
    assert not axe.faults(page)
    picture(page, f"campaign-rehearsed-{look}")
    page.get_by_text("Start", exact=True).click()
    page.get_by_role("button", name=f"Send to {PEOPLE} people").click()
    page.get_by_text("Cancel", exact=True).click()
    eventually(lambda: len(received(sandbox)) > RATE, "some have it", LONG / 1000)
    # What was opened stays open while the page is refreshed.
    assert page.get_by_role("button", name="Cancel it").is_visible()
    page.get_by_text("Cancel", exact=True).click()
    page.get_by_role("button", name="Pause").click()
    page.locator("#state", has_text="paused").wait_for()
    ((mine,),) = execute("SELECT id FROM campaigns")
    eventually(lambda: not execute("SELECT 1 FROM messages WHERE state = 'sending'"), "all quiet", LONG / 1000)
    some = counts(mine)["accepted"]
    assert RATE <= some < PEOPLE
    page.locator("#funnel-accepted", has_text=str(some)).wait_for(timeout=LONG)
    assert not axe.faults(page)
    picture(page, f"campaign-paused-{look}")
    page.get_by_role("button", name="Resume").click()
    page.locator("#state", has_text="finished").wait_for(timeout=LONG)
    assert page.locator("#funnel-accepted").inner_text() == str(PEOPLE)
    assert len(received(sandbox)) == PEOPLE
    page.get_by_role("link", name="accepted").click()
    page.get_by_role("heading", name="Recipients").wait_for()
    assert page.locator("tbody tr").count() == 50


@pytest.mark.parametrize("look", ["light"])
def test_a_cause_is_retried_by_five_and_then_all_at_a_rate(
    page: Any, web: Site, shop: Demo, at_work: Callable[[], None], tmp_path: Path, look: str
) -> None:
    note = tmp_path / "notes"
    how = {"task": NOTE, "args": {"path": str(note)}, "workspace_id": shop.workspace_id}
    ids = [dead("the provider was away", **how) for _ in range(9)]
    at_work()
    enter(page, web)
    page.get_by_role("link", name="9 dead letters").click()
    page.get_by_role("link", name="test", exact=True).click()
    page.get_by_role("button", name="Retry five").click()
    page.get_by_text("All came right: retry the rest.").wait_for(timeout=LONG)
    assert len(lines(note)) == 5
    picture(page, f"dead-canary-{look}")
    page.get_by_text("Retry all 4").click()
    page.get_by_label("At most so many a minute").fill("60")
    page.get_by_role("button", name="Retry all", exact=True).click()
    page.get_by_text("0 wait for a decision").wait_for()
    eventually(lambda: states(ids)["succeeded"] == 9, "all of them", LONG / 1000)
    assert len(lines(note)) == 9
    # One a second: the last of four did not go before three seconds had passed.
    ((spread,),) = execute(
        "SELECT extract(epoch FROM max(run_at) - min(run_at)) FROM "
        "(SELECT run_at FROM jobs WHERE task = :task ORDER BY run_at DESC LIMIT 4) AS latest",
        task=NOTE,
    )
    assert round(spread) == 3
