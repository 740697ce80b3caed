"""What the documents promise and what the code has, compared: settings, tasks, tables, processes."""

import ast
import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from honcho.environ import parse_procfile

import crm_tasks.celery
from crm_tasks.config import DEVELOPMENT_ENCRYPTION_KEY, DEVELOPMENT_SECRET, load
from crm_tasks.core import db
from crm_tasks.core.jobs import registry
from crm_tasks.core.queues import ALIASES, POLICIES, Queue, queue_of
from crm_tasks.models import Base
from tests.harness import ROOT

ROOMS = ("crm_tasks", "webapp", "sandbox")
PER_QUEUE = ("ATTEMPTS", "BACKOFF", "TIME_LIMIT", "TARGET_AGE", "KEEP_DAYS", "CONCURRENCY", "RATE")


def variables(path: str) -> set[str]:
    """Return the variables that a module reads through environs."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            reader, name = node.func.value, node.args[0]
            if isinstance(reader, ast.Name) and reader.id == "env" and isinstance(name, ast.Constant):
                found.add(name.value)
    return found


VARIABLES = variables("crm_tasks/config.py") | variables("crm_tasks/core/queues.py") | {"CRM_HOME"}


def named_in(text: str) -> set[str]:
    return set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b", text))


def test_there_are_settings_to_compare() -> None:
    assert {"DATABASE_URL", "HTTP_RETRY_DELAYS", "UNKNOWN_WAIT", "REDIS_HOST", "QUEUE_CONCURRENCY"} <= VARIABLES
    assert len(VARIABLES) > 50


@pytest.mark.parametrize("document", [".env.example", "docs/configuration.md"])
def test_every_setting_is_described(document: str) -> None:
    text = (ROOT / document).read_text()
    assert sorted(VARIABLES - named_in(text)) == []
    for suffix in PER_QUEUE:
        assert re.search(rf"QUEUE_(<NAME>|\{{?NAME\}}?|[A-Z]+)_{suffix}\b|`_{suffix}`", text), suffix


def test_the_example_sets_nothing_that_does_not_exist_and_no_secret() -> None:
    text = (ROOT / ".env.example").read_text()
    names = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))
    per_queue = {f"QUEUE_{queue.upper()}_{suffix}" for queue in Queue for suffix in PER_QUEUE}
    sources = "".join(path.read_text() for room in ROOMS for path in (ROOT / room).glob("**/*.py"))
    elsewhere = {name for name in names if f'"{name}"' in sources}
    assert sorted(names - VARIABLES - per_queue - elsewhere) == []
    assert DEVELOPMENT_SECRET not in text
    assert DEVELOPMENT_ENCRYPTION_KEY not in text


def test_the_example_is_an_environment_that_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    monkeypatch.chdir(tmp_path)
    assert load().port


def test_nobody_else_reads_the_environment() -> None:
    """Except the supervisor, which makes it, and what must know before settings can be read."""
    allowed = re.compile(r"crm_tasks/(config\.py|stack/|cli/)")
    for path in ROOT.glob("crm_tasks/**/*.py"):
        name = path.relative_to(ROOT).as_posix()
        if not allowed.match(name):
            assert not re.search(r"os\.(environ|getenv)", path.read_text()), name
    for path in ROOT.glob("webapp/**/*.py"):
        assert not re.search(r"os\.(environ|getenv)", path.read_text()), path


def test_every_task_belongs_to_a_queue_and_its_room() -> None:
    tasks = crm_tasks.celery.app.tasks
    names = [name for name in registry.task_names() if tasks[name].run.__module__.startswith("crm_tasks.")]
    assert {"messages.receive", "messages.send", "messages.settle", "ai.reply"} <= set(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name), name
        assert queue_of(name) in POLICIES
        room = name.partition(".")[0]
        assert re.fullmatch(rf"crm_tasks\.{room}\.(\w+_)?tasks", tasks[name].run.__module__), name


def test_every_queue_has_a_policy_and_no_alias_hides_one() -> None:
    assert set(POLICIES) == set(Queue)
    assert not set(ALIASES) & set(map(str, Queue))


def test_the_migrations_make_exactly_the_tables_of_the_models(stores: None) -> None:
    partitions = re.compile(r"_(p?\d{6,8}|default|\d{4}_\d{2}(_\d{2})?)$")

    def ours(_object: object, name: str | None, kind: str, reflected: bool, _compared: object) -> bool:
        return not (kind == "table" and reflected and (name == "alembic_version" or partitions.search(name or "")))

    with db.engine().connect() as connection:
        options = {"compare_type": True, "include_object": ours}
        context = MigrationContext.configure(connection, opts=options)
        difference = list(compare_metadata(context, Base.metadata))
        present = set(sa.inspect(connection).get_table_names())
    assert difference == []
    assert {table.name for table in Base.metadata.sorted_tables} <= present


def test_migrations_are_numbered_in_one_line() -> None:
    files = sorted(path.name for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    assert [name[:4] for name in files] == [f"{n:04d}" for n in range(1, len(files) + 1)]


def test_every_line_of_the_procfile_is_a_process_for_honcho_too() -> None:
    text = (ROOT / "Procfile").read_text()
    processes = parse_procfile(text).processes
    assert list(processes) == ["web", "worker-io", "worker-campaigns", "worker-bulk", "beat", "flower"]
    served = [queue for line in processes.values() for queue in _queues(line)]
    assert sorted(served) == sorted(Queue)
    for line in processes.values():
        assert "$" not in line and "&&" not in line


def _queues(line: str) -> list[str]:
    found = re.search(r" -Q (\S+)", line)
    return found[1].split(",") if found else []
