"""The failure test, scaled: everything is killed in turn under load; nothing is lost and nothing doubled.

The same program as `make prove-load`, with stores of its own: Valkey dies in it.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

MESSAGES = 160
_OPTIONS = {"--messages": MESSAGES, "--rate": 5, "--rounds": 1, "--lease": 6, "--patience": 120, "--seed": 7}
_TIMEOUT = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.CompletedProcess[str], dict[str, Any]]]:
    """One run: how it ended and what it found."""
    file = tmp_path_factory.mktemp("failures") / "report.json"
    options = [str(word) for option in (*_OPTIONS.items(), ("--json", file)) for word in option]
    command = [sys.executable, "-m", "benchmarks.prove_load", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            said, _ = program.communicate(timeout=_TIMEOUT)
        finally:
            program.terminate()  # it takes its servers with it
    yield subprocess.CompletedProcess(command, program.returncode, said), _read(file)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT + 60)
def test_nothing_is_lost_and_nothing_doubled_whatever_is_killed(
    run: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    done, report = run
    assert done.returncode == 0, done.stdout[-6000:]
    assert not any([*report["first"].values(), *report["last"].values()])
    assert report["figures"]["messages"] == MESSAGES
    assert report["figures"]["answers"] + report["figures"]["unknown"] == MESSAGES
    assert "hold." in report["crm_prove"]


@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT + 60)
def test_it_killed_everything_while_messages_came(
    run: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    _, report = run
    killed = Counter(kill["killed"] for kill in report["kills"])
    assert killed == {
        "web": 2,
        "worker-io": 3,
        "worker-campaigns": 1,
        "worker-bulk": 1,
        "beat": 1,
        "valkey": 1,
        "FLUSHALL": 1,
    }
    # A run that cut off no send and no request at the door, and where nothing came twice, would prove little.
    assert report["figures"]["sends cut off by a kill"]
    assert report["figures"]["not acknowledged"]
    assert report["figures"]["stored"] > MESSAGES
