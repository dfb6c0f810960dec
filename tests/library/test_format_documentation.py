"""docs/library-format.md says what is on disk."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import fields
from pathlib import Path

from library_fakes import book, ingest

from mplus_cli.library import Library, ModelIdentity
from mplus_cli.library.bundle import BUNDLE_FORMAT
from mplus_cli.library.catalog import APPLICATION_ID, FORMAT_VERSION
from mplus_cli.library.facts import Facts

TEXT = (Path(__file__).parents[2] / "docs" / "library-format.md").read_text(encoding="utf-8")


def test_every_table_and_column_is_documented(library: Library) -> None:
    with sqlite3.connect(library.path / "catalog.sqlite") as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}
    connection.close()
    documented = {
        row[0]: re.findall(r"`(\w+)`", row[1]) for row in re.findall(r"^\| `(\w+)` \| (`[^|]*) \|", TEXT, re.MULTILINE)
    }
    for table, names in columns.items():
        if not table.startswith("passages"):
            assert documented[table] == names
    assert "| `passages` | FTS5 |" in TEXT


def test_every_file_and_field_is_documented(library: Library) -> None:
    ingest(library, book(), stop_after=5)
    with library.writing():
        names = {path.name for path in library.path.iterdir()}
    assert all(name.removesuffix("-wal").removesuffix("-shm") in TEXT for name in names)
    assert all(f"`{field.name}`" in TEXT for field in (*fields(ModelIdentity), *fields(Facts)))


def test_versions_are_those_of_the_code() -> None:
    assert f"Format version: {FORMAT_VERSION}." in TEXT
    assert f'"format": {BUNDLE_FORMAT}' in TEXT
    assert f"0x{APPLICATION_ID:X}" in TEXT
