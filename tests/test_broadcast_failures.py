"""A campaign while its workers and Valkey are killed, scaled: nobody is lost, and nobody gets it twice.

The same program as `make prove-load ARGS="--campaign 100000"`, with stores of its own: Valkey dies in it.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

RECIPIENTS = 3_000
_OPTIONS = {"--campaign": RECIPIENTS, "--per-second": 250, "--lease": 10, "--patience": 240, "--seed": 7}
_TIMEOUT = 400


@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT + 60)
def test_whatever_dies_everybody_has_it_once_or_is_known_to_be_unknown(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    options = [str(word) for option in (*_OPTIONS.items(), ("--json", file)) for word in option]
    command = [sys.executable, "-m", "benchmarks.prove_load", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            said, _ = program.communicate(timeout=_TIMEOUT)
        finally:
            program.terminate()  # it takes its servers with it
    assert program.returncode == 0, said[-6000:]
    report: dict[str, Any] = json.loads(file.read_text())
    assert not any(report["first"].values())
    figures = report["figures"]
    assert figures["accepted"] + figures.get("unknown", 0) == RECIPIENTS
    assert figures.get("unknown", 0) <= figures["under way at kills"]
    assert "hold." in report["crm_prove"]
    # A run that cut off nothing would prove little.
    killed = Counter(kill["killed"] for kill in report["kills"])
    assert killed["valkey"] == 2
    assert killed["worker-campaigns"] >= 2
    assert figures["crashes of jobs"] > 0
