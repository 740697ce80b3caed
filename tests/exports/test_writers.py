"""Whatever is written comes back as it was, and nothing of it is a formula."""

import csv
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crm_tasks.core.text import harmless
from crm_tasks.exports import writers
from crm_tasks.exports.writers import CELL_CHARACTERS, Csv, Xlsx
from tests.exports.files import sheets

# What Postgres can hold.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
NASTY = st.builds(str.__add__, st.sampled_from(list("=+-@\t\r\n＝＋－＠'\", ;")), TEXTS)
BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
STARTERS = tuple("=+-@\t\r\n＝＋－＠")


def written(kind: Any, path: Path, rows: list[list[Any]]) -> Path:
    writer = kind(path, ["one", "two"], "things")
    writer.write(rows)
    writer.close()
    return path


@given(one=TEXTS | NASTY, two=TEXTS | NASTY)
@BOUNDED
@example(one='"', two=",\r\n")
@example(one="+15550001111", two="-12.5")
def test_csv_comes_back_and_no_cell_is_a_formula(tmp_path: Path, one: str, two: str) -> None:
    with written(Csv, tmp_path / "a.csv", [[one, two]]).open(encoding="utf-8-sig", newline="") as file:
        header, row = csv.reader(file)
    assert header == ["one", "two"]
    for wrote, read in zip((one, two), row, strict=True):
        assert read in (wrote, f"'{wrote}")
        if read.startswith(STARTERS):
            float(read)


@given(one=TEXTS | NASTY, two=TEXTS | NASTY)
@BOUNDED
@example(one="_x000D_", two=" spaces ")
def test_xlsx_comes_back_as_the_very_text(tmp_path: Path, one: str, two: str) -> None:
    path = written(Xlsx, tmp_path / "a.xlsx", [[one, two, "."], [two, one, "."]])
    _, first, second = sheets(path.read_bytes())["things"]
    assert [(each or "") for each in (*first, *second)] == [one, two, ".", two, one, "."]
    with zipfile.ZipFile(path) as book:
        assert b"<f" not in book.read("xl/worksheets/sheet1.xml").replace(b"<fonts", b"")


@pytest.mark.parametrize("text", ["+15550001111", "-5", "+1.5", "0", "", "'", "a=1", "1+1"])
def test_what_is_no_formula_is_left_as_it_is(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("text", ["+1 555 000", "+", "-", "--1", "=1", "@a", "+1e5", "+٣", "-1-1", "\t1"])
def test_what_might_be_one_has_an_apostrophe(text: str) -> None:
    assert harmless(text) == f"'{text}"


def test_values_are_written_as_what_they_are(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=-3)))
    rows: list[list[Any]] = [[True, moment], [12.5, ["a", "b"]], [{"k": 1}, 10**17], [None, -3]]
    with written(Csv, tmp_path / "a.csv", rows).open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["true", "2026-03-01T15:30:00.000Z"],
            ["12.5", "a;b"],
            ['{"k":1}', "100000000000000000"],
            ["", "-3"],
        ]
    found = sheets(written(Xlsx, tmp_path / "a.xlsx", rows).read_bytes())["things"][1:]
    assert found == [
        (True, moment.astimezone(UTC).replace(tzinfo=None)),
        (12.5, "a;b"),
        ('{"k":1}', "100000000000000000"),
        (None, -3),
    ]


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_text_that_no_cell_holds_is_cut_and_says_so(tmp_path: Path, letter: str) -> None:
    fits, long = letter * (CELL_CHARACTERS // 2), letter * CELL_CHARACTERS + "!"
    _, (first, second) = sheets(written(Xlsx, tmp_path / "a.xlsx", [[fits, long]]).read_bytes())["things"]
    assert first == fits
    assert second.startswith(letter * 100) and "[cut:" in second
    assert len(second.encode("utf-16-le")) // 2 <= CELL_CHARACTERS
    with written(Csv, tmp_path / "a.csv", [[fits, long]]).open(encoding="utf-8-sig", newline="") as file:
        # It is one for the whole process, in which others read too.
        usual = csv.field_size_limit(1_000_000)
        try:
            assert list(csv.reader(file))[1] == [fits, long]
        finally:
            csv.field_size_limit(usual)


def test_what_is_too_much_for_a_sheet_goes_on_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "SHEET_ROWS", 4)
    found = sheets(written(Xlsx, tmp_path / "a.xlsx", [[n, str(n)] for n in range(7)]).read_bytes())
    assert {title: len(rows) for title, rows in found.items()} == {"things": 4, "things 2": 4, "things 3": 2}
    assert all(rows[0] == ("one", "two") for rows in found.values())
    assert [row[0] for rows in found.values() for row in rows[1:]] == list(range(7))
