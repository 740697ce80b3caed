"""`/api/v1/media`: files taken in, checked by their content, and given out so that no browser runs them."""

import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.media.models import Media
from tests.fixtures import Demo
from tests.media.samples import MP4, PDF, PNG, ours
from tests.messages.apply import one, rows
from tests.webapp.api import Api, error, fields


def upload(
    api: Api, demo: Demo, data: bytes = PNG, name: str | None = "a.png", kind: str = "image/png"
) -> TestResponse:
    form: dict[str, Any] = {"channel_id": str(demo.channel_id)}
    if name is not None:
        form["file"] = (io.BytesIO(data), name, kind)
    return api.post("/media", data=form, content_type="multipart/form-data")


def test_a_file_is_taken_in_and_given_back(demo: Demo, api: Api) -> None:
    answer = upload(api, demo)
    assert answer.status_code == 201, answer.get_json()
    shown = answer.get_json()
    assert (shown["state"], shown["sniffed_type"], shown["size"], shown["filename"]) == (
        "stored",
        "image/png",
        len(PNG),
        "a.png",
    )
    assert api.get(f"/media/{shown['id']}").get_json() == shown
    content = api.client.get(shown["content_url"], headers={"Authorization": f"Bearer {api.key}"})
    assert (content.data, content.mimetype) == (PNG, "image/png")
    assert content.headers["Content-Disposition"].startswith("inline")
    assert content.headers["X-Content-Type-Options"] == "nosniff"


def test_a_large_file_is_larger_than_a_webhook_may_be(demo: Demo, api: Api) -> None:
    large = PNG + bytes(settings().webhook_max_bytes + 1)
    assert upload(api, demo, large).get_json()["size"] == len(large)
    assert upload(api, demo, PNG + bytes(5 * 1024 * 1024)).status_code == 422
    assert len(rows(Media)) == 1


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "image/png", "empty"),
        (PDF, "image/png", "its content is application/pdf"),
        (b"<html><script>", "text/html", "text/html cannot be sent"),
        (b"MZ" + bytes(99), "application/x-msdownload", "its content is"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_kept(demo: Demo, api: Api, data: bytes, kind: str, words: str) -> None:
    refused = upload(api, demo, data, kind=kind)
    assert refused.status_code == 422
    assert words in fields(refused)["file"]
    assert rows(Media) == []


def test_what_is_missing_is_named(demo: Demo, api: Api) -> None:
    assert "part of the form" in fields(upload(api, demo, name=None))["file"]
    no_channel = api.post("/media", data={"file": (io.BytesIO(PNG), "a.png")}, content_type="multipart/form-data")
    assert "channel" in fields(no_channel)["channel_id"]
    other = api.post(
        "/media",
        data={"channel_id": str(uuid.uuid4()), "file": (io.BytesIO(PNG), "a.png")},
        content_type="multipart/form-data",
    )
    assert error(other)["code"] == "channel_not_found"
    assert api.post("/media", data=b"x", content_type="text/plain").status_code == 415
    assert rows(Media) == []


def test_a_link_is_fetched_by_a_job(demo: Demo, api: Api) -> None:
    answer = api.post("/media", {"channel_id": str(demo.channel_id), "url": "https://cdn.example.test/a.png"})
    assert answer.status_code == 202
    shown = answer.get_json()
    assert (shown["state"], shown["content_url"]) == ("wanted", None)
    assert (str(one(Job).id), one(Job).task) == (shown["job_id"], "messages.fetch_media")
    assert error(api.get(f"/media/{shown['id']}/content"))["code"] == "media_not_stored"
    assert error(api.post(f"/media/{shown['id']}/fetch"))["code"] == "media_not_failed"
    refused = api.post("/media", {"channel_id": str(demo.channel_id), "url": "file:///etc/passwd"})
    assert "https://" in fields(refused)["url"]


def test_a_part_of_a_file_can_be_asked_for(demo: Demo, api: Api) -> None:
    path = f"/media/{ours(demo, MP4, 'video/mp4')}/content"
    part = api.get(path, headers={"Range": "bytes=4-11"})
    assert (part.status_code, part.data) == (206, b"ftypisom")
    assert part.headers["Content-Range"] == f"bytes 4-11/{len(MP4)}"
    assert api.get(path, headers={"Range": "bytes=9999-"}).status_code == 416
    known = api.get(path)
    assert known.headers["Accept-Ranges"] == "bytes"
    assert api.get(path, headers={"If-None-Match": known.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    ("sniffed", "served", "how"),
    [
        ("application/pdf", "application/pdf", "inline"),
        ("video/mp4", "video/mp4", "inline"),
        ("text/plain", "text/plain", "attachment"),
        ("text/html", "application/octet-stream", "attachment"),
        ("image/svg+xml", "application/octet-stream", "attachment"),
        ("application/octet-stream", "application/octet-stream", "attachment"),
    ],
)
def test_no_browser_runs_what_a_customer_sent(demo: Demo, api: Api, sniffed: str, served: str, how: str) -> None:
    media_id = ours(demo, b"<script>", "text/html")
    with db.transaction() as session:
        media = session.get_one(Media, media_id)
        media.sniffed_type, media.filename = sniffed, 'a"\r\nX-Evil: 1.html'
    answer = api.get(f"/media/{media_id}/content")
    assert (answer.mimetype, answer.headers["Content-Disposition"].partition(";")[0]) == (served, how)
    assert "X-Evil" not in answer.headers
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_the_files_of_another_workspace_do_not_exist(demo: Demo, api: Api, stranger: Api) -> None:
    media_id = ours(demo)
    for path in (f"/media/{media_id}", f"/media/{media_id}/content"):
        assert stranger.get(path).status_code == 404
        assert stranger.get(path, headers={"Authorization": ""}).status_code == 401
        assert api.get(path).status_code == 200
    assert stranger.post(f"/media/{media_id}/fetch").status_code == 404


def test_a_file_that_was_removed_is_no_error_of_ours(demo: Demo, api: Api) -> None:
    media_id = ours(demo)
    (settings().media_path / Path(str(one(Media).storage_key))).unlink()
    assert error(api.get(f"/media/{media_id}/content"))["code"] == "media_not_found"
