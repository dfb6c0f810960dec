"""A folder of real books with a manifest of what is to be expected of each, named by MPLUS_EBOOKS."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from document_laws import check_laws

from mplus_cli.documents import read
from mplus_cli.errors import Unreadable

FOLDER = os.environ.get("MPLUS_EBOOKS", "")


def entries() -> list[Any]:
    if not FOLDER:
        return []
    files = json.loads(Path(FOLDER, "manifest.json").read_text())["files"]
    return [pytest.param(entry, id=entry["file"]) for entry in files]


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="MPLUS_EBOOKS names no folder of books")
@pytest.mark.parametrize("entry", entries())
def test_every_book_is_read_or_refused_as_expected(entry: dict[str, Any]) -> None:
    start = time.monotonic()
    try:
        document = read(Path(FOLDER, entry["file"]), password=entry.get("password"))
    except Unreadable as problem:
        message = problem.message
        document = None
    assert time.monotonic() - start < 30
    if document is None:
        assert entry["expect"] in ("refuse", "either"), message
        assert "\n" not in message
        assert "damaged in a way" not in message
    else:
        assert entry["expect"] in ("read", "either")
        check_laws(document)
        if "pages" in entry["properties"]:
            assert document.pages_total == entry["properties"]["pages"]
