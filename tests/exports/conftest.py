"""A caller of the API, and no files of the test before."""

import shutil

import pytest

from crm_tasks.config import settings
from tests.webapp.conftest import api, other, stranger

__all__ = ["api", "other", "stranger"]


@pytest.fixture(autouse=True)
def no_files() -> None:
    """Begin without the files of the test before."""
    shutil.rmtree(settings().export_path, ignore_errors=True)
