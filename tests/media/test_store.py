"""The store of files, what a file is, and how old ones go."""

import io
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.media import sniff
from crm_tasks.media.models import Media
from crm_tasks.media.service import checking, files
from crm_tasks.providers.storage import STALE, Folder, Gone, TooLarge, storage
from tests.fixtures import Demo
from tests.media.samples import JPEG, MOVING, MP4, OFFICE, OGG, PDF, PNG, WEBP, ours, zipped
from tests.messages.apply import rows


def pieces(*data: bytes) -> Iterator[bytes]:
    yield from data


def everything(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_file_is_kept_by_its_hash_for_its_owner_alone(tmp_path: Path) -> None:
    store, name = Folder(tmp_path), uuid.uuid4()
    kept = store.save(pieces(b"ab", b"c"), name=name, limit=3)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (kept.key, kept.size, kept.sha256) == (f"ba/78/{digest}-{name}", 3, digest)
    assert stat.S_IMODE((tmp_path / kept.key).stat().st_mode) == 0o600
    with store.open(kept.key) as file:
        assert file.read() == b"abc"
    assert store.save(pieces(b"abc"), name=name, limit=3) == kept
    assert len(everything(tmp_path)) == 1
    store.delete(kept.key)
    store.delete(kept.key)
    assert not store.exists(kept.key)


def test_what_is_too_large_or_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = Folder(tmp_path)

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(TooLarge):
        store.save(pieces(b"ab", b"cd"), name=uuid.uuid4(), limit=3)
    with pytest.raises(ConnectionError):
        store.save(broken(), name=uuid.uuid4(), limit=300)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "", "ab/cd/x", "partial/x"])
def test_nothing_outside_the_store_is_read(tmp_path: Path, key: str) -> None:
    with pytest.raises(Gone):
        Folder(tmp_path).open(key)


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / "partial/old", tmp_path / "partial/new"
    old.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, new.stat().st_mtime - STALE - 1))
    assert Folder(tmp_path).sweep() == 1
    assert everything(tmp_path) == [new]


CONTENTS = [
    (PNG, "image/png", "image/png"),
    (JPEG, None, "image/jpeg"),
    (JPEG, "image/png", "image/jpeg"),
    (PDF, "application/pdf", "application/pdf"),
    (OGG, "audio/ogg", "audio/ogg"),
    (MP4, "video/mp4", "video/mp4"),
    (MP4, "audio/mp4", "audio/mp4"),
    (WEBP, None, "image/webp"),
    (b"#!AMR\n" + bytes(20), "audio/amr", "audio/amr"),
    (b"\xff\xf1\x50\x80" + bytes(50), "audio/aac", "audio/aac"),
    (b"ID3\x03" + bytes(50), "audio/mpeg", "audio/mpeg"),
    (b"\x00\x00\x00\x18ftyp3gp4" + bytes(50), "video/3gpp", "video/3gpp"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "application/vnd.ms-excel", "application/vnd.ms-excel"),
    (zipped("[Content_Types].xml", "xl/workbook.xml"), f"{OFFICE}spreadsheetml.sheet", f"{OFFICE}spreadsheetml.sheet"),
    ("Grüße\n".encode(), "text/plain", "text/plain"),
    (("x" * 4095 + "é").encode(), "text/plain", "text/plain"),
    (b"<html><script>alert(1)</script>", "text/plain", "text/html"),
    (b" \n<svg onload='x'/>", "image/png", "image/svg+xml"),
    (b"MZ" + bytes(100), "image/png", None),
    (b"\x00\x01\x02", "text/plain", None),
]


@pytest.mark.parametrize(("data", "said", "found"), CONTENTS, ids=lambda value: str(value)[:24])
def test_a_file_is_what_its_content_is(data: bytes, said: str | None, found: str | None) -> None:
    kind = sniff.type_of(io.BytesIO(data), said)
    assert kind == found if found else kind not in (said, "image/png")


@pytest.mark.parametrize(
    ("data", "said", "size", "code"),
    [
        (b"", "image/png", 0, "empty"),
        (JPEG, "image/png", 300, "other_type"),
        (b"GIF89a" + bytes(50), "image/gif", 56, "type_not_supported"),
        (b"<html>", None, 6, "type_not_supported"),
        (PNG, "image/png", 5 * 1024 * 1024 + 1, "too_large"),
        (WEBP, "image/webp", 100 * 1024 + 1, "too_large"),
        (MOVING, "image/webp", 500 * 1024 + 1, "too_large"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(data: bytes, said: str | None, size: int, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        checking.check(io.BytesIO(data), said, size)
    assert (refused.value.code, refused.value.fields[0].field) == (code, "file")


def test_a_moving_sticker_may_be_larger() -> None:
    assert checking.check(io.BytesIO(MOVING), "image/webp", 400 * 1024) == "image/webp"


def test_old_files_go_in_batches(demo: Demo, clock: Callable[[str], None]) -> None:
    keys = [_key(ours(demo, PNG + bytes([n]))) for n in range(3)]
    with db.transaction() as session:
        assert files.forget(session, datetime.now(UTC) - timedelta(days=1)) == 0
    later = datetime.now(UTC) + timedelta(days=1)
    with db.transaction() as session:
        assert [files.forget(session, later, limit=2) for _ in range(3)] == [2, 1, 0]
    assert rows(Media) == []
    assert not any(storage().exists(key) for key in keys)


def _key(media_id: uuid.UUID) -> str:
    (media,) = rows(Media, Media.id == media_id)
    return media.storage_key
