"""A library on a disk that is full or read-only can still be read, and removed to make room."""

from __future__ import annotations

import errno
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from library_fakes import book, ingest, memory_of

from mplus_cli.errors import MplusError, NotEnoughSpace
from mplus_cli.failures import as_mplus_error
from mplus_cli.library import Library, catalog
from mplus_cli.library.folders import remove


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def closed(library: Library) -> Path:
    """A library with a book that nobody has open, without SQLite's files beside the catalogue: as after an import."""
    ingest(library, book())
    library.gc()
    library.close()
    assert (library.path / "catalog.sqlite-wal").stat().st_size == 0
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (library.path / name).unlink()
    return library.path


def test_a_library_is_read_though_the_disk_is_full(closed: Path) -> None:
    with full_disk(), Library.open(closed) as found:
        (record,) = found.documents()
        assert found.text(record.id) == book().text
        assert found.search(book().text.split()[0])
        assert memory_of(found)


def test_nothing_is_written_on_a_full_disk_and_nothing_is_lost(closed: Path) -> None:
    with full_disk(), Library.open(closed) as found, pytest.raises(NotEnoughSpace):
        ingest(found, book("Essays"))
    with Library.open(closed) as found:
        assert all(finding.ok for finding in found.verify())


def test_a_library_is_removed_from_a_full_disk(closed: Path) -> None:
    with full_disk():
        remove(closed)
    assert list(closed.parent.iterdir()) == []


def test_a_reader_that_may_write_nothing_takes_the_catalogue_as_it_stands(closed: Path, monkeypatch) -> None:
    connected = catalog._connected

    def refused(uri: str, writing: bool) -> sqlite3.Connection:
        if "immutable" not in uri:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error
        return connected(uri, writing)

    monkeypatch.setattr(catalog, "_connected", refused)
    with Library.open(closed) as found:
        assert len(found.documents()) == 1
    (closed / "catalog.sqlite-wal").write_bytes(b"changes that are not in the catalogue yet")
    with pytest.raises(MplusError, match="cannot be opened") as refusal:
        Library.open(closed)
    assert refusal.value.exit_code == 1
    assert "read-only" in refusal.value.remedy


def test_a_disk_that_is_mounted_read_only_is_no_fault_of_ours() -> None:
    shown = as_mplus_error(OSError(errno.EROFS, "Read-only file system", "/media/disc/libraries"))
    assert "mounted read-only: /media/disc/libraries" in shown.message
