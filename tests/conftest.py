"""What all tests share: the repository's folders and the implementations that it ships. Nothing here starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.plan import catalog as catalogs
from testbed.plan.catalog import Catalog

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The implementations of ``images/``."""
    return catalogs.load()
