"""`crm` as a person types it: in this process, or as a program of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from crm_tasks.cli import crm
from tests.harness import ROOT


def run(*words: object, **options: Any) -> Result:
    """Run a command in this process; whatever happens, nobody is shown a traceback."""
    result = CliRunner().invoke(crm, [str(word) for word in words], **options)
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not unexpected, repr(result.exception)
    assert "Traceback" not in result.output
    return result


def said(*words: object, **options: Any) -> str:
    """Return what a command that works prints."""
    result = run(*words, **options)
    assert result.exit_code == 0, result.output
    return result.output


def data(*words: object) -> Any:
    """Return what a command prints for scripts: JSON and nothing else."""
    return json.loads(said(*words, "--json"))


def complaint(*words: object, code: int = 1) -> str:
    """Return what a command that does not work says, on standard error."""
    result = run(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr


def program(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `crm` as a program of its own, as a terminal of 120 columns shows it."""
    return subprocess.run(
        [sys.executable, "-m", "crm_tasks.cli", *words],
        cwd=cwd or ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ids(text: str) -> list[str]:
    """Return the ids in a text."""
    return re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)
