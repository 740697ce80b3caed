"""Reading a Procfile, ours above all."""

import signal
from pathlib import Path

import pytest
from honcho.environ import parse_procfile

from crm_tasks.core.errors import ConfigError
from crm_tasks.core.queues import Queue
from crm_tasks.stack import procfile
from crm_tasks.stack.procfile import Line
from tests.harness import ROOT


def read(tmp_path: Path, text: str) -> list[Line]:
    (tmp_path / "Procfile").write_text(text)
    return procfile.read(tmp_path / "Procfile")


def test_ours_is_read_as_honcho_reads_it() -> None:
    ours = procfile.read(ROOT / "Procfile")
    theirs = parse_procfile((ROOT / "Procfile").read_text()).processes
    assert {line.name: line.command for line in ours} == dict(theirs)


def test_ours_serves_every_queue_exactly_once() -> None:
    queues = []
    for line in procfile.read(ROOT / "Procfile"):
        if "-Q" in line.command.split():
            queues += line.command.split("-Q ")[1].split()[0].split(",")
    assert sorted(queues) == sorted(Queue)


def test_ours_has_distinct_worker_names() -> None:
    names = [
        line.command.split("-n ")[1].split()[0]
        for line in procfile.read(ROOT / "Procfile")
        if " worker " in line.command
    ]
    assert len(set(names)) == len(names) == 3


def test_comments_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, "# words\n\nweb:   serve --now \n") == [Line("web", "serve --now")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("web serve", "Procfile:1: Write `name: command`"),
        ("web: a\nweb: b", "Procfile:2: There are two processes named web"),
        ("web: migrate && serve", "web must be one command"),
        ("web: serve | tee log", "web must be one command"),
        ("web: serve &", "web must be one command"),
    ],
)
def test_a_line_that_cannot_be_run_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("(", r"\(")):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("celery -A x worker -P threads -c 20", procfile.THREADS),
        ("celery -A x worker --pool=threads", procfile.THREADS),
        ("celery -A x worker -P prefork -c 2", procfile.PREFORK),
        ("celery -A x worker --pool prefork", procfile.PREFORK),
        ("celery -A x worker -c 2", procfile.PREFORK),
        ("celery -A x beat", procfile.SERVICE),
        ("celery -A x flower --conf=y", procfile.SERVICE),
        ("granian --interface wsgi x:app", procfile.WEB),
    ],
)
def test_the_kind_comes_from_the_command(command: str, kind: procfile.Kind) -> None:
    assert Line("some", command).kind is kind


def test_the_kinds_stop_the_web_first_and_a_prefork_pool_by_two_signals() -> None:
    assert procfile.WEB.order < procfile.SERVICE.order < procfile.THREADS.order < procfile.SANDBOX.order
    assert procfile.PREFORK.escalate is signal.SIGQUIT and procfile.THREADS.escalate is None


def test_workers_get_the_grace_that_the_user_set(tmp_path: Path) -> None:
    worker = Line("w", "celery worker -P threads").program(env={}, cwd=tmp_path, stop_grace=7)
    assert worker.kind.grace == 7 and worker.argv == ["/bin/sh", "-c", "exec celery worker -P threads"]
    assert Line("b", "celery beat").program(env={}, cwd=tmp_path, stop_grace=7).kind.grace == 10


def test_variables_before_the_command_keep_their_meaning(tmp_path: Path) -> None:
    (line,) = read(tmp_path, "web: MODE=fast serve")
    assert line.program(env={}, cwd=tmp_path, stop_grace=1).argv[2] == "exec env MODE=fast serve"
