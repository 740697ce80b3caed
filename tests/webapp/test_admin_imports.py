"""The wizard of imports: a file is taken in, its columns are named, it begins once; result, download, stop, undo."""

import csv
import io
import os
import re
import time
import uuid
from datetime import timedelta

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from crm_tasks.config import settings
from crm_tasks.contacts.models import Attribute, Contact
from crm_tasks.core import db
from crm_tasks.imports import service
from crm_tasks.imports.models import Import
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.imports.conftest import no_files  # noqa: F401
from tests.imports.files import PEOPLE, contact, files, xlsx
from tests.imports.messy import messy
from tests.messages.apply import one, rows
from tests.webapp.admins import Browser, browser
from tests.webhooks.hooks import work_off


@pytest.fixture
def mia(app: Flask, demo: Demo) -> Browser:
    """A marketer."""
    return browser(app, demo, "marketer")


def upload(who: Browser, data: bytes | str, name: str = "people.csv") -> TestResponse:
    raw = data.encode() if isinstance(data, str) else data
    form = {"csrf_token": who.token(), "file": (io.BytesIO(raw), name)}
    return who.client.post("/admin/imports/new", data=form, content_type="multipart/form-data")


def taken(who: Browser, data: bytes | str, name: str = "people.csv") -> str:
    """Have a file taken in, and return the address of its next step."""
    answer = upload(who, data, name)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return answer.location.removeprefix("/admin")


def chosen(page: str) -> list[str]:
    """Return what each column seems to be."""
    selects = re.findall(r'<select[^>]*name="column\.\d+".*?</select>', page, re.DOTALL)
    found = (re.search(r'value="([^"]*)" selected', each) for each in selects)
    return [each[1] if each else "ignore" for each in found]


def named(*targets: str) -> dict[str, str]:
    return {f"column.{place}": target for place, target in enumerate(targets)}


def begun(who: Browser, data: bytes | str, *targets: str, **form: str) -> str:
    """Begin an import, and return its page."""
    answer = who.post(taken(who, data), **named(*targets), **form)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return answer.location.removeprefix("/admin")


ALL = ("name", "phone", "email", "tags")


def test_a_file_becomes_contacts_in_three_steps(mia: Browser, demo: Demo) -> None:
    assert "Nothing was imported yet" in mia.text("/imports")
    step = taken(mia, PEOPLE)
    page = mia.text(step)
    assert chosen(page) == list(ALL)
    assert "<strong>3</strong> can be kept" in page
    answer = mia.post(step, **named(*ALL), tags="Fair, new")
    result = answer.location.removeprefix("/admin")
    assert "Waits for a worker." in mia.text(result)
    assert "hx-get" in mia.text(f"{result}/part")
    work_off()
    page = mia.text(f"{result}/part")
    assert "hx-get" not in page
    assert re.findall(r'<div class="h1[^>]*>([^<]*)<', page) == ["3", "3", "0", "0", "0"]
    assert contact("+5511987654321").tags == ["fair", "lead", "new", "vip"]
    assert one(Import).actor == "user:marketer@example.test"
    assert files() == []
    assert "people.csv" in mia.text("/imports")


def test_what_would_come_of_it_changes_with_the_names_of_the_columns_and_the_country(mia: Browser) -> None:
    step = taken(mia, "who,tel,city\nAna,11 98765-4321,Lyon\nBen,nobody,Rome\n", "a.csv")
    token = step.partition("file=")[2]
    page = mia.text(step)
    assert chosen(page) == ["ignore", "phone", "ignore"]
    look = f"/imports/look?file={token}"
    text = mia.post(look, **named("name", "phone", "attribute:city"), region="BR").get_data(as_text=True)
    assert "+5511987654321" in text
    assert "city: Lyon" in text
    assert "1 bad phone number" in text
    assert "<strong>1</strong> can be kept" in text
    abroad = mia.post(look, **named("name", "phone", "ignore"), region="DE").get_data(as_text=True)
    assert "+5511987654321" not in abroad
    for wrong, words in (
        ({**named("name", "ignore", "ignore")}, "Say which column has the phone numbers"),
        ({**named("phone", "phone", "ignore"), "region": "Mars"}, "Write a country of two letters"),
        ({**named("name", "phone", "name")}, "Another column is name already"),
        ({**named("x", "phone", "y")}, "There is no target"),
    ):
        assert words in mia.post(look, **wrong).get_data(as_text=True)


def test_columns_become_attributes_new_ones_and_those_there_are(mia: Browser, demo: Demo) -> None:
    with db.transaction() as session:
        session.add(Attribute(workspace_id=demo.workspace_id, name="City", type="text"))
    data = "phone,city,Points\n+14155550123,Lyon,12\n"
    step = taken(mia, data)
    assert chosen(mia.text(step)) == ["phone", "attribute:City", "ignore"]
    assert 'value="attribute:Points:number"' in mia.text(step)
    mia.post(step, **named("phone", "attribute:City", "attribute:Points:number"))
    work_off()
    assert contact("+14155550123").attributes == {"City": "Lyon", "Points": 12}


def test_an_excel_file_is_taken_too(mia: Browser) -> None:
    step = taken(mia, xlsx(["Nome", "Telefone"], ["Ana", "+5511987654321"]), "people.xlsx")
    assert chosen(mia.text(step)) == ["name", "phone"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The file is empty."),
        (b"%PDF-1.7", "This is a PDF. Save it as CSV or as XLSX."),
        (b"Ana,+14155550123\n", "Put a line above it that names the columns."),
        (b"a,a\n1,2\n", "Several columns have the same name"),
        (b"na\x00me,phone\n", "NUL characters"),
    ],
    ids=["empty", "pdf", "no header", "same names", "nul"],
)
def test_a_file_that_is_none_is_refused_in_words_and_not_kept(mia: Browser, data: bytes, words: str) -> None:
    answer = upload(mia, data)
    assert answer.status_code == 422
    assert words in answer.get_data(as_text=True)
    assert files() == []


def test_without_a_file_it_says_so(mia: Browser) -> None:
    form = {"csrf_token": mia.token(), "file": (io.BytesIO(b""), "")}
    answer = mia.client.post("/admin/imports/new", data=form, content_type="multipart/form-data")
    assert answer.status_code == 422
    assert "Choose a file first." in answer.get_data(as_text=True)
    assert mia.post("/imports/new").status_code == 422


def test_a_large_file_is_larger_than_other_forms_may_be_and_is_read_only_from_who_may(
    app: Flask, mia: Browser, demo: Demo
) -> None:
    lines = "".join(f"+1415555{n % 10000:04d},{'x' * 90}\n" for n in range(40_000))
    large = f"phone,note\n{lines}"
    assert len(large) > settings().webhook_max_bytes
    assert upload(mia, large).status_code == 302
    kept = len(files())
    without = {"file": (io.BytesIO(large.encode()), "a.csv")}
    refused = mia.client.post("/admin/imports/new", data=without, content_type="multipart/form-data")
    assert "/admin/login" in refused.location
    assert upload(browser(app, demo, "viewer"), PEOPLE).status_code == 403
    stranger = app.test_client().post("/admin/imports/new", data={"file": (io.BytesIO(b"x"), "a.csv")})
    assert "/admin/login" in stranger.location
    assert len(files()) == kept


def test_it_begins_once_however_often_the_button_is_pressed(mia: Browser) -> None:
    step = taken(mia, PEOPLE)
    first, second = mia.post(step, **named(*ALL)), mia.post(step, **named(*ALL))
    assert first.location == second.location
    work_off()
    assert mia.post(step, **named(*ALL)).location == first.location
    assert mia.get(step).location == first.location
    assert len(rows(Import)) == 1
    assert len(rows(Contact)) == 3


@pytest.mark.parametrize("file", ["", "x", "a.b.c", "%00"])
def test_an_address_that_is_not_ours_leads_nowhere(mia: Browser, file: str) -> None:
    assert mia.get(f"/imports/map?file={file}").status_code == 404
    assert mia.post(f"/imports/map?file={file}").status_code == 404
    assert mia.post(f"/imports/look?file={file}").status_code == 404


def test_the_file_of_another_workspace_is_not_gone_on_with(app: Flask, mia: Browser, other: Demo) -> None:
    step = taken(mia, PEOPLE)
    who = browser(app, other, "owner")
    assert who.get(step).status_code == 404
    assert who.post(step, **named(*ALL)).status_code == 404
    assert rows(Import) == []


def test_what_is_wrong_with_the_columns_is_said_and_what_was_chosen_stays(mia: Browser) -> None:
    step = taken(mia, PEOPLE)
    answer = mia.post(step, **named("name", "ignore", "ignore", "tags"), tags="fair", duplicates="merge")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "Say which column has the phone numbers" in page
    assert chosen(page) == ["name", "ignore", "ignore", "tags"]
    assert 'value="fair"' in page
    assert re.search(r'value="merge" checked', page)
    assert rows(Import) == []
    assert len(files()) == 1


def test_a_file_that_nobody_goes_on_with_is_removed_after_a_day(mia: Browser) -> None:
    step = taken(mia, PEOPLE)
    begun(mia, PEOPLE.replace("Ana", "Eva"), *ALL)
    abandoned, waiting = sorted(files(), key=lambda each: str(one(Import).storage_key) in str(each))
    yesterday = time.time() - 90_000
    for each in (abandoned, waiting):
        os.utime(each, (yesterday, yesterday))
    with db.transaction() as session:
        service.forget_files(session, one(Import).created_at - timedelta(days=1))
    assert files() == [waiting]
    assert mia.get(step).status_code == 404
    assert "Choose it again." in mia.get(step).get_data(as_text=True)


# --- the result --------------------------------------------------------------------------------------------------


def test_a_messy_file_gives_its_refused_rows_to_look_at_and_to_download(mia: Browser) -> None:
    text, expected, _ = messy(500, "skip")
    targets = ("name", "phone", "email", "tags", "attribute:age:number", "attribute:since:date", "time_zone")
    result = begun(mia, text, *targets, region="BR")
    work_off()
    page = mia.text(result)
    assert re.findall(r'<div class="h1[^>]*>([^<]*)<', page) == ["500", *map(str, expected)]
    assert f"Download all {expected[3]}" in page
    assert page.count("<tr><td>") >= 20
    download = mia.get(f"{result}/rejects")
    assert download.headers["Content-Disposition"].startswith("attachment")
    assert len(list(csv.DictReader(io.StringIO(download.get_data(as_text=True)[1:])))) == expected[3]


def test_a_viewer_sees_how_many_and_nobody_of_them(app: Flask, mia: Browser, demo: Demo) -> None:
    result = begun(mia, "name,phone\nSecretia,12\nAna,+5511987654321\n", "name", "phone")
    work_off()
    assert "not a phone number" in mia.text(result)
    who = browser(app, demo, "viewer")
    page = who.text(result)
    assert re.findall(r'<div class="h1[^>]*>([^<]*)<', page) == ["2", "1", "0", "0", "1"]
    assert "not a phone number" not in page
    assert who.get(f"{result}/rejects").status_code == 403


def test_one_is_stopped_and_one_is_taken_back(mia: Browser) -> None:
    stopped = begun(mia, PEOPLE, *ALL)
    assert mia.post(f"{stopped}/cancel").status_code == 302
    assert files() == []
    assert mia.post(f"{stopped}/cancel").status_code == 409
    work_off()
    assert rows(Contact) == []
    result = begun(mia, PEOPLE, *ALL)
    running = mia.post(f"{result}/undo")
    assert running.status_code == 409
    assert "only one that is over can be undone" in running.get_data(as_text=True)
    work_off()
    assert "Take it back" in mia.text(result)
    assert mia.post(f"{result}/undo").status_code == 302
    assert "Being taken back." in mia.text(f"{result}/part")
    work_off()
    page = mia.text(result)
    assert "3 contacts removed" in page
    assert "Take it back" not in page
    assert rows(Contact) == []


def test_how_far_it_is_is_shown_with_rate_and_time_left(mia: Browser) -> None:
    result = begun(mia, PEOPLE, *ALL)
    execute("UPDATE imports SET state = 'running', position = size / 2, started_at = now() - interval '10 s'")
    execute(
        "INSERT INTO import_parts (import_id, batch, part, created, updated, skipped, rejected) "
        "SELECT id, 0, 0, 1000, 0, 0, 0 FROM imports"
    )
    page = mia.text(f"{result}/part")
    assert re.search(r"50 %, \d+ rows a second, 1\d s left", page), page[:900]
    execute("UPDATE imports SET started_at = NULL, position = 0")
    assert "0 %" in mia.text(f"{result}/part")
    execute("UPDATE imports SET state = 'failed', reason = 'The file is gone.', finished_at = now()")
    assert "The file is gone." in mia.text(result)


def test_there_is_no_import_that_is_not_there(mia: Browser) -> None:
    for path in ("", "/part", "/rejects"):
        assert mia.get(f"/imports/{uuid.uuid4()}{path}").status_code == 404
    for path in ("/cancel", "/undo"):
        assert mia.post(f"/imports/{uuid.uuid4()}{path}").status_code == 404
