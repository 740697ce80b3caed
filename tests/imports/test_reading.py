"""Files as they come: encodings, delimiters, line ends, quotes, workbooks; and what is refused at the door."""

import io
import zipfile
from typing import Any

import pytest

from crm_tasks.config import settings
from crm_tasks.imports.models import Import
from tests.imports.files import PEOPLE, contact, files, imported, totals, upload, xlsx
from tests.messages.apply import rows
from tests.webapp.api import Api, error

TABLE = "name;phone;city\nJosé;+5511987654321;São Paulo\nZoë;+14155550123;Köln\n"


def preview(api: Api, data: bytes | str) -> dict[str, Any]:
    answer = upload(api, data, path="/imports/preview")
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


@pytest.mark.parametrize(
    ("data", "encoding", "delimiter"),
    [
        (TABLE.encode(), "utf-8", ";"),
        (b"\xef\xbb\xbf" + TABLE.encode(), "utf-8", ";"),
        (b"\xff\xfe" + TABLE.replace(";", "\t").encode("utf-16-le"), "utf-16-le", "\t"),
        (b"\xfe\xff" + TABLE.encode("utf-16-be"), "utf-16-be", ";"),
        (TABLE.encode("cp1252"), "cp1252", ";"),
        (TABLE.replace(";", "|").encode(), "utf-8", "|"),
        (TABLE.replace(";", ",").replace("\n", "\r\n").encode(), "utf-8", ","),
        (TABLE.replace("\n", "\r").encode(), "utf-8", ";"),
        (("sep=;\r\n" + TABLE).encode(), "utf-8", ";"),
        (TABLE.rstrip("\n").encode(), "utf-8", ";"),
        (TABLE.replace(";", '";"').replace("\n", '"\n"').join(('"', "")).removesuffix('"').encode(), "utf-8", ";"),
    ],
    ids=[
        "utf-8",
        "bom",
        "utf-16-le",
        "utf-16-be",
        "cp1252",
        "pipes",
        "crlf",
        "cr",
        "sep",
        "no last line end",
        "quoted",
    ],
)
def test_a_file_is_read_however_it_is_written(api: Api, data: bytes, encoding: str, delimiter: str) -> None:
    shown = preview(api, data)
    assert (shown["encoding"], shown["delimiter"]) == (encoding, delimiter)
    assert shown["columns"] == ["name", "phone", "city"]
    assert shown["rows"] == [["José", "+5511987654321", "São Paulo"], ["Zoë", "+14155550123", "Köln"]]
    assert shown["mapping"] == {"name": "name", "phone": "phone", "city": "ignore"}
    assert bool(shown["warnings"]) == (encoding == "cp1252")
    assert files() == []
    done = imported(api, data, mapping='{"name": "name", "phone": "phone", "city": "attribute:city"}')
    assert (done["state"], totals(done)) == ("finished", (2, 0, 0, 0))
    assert (contact("+14155550123").name, contact("+14155550123").attributes) == ("Zoë", {"city": "Köln"})
    assert files() == []


def test_quotes_hold_delimiters_quotes_and_line_ends(api: Api) -> None:
    text = 'name,phone\n"Smith, ""Al""\nJr.",+14155550123\n\n,\nBob,12\n'
    done = imported(api, text)
    assert totals(done) == (1, 0, 0, 1)
    assert contact("+14155550123").name == 'Smith, "Al"\nJr.'
    refused = api.get(f"/imports/{done['id']}/rejects").get_data(as_text=True)
    # The line of the file, not the number of the record.
    assert refused.splitlines()[1].startswith("6,phone,12,bad_phone_number,")


def test_an_excel_file_is_read_with_its_numbers_whole(api: Api) -> None:
    data = xlsx(["Nome", "Celular", "E-mail"], ["Ana", 5511987654321, "ana@example.com"], [], ["Bob", "9.19E+11", ""])
    shown = preview(api, data)
    assert shown["rows"] == [["Ana", "5511987654321", "ana@example.com"], ["Bob", "9.19E+11", ""]]
    done = imported(api, data, region="BR")
    assert (done["encoding"], totals(done)) == ("xlsx", (1, 0, 0, 1))
    assert contact("+5511987654321").name == "Ana"
    refused = api.get(f"/imports/{done['id']}/rejects").get_data(as_text=True)
    assert refused.splitlines()[1].startswith("4,Celular,9.19E+11,destroyed_by_spreadsheet,")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"\n\n", "no_header"),
        (b"name,phone\n\x00,1\n", "not_a_text"),
        (b"a,phone\n" + bytes(range(1, 256)) * 10 + b"\x00", "not_a_text"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "not_a_table"),
        (b"%PDF-1.7", "not_a_table"),
        (b"\x1f\x8b" + bytes(99), "not_a_table"),
        (b"PK\x03\x04" + bytes(99), "bad_workbook"),
        (b"\xff\xfea\x00,\x00\x00\xd8", "bad_encoding"),
        (b"name,city\nAna,Rome\n", "no_address_column"),
        (b"anything\nelse\n", "no_address_column"),
        (b"phone,Phone\n+14155550123,1\n", "same_columns"),
        (b"Ana,+14155550123,ana@example.com\nBen,+14155550124,ben@example.com\n", "no_header"),
        (b"phone," + b",".join(b"c%d" % n for n in range(10_000)) + b"\n", "too_many_columns"),
        (b"phone," + b"x" * 2_000_000 + b"\n", "not_a_table"),
        (b'phone,"' + b"x" * 200_000 + b'"\n', "no_header"),
    ],
)
def test_what_cannot_be_imported_is_refused_at_once_and_not_kept(api: Api, data: bytes, code: str) -> None:
    for path in ("/imports", "/imports/preview"):
        if path == "/imports/preview" and code == "no_address_column":
            continue  # that is what a preview is for
        answer = upload(api, data, path=path)
        found = error(answer)
        assert (answer.status_code, found["code"]) == (422, code), found
        assert found["fields"][0]["message"]
    assert (files(), rows(Import)) == ([], [])


def test_a_small_workbook_that_unpacks_to_very_much_is_refused(api: Api) -> None:
    bomb = xlsx(["phone"], ["+14155550123"], bomb=settings().import_max_bytes + 1)
    assert len(bomb) < 1_000_000
    assert error(upload(api, bomb))["code"] == "too_large"


def test_a_workbook_that_lies_about_its_size_is_refused(api: Api) -> None:
    honest = xlsx(["phone"], ["+14155550123"], bomb=5_000_000)
    lying = honest.replace((5_000_000).to_bytes(4, "little"), (50).to_bytes(4, "little"))
    assert lying != honest
    assert error(upload(api, lying))["code"] == "bad_workbook"


def test_other_archives_are_no_workbooks(api: Api) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("people.csv", PEOPLE)
    assert error(upload(api, made.getvalue()))["code"] == "bad_workbook"


def test_a_file_over_the_limit_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.uploads.settings", lambda: Small)
    answer = upload(api, PEOPLE * 10)
    assert (answer.status_code, error(answer)["code"]) == (422, "too_large")
    assert upload(api, PEOPLE * 10_000).status_code == 413
    assert files() == []


class Small:
    """Settings that allow very little."""

    import_max_bytes = 500


def test_damage_in_the_middle_costs_the_rows_that_have_it(api: Api) -> None:
    text = "phone,name\n+14155550101,a\n" + '+14155550102,"never closed\n' + "x" * 150_000 + "\n+14155550103,c\n"
    done = imported(api, text)
    assert (done["state"], done["totals"]["created"]) == ("finished", 2)
    refused = api.get(f"/imports/{done['id']}/rejects").get_data(as_text=True)
    assert "Maybe a quote was never closed" in refused


def test_a_line_without_end_in_the_middle_fails_the_import_with_the_reason(api: Api) -> None:
    done = imported(api, "phone\n" + "+14155550101\n" * 20 + "x" * 1_100_000)
    assert (done["state"], done["error"]["code"]) == ("failed", "unreadable")
    assert "line 22 is longer" in done["error"]["message"].lower()
