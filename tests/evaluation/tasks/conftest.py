"""What the makers of synthetic tasks read, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.tasks.invented import fill


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of invented books and questions; tests only read it."""
    return fill(tmp_path_factory.mktemp("synthetic"))
