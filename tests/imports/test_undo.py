"""Stopping and taking back: an undo leaves what was there before, but for who has talked or was changed since."""

from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.contacts.models import Contact
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.imports import ids, running, undo
from crm_tasks.imports.models import Import, ImportPart
from tests.fixtures import Demo
from tests.imports.files import PEOPLE, accepted, contact, digest, files, imported, seen, totals, undone
from tests.messages.apply import one, rows, wrote
from tests.webapp.api import Api, error
from tests.webhooks.hooks import work_off

MAPPING = (
    '{"name": "name", "phone": "phone", "email": "email", "tags": "tags", "id": "external_id", '
    '"city": "attribute:city", "zone": "time_zone", "ok": "opt_in"}'
)
HEAD = "name,phone,email,tags,id,city,zone,ok\n"
BEFORE = HEAD + "".join(f"Person {n},+1415555{n:04d},p{n}@example.com,old,ID{n},Rome,,\n" for n in range(40))
AFTER = HEAD + "".join(
    f"New {n},+1415555{n:04d},new{n}@example.com,new,N{n},Paris,Europe/Paris,yes\n" for n in range(20, 70)
)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches, also of a small file."""
    monkeypatch.setattr(running, "BATCH", 15)
    monkeypatch.setattr(undo, "BATCH", 7)


@pytest.mark.parametrize("duplicates", ["skip", "update", "merge"])
def test_an_undo_puts_everything_back(api: Api, duplicates: str) -> None:
    imported(api, BEFORE, mapping=MAPPING)
    before = digest()
    done = imported(api, AFTER, mapping=MAPPING, duplicates=duplicates)
    assert totals(done) == ((30, 0, 20, 0) if duplicates == "skip" else (30, 20, 0, 0))
    assert digest() != before
    restored = 0 if duplicates == "skip" else 20
    assert undone(api, done["id"]) == {"removed": 30, "restored": restored, "kept": 0}
    assert digest() == before
    assert error(api.post(f"/imports/{done['id']}/undo"))["code"] == "import_not_over"


def test_who_has_talked_since_is_kept_and_reported(demo: Demo, api: Api) -> None:
    done = imported(api, PEOPLE)
    with db.transaction() as session:
        wrote(session, demo, "+14155550123")
    assert undone(api, done["id"]) == {"removed": 2, "restored": 0, "kept": 1}
    assert [each.name for each in rows(Contact)] == ["Ben"]


def test_what_somebody_has_changed_since_is_left(api: Api) -> None:
    imported(api, BEFORE, mapping=MAPPING)
    done = imported(api, AFTER, mapping=MAPPING, duplicates="update")
    with db.transaction() as session:
        session.execute(sa.update(Contact).where(Contact.name == "New 20").values(name="Edited"))
    assert undone(api, done["id"]) == {"removed": 30, "restored": 19, "kept": 1}
    edited = contact("+14155550020")
    assert (edited.name, edited.tags, edited.external_id, edited.time_zone) == ("Edited", ["old"], "ID20", None)


def test_an_undo_that_was_cut_off_goes_on(api: Api) -> None:
    imported(api, BEFORE, mapping=MAPPING)
    before = digest()
    done = imported(api, AFTER, mapping=MAPPING, duplicates="update")
    assert api.post(f"/imports/{done['id']}/undo").status_code == 202
    for _ in range(3):
        assert db.retrying(undo.step, one(Import, Import.id == done["id"]).id)
    work_off()
    assert seen(api, done["id"])["undone"] == {"removed": 30, "restored": 20, "kept": 0}
    assert digest() == before


def test_a_cancelled_import_can_be_undone(api: Api) -> None:
    before = digest()
    import_id = accepted(api, AFTER, mapping=MAPPING)
    stop_after(import_id, batches=2)
    cancelled = api.post(f"/imports/{import_id}/cancel").get_json()
    assert (cancelled["state"], cancelled["totals"]["created"]) == ("cancelled", 30)
    work_off()
    assert seen(api, import_id)["totals"] == cancelled["totals"]
    assert len(rows(Contact)) == 30
    assert [job.state for job in rows(Job, Job.task == "imports.run")] == ["cancelled"]
    assert files() == []
    assert error(api.post(f"/imports/{import_id}/cancel"))["code"] == "import_over"
    assert undone(api, import_id)["removed"] == 30
    assert digest() == before


def test_an_import_that_waits_is_cancelled_before_it_begins(api: Api) -> None:
    import_id = accepted(api, PEOPLE)
    assert api.post(f"/imports/{import_id}/cancel").get_json()["state"] == "cancelled"
    work_off()
    assert (rows(Contact), files()) == ([], [])


def test_an_import_is_in_step_with_its_job(api: Api) -> None:
    import_id = accepted(api, PEOPLE)
    job = one(Job, Job.task == "imports.run")
    assert api.post(f"/jobs/{job.id}/cancel", {"reason": "not now"}).status_code == 200
    assert seen(api, import_id)["state"] == "cancelled"


def test_a_dead_job_fails_its_import_and_goes_on_when_it_is_retried(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import_id = accepted(api, AFTER, mapping=MAPPING)
    real = running._settle

    def fails(order: Any, batch: Any, *more: Any, **options: Any) -> None:
        if batch.number == 2:
            raise ZeroDivisionError("a bug")
        real(order, batch, *more, **options)

    monkeypatch.setattr(running, "_settle", fails)
    work_off()
    shown = seen(api, import_id)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "ZeroDivisionError")
    # Of the third batch both parts are there already, and are not made again.
    assert (shown["totals"]["created"], len(rows(Contact))) == (45, 45)
    monkeypatch.setattr(running, "_settle", real)
    job = one(Job, Job.task == "imports.run")
    assert api.post(f"/jobs/{job.id}/retry").status_code in (200, 202)
    work_off()
    shown = seen(api, import_id)
    assert (shown["state"], totals(shown), shown["error"]) == ("finished", (50, 0, 0, 0), None)
    assert len(rows(Contact)) == 50


def test_a_part_that_is_there_is_not_made_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import_id = accepted(api, AFTER, mapping=MAPPING)
    real = running._create_part

    def only_the_first(order: Any, batch: Any, part: int, people: Any) -> None:
        if batch.number == 1 and part == 1:
            raise ZeroDivisionError("killed between the parts")
        real(order, batch, part, people)

    monkeypatch.setattr(running, "_create_part", only_the_first)
    work_off()
    with db.transaction() as session:
        assert session.query(ImportPart).count() == 3
    monkeypatch.setattr(running, "_create_part", real)
    assert api.post(f"/jobs/{one(Job, Job.task == 'imports.run').id}/retry").status_code in (200, 202)
    work_off()
    assert totals(seen(api, import_id)) == (50, 0, 0, 0)
    assert len(rows(Contact)) == 50
    assert all(ids.line_of(import_id, each.id) for each in rows(Contact))


def test_somebody_who_is_made_meanwhile_is_not_made_twice(
    demo: Demo, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = accepted(api, PEOPLE, duplicates="update")
    real = running._planned

    def then_they_write(order: Any, batch: Any) -> Any:
        made = real(order, batch)
        with db.transaction() as session:
            wrote(session, demo, "+14155550123")
        return made

    monkeypatch.setattr(running, "_planned", then_they_write)
    work_off()
    shown = seen(api, import_id)
    assert (shown["state"], totals(shown)) == ("finished", (2, 1, 0, 0))
    assert contact("+14155550123").name == "Ben"
    assert len(rows(Contact)) == 3


def test_an_old_import_cannot_be_undone(api: Api, clock: Any) -> None:
    done = imported(api, PEOPLE)
    clock("now() + interval '31 days'")
    assert error(api.post(f"/imports/{done['id']}/undo"))["code"] == "too_old"


def stop_after(import_id: Any, *, batches: int) -> None:
    """Let an import come so far and stand still, as if its worker were at the next batch."""
    with db.transaction() as session:
        order = running.begin(session, import_id, one(Job, Job.task == "imports.run").id)
    assert order is not None
    with running.ThreadPoolExecutor(1) as second:
        for batch, _ in zip(running._batches(order), range(batches), strict=False):
            running._write(order, batch, second, hand_over=False)
