from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from library_fakes import identity

from mplus_cli.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty library of a model whose shards hold four chunks."""
    with Library.create(tmp_path / "libraries" / "novels", identity()) as library:
        yield library
