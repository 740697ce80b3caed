"""A system of its own for each test: a directory, free ports, a Procfile, `up` in a process."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_tasks.stack import home as homes
from tests.harness import ROOT

from .harness import Nobody, System


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path)
    made.procfile(web="python3 web.py")
    yield made
    made.end()


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """Give a directory that every account of this machine can reach, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="crm-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a CRM_HOME that exists."""
    homes.make(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def of_nobody(shared_directory: Path) -> Nobody:
    """Give what it takes to be an ordinary user; skips where no interpreter is within its reach."""
    entry = pwd.getpwnam("nobody")
    account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    # redis-py wants this on the Python 3.11.2 of Debian 12, and our lock has it for that one only.
    (shared_directory / "async_timeout.py").write_text("from asyncio import timeout\n")
    env = {"PYTHONPATH": f"{ROOT}:{packages}:{shared_directory}", "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    directory = shared_directory / "of-nobody"
    directory.mkdir(mode=0o700)
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    for python in (sys.executable, "/usr/bin/python3.11"):
        try:
            done = subprocess.run(
                [python, "-c", "import crm_tasks.stack.up"], env=env, cwd="/", capture_output=True, **account
            )
        except OSError:
            continue
        if done.returncode == 0:
            return Nobody(directory, account, python, env)
    pytest.skip("no interpreter that another account can reach")
