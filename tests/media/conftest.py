"""A worker for a whole module, a shop whose channel points at the sandbox, and an empty store."""

import shutil

import pytest

from crm_tasks.config import settings
from tests.messages.conftest import sender, shop, wire

__all__ = ["sender", "shop", "wire"]


@pytest.fixture(autouse=True)
def no_files() -> None:
    """Begin without the files of the test before."""
    shutil.rmtree(settings().media_path, ignore_errors=True)
