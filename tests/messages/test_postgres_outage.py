"""Postgres goes away in the middle of sending, for longer than a send may take and than a lease lasts.

The same program as `python -m benchmarks.outage`, with stores of its own: Postgres is stopped in it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

MESSAGES = 200
# The time limit is passed while results wait for Postgres: who took them for stuck would throw them away.
_OPTIONS = {"--messages": MESSAGES, "--seconds": 20, "--lease": 8, "--limit": 10, "--answer": 1}
_TIMEOUT = 240


@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT + 60)
def test_what_was_answered_while_postgres_was_away_is_written_after_and_nothing_goes_twice(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    options = [str(word) for option in (*_OPTIONS.items(), ("--json", file)) for word in option]
    command = [sys.executable, "-m", "benchmarks.outage", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            said, _ = program.communicate(timeout=_TIMEOUT)
        finally:
            program.terminate()  # it takes its servers with it
    assert program.returncode == 0, said[-6000:]
    report: dict[str, Any] = json.loads(file.read_text())
    assert report["accepted"] + report["unknown"] == MESSAGES
    assert (report["twice"], report["lost_answers"], report["crashes"]) == (0, 0, 0)
    # An outage that met nothing under way would prove little.
    assert report["kept_by_the_worker"] > 0
    assert report["unknown"] <= report["under_way"]
