"""`crm --help` and every command below it: named, explained, and a wrong word is a sentence."""

import re
from pathlib import Path

import click
import pytest

from crm_tasks.cli import COMMANDS, crm
from tests.cli.terminal import complaint, program, run, said


def commands(group: click.Group = crm, way: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the way to every command."""
    found = []
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            found.append((*way, name))
            if isinstance(command, click.Group):
                found += commands(command, (*way, name))
    return found


def test_the_help_names_every_command_with_what_it_does() -> None:
    text = said("--help")
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", text, re.MULTILINE), name


def test_the_help_is_quick_because_it_imports_no_command() -> None:
    loaded = program("-h", PYTHONPROFILEIMPORTTIME="1").stderr
    assert "crm_tasks.cli" in loaded
    assert "sqlalchemy" not in loaded


@pytest.mark.parametrize("way", commands(), ids=" ".join)
def test_every_command_explains_itself(way: tuple[str, ...]) -> None:
    text = said(*way, "--help")
    assert text.startswith("Usage: crm")
    explanation = text.split("\n\n")[1].strip()
    assert explanation.endswith((".", ":")), explanation
    assert said(*way, "-h") == text


def test_the_version_is_shown() -> None:
    assert re.fullmatch(r"crm, version \d+\.\d+\S*\n", said("--version"))


@pytest.mark.parametrize(
    "words",
    [
        ("statsu",),
        ("job", "shw"),
        ("job", "show"),
        ("job", "show", "seven"),
        ("job", "list", "--state", "sleeping"),
        ("hold", "place", "all"),
        ("channel", "add"),
        ("events", "replay"),
        ("dlq", "discard", "--all"),
        ("workspace", "auto-reply", "perhaps"),
        ("--colour",),
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_a_sentence_and_status_2(words: tuple[str, ...]) -> None:
    assert "Error: " in complaint(*words, code=2)


def test_a_wrong_environment_names_every_variable_and_no_value(tmp_path: Path) -> None:
    env = {"PORT": "99999", "LEASE": "soon-and-secret", "QUEUE_AI_BACKOFF": "soon", "WEB_THREADS": "0"}
    env |= {"HTTP_RETRY_DELAYS": "a,b", "QUEUE_AI_RATE": "secret", "DATABASE_URL": "", "REPLY_WINDOW": "-1"}
    done = program("status", cwd=tmp_path, **env)
    assert done.returncode == 1
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
    for name in env:
        assert f"  {name}: " in done.stderr
    assert "secret" not in done.stderr
    assert "docs/configuration.md" in done.stderr


def test_production_refuses_the_secrets_of_development(tmp_path: Path) -> None:
    done = program("status", cwd=tmp_path, CRM_ENV="production", CRM_HOME=str(tmp_path))
    assert done.returncode == 1
    for name in ("SECRET_KEY", "PASSWORD_SALT", "ENCRYPTION_KEYS", "FLOWER_PASSWORD"):
        assert f"  {name}: " in done.stderr
    assert "development-only" not in done.stderr


def test_a_word_that_is_no_command_is_not_run() -> None:
    assert run("__main__").exit_code == 2
