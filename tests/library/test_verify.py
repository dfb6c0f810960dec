"""Every flipped bit and every cut file is found, named, and mended where that can be done from the text."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from library_fakes import begin, book, expected_memory, ingest, memory_of

from mplus_cli.errors import LibraryDamaged, MplusError, NotFound
from mplus_cli.library import Library
from mplus_cli.library.catalog import FORMAT_VERSION, MIGRATIONS, migrate, transaction, user_version


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def bad_kinds(library: Library) -> set[str]:
    return {finding.kind for finding in library.verify() if not finding.ok}


def settle(path: Path) -> Path:
    """Bring everything into catalog.sqlite itself; returns it."""
    catalog = path / "catalog.sqlite"
    with sqlite3.connect(catalog) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return catalog


def test_a_sound_library_has_only_good_findings(library: Library) -> None:
    ingest(library, book())
    ingest(library, book("Emma"), stop_after=5)
    findings = list(library.verify())
    assert [finding for finding in findings if not finding.ok or finding.remedy] == []
    assert {finding.kind for finding in findings} == {
        "permissions", "catalog", "document", "text", "shard", "search", "tail", "orphan"
    }  # fmt: skip


def test_a_flipped_bit_in_any_shard_or_tail_is_found_and_mended_from_the_text(library: Library) -> None:
    document, other = book(), book("Emma")
    ingest(library, document)
    ingest(library, other, stop_after=5)
    rng = random.Random(1)
    for path in [*(shard.path for shard in library.shards()), *(library.path / "tails").iterdir()]:
        flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
    findings = [finding for finding in library.verify() if not finding.ok]
    assert {finding.document for finding in findings} == {document.id, other.id}
    assert all(finding.remedy for finding in findings)
    unread = library.repair(findings)
    assert [record.id for record in unread] == [document.id, other.id]
    for record in unread:
        assert ingest(library, library.document(record.id))
    assert memory_of(library) == expected_memory(document) + expected_memory(other)
    assert bad_kinds(library) == set()


def test_repair_writes_only_what_differs(library: Library) -> None:
    ingest(library, book())
    paths = [shard.path for shard in library.shards()]
    flip(paths[1], 0)
    before = {path: path.stat().st_ino for path in paths}
    library.repair(library.verify())
    ingest(library, book())
    assert {path for path in paths if path.stat().st_ino != before[path]} == {paths[1]}


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_cut_or_missing_shard_is_found(library: Library, length: int) -> None:
    ingest(library, book())
    path = library.shards()[1].path
    data = path.read_bytes()
    path.write_bytes(data[:length])
    assert bad_kinds(library) == {"shard"}
    with pytest.raises(LibraryDamaged, match="bytes"):
        library.shards()
    path.unlink()
    assert bad_kinds(library) == {"shard"}
    with pytest.raises(LibraryDamaged, match="missing"):
        library.shards()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE documents SET title = 'Other'", "document"),
        ("UPDATE documents SET number = 7", "catalog"),
        ("UPDATE documents SET added_at = ''", "document"),
        ("UPDATE documents SET characters = 3", "document"),
        ("UPDATE documents SET tokens = 3", "document"),
        ("UPDATE documents SET chunks_read = 3", "shard"),
        ("UPDATE documents SET state = 'reading', tail = 'x'", "shard"),
        ("UPDATE sections SET title = 'Other'", "document"),
        ("UPDATE pages SET label = 'Other'", "document"),
        ("UPDATE chunks SET end = end + 1, start = start + 1", "document"),
        ("UPDATE shards SET chunk_count = 3 WHERE first_chunk = 4", "shard"),
        ("UPDATE shards SET sha256 = 'no'", "shard"),
        ("UPDATE texts SET text = CAST(text || 'x' AS BLOB)", "text"),
        ("DELETE FROM shards", "shard"),
        ("DELETE FROM passages_docsize", "search"),
        ("INSERT INTO passages (passages) VALUES ('delete-all')", "search"),
        ("DELETE FROM library", "catalog"),
        ("UPDATE library SET value = replace(value, 'tiny', 'tidy') WHERE key = 'identity'", "catalog"),
        ("DROP INDEX shards_by_sha256", "catalog"),
    ],
)
def test_every_changed_fact_is_found(library: Library, change: str, kind: str) -> None:
    ingest(library, book())
    with sqlite3.connect(library.path / "catalog.sqlite") as connection:
        connection.execute(change)
    connection.close()
    assert kind in bad_kinds(library)


def test_the_index_is_written_again_from_the_texts(library: Library) -> None:
    ingest(library, book(text="Pierre was there. " * 20))
    with sqlite3.connect(library.path / "catalog.sqlite") as connection:
        connection.execute("INSERT INTO passages (passages) VALUES ('delete-all')")
    connection.close()
    assert library.repair(library.verify()) == []
    assert bad_kinds(library) == set()
    assert library.search("Pierre")


def outcome(path: Path, target: Path) -> bytes | None:
    """The export of a library that verifies, or None when the damage was noticed (and only in words)."""
    try:
        with Library.open(path) as library:
            if bad_kinds(library):
                return None
            library.export(target)
            return target.read_bytes()
    except MplusError:
        return None
    finally:
        target.unlink(missing_ok=True)


def spoiled_copies(library: Library, tmp_path: Path, spoil: Callable[[Path, int], None], count: int) -> tuple[int, int]:
    """(noticed, harmless) of `count` copies with a spoiled catalogue; asserts that there is no third kind."""
    ingest(library, book())
    ingest(library, book("Emma"), stop_after=5)
    library.close()
    settle(library.path)
    expected = outcome(library.path, tmp_path / "x.mplus")
    noticed = harmless = 0
    for number in range(count):
        copy = tmp_path / "copy"
        shutil.copytree(library.path, copy)
        spoil(copy / "catalog.sqlite", number)
        found = outcome(copy, tmp_path / "x.mplus")
        assert found in (None, expected), f"damage {number} changed the library and went unnoticed"
        noticed, harmless = noticed + (found is None), harmless + (found is not None)
        shutil.rmtree(copy)
    return noticed, harmless


def test_a_flipped_bit_in_the_catalogue_is_noticed_or_harmless(library: Library, tmp_path: Path) -> None:
    rng = random.Random(2)
    noticed, _ = spoiled_copies(
        library, tmp_path, lambda path, _: flip(path, rng.randrange(path.stat().st_size), rng.randrange(8)), 60
    )
    assert noticed > 10


@pytest.mark.slow
def test_thousands_of_flipped_bits_are_noticed_or_harmless(library: Library, tmp_path: Path) -> None:
    rng = random.Random(3)
    spoiled_copies(
        library, tmp_path, lambda path, _: flip(path, rng.randrange(path.stat().st_size), rng.randrange(8)), 4000
    )


def test_a_catalogue_cut_at_any_length_is_noticed(library: Library, tmp_path: Path) -> None:
    def cut(path: Path, number: int) -> None:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate([0, 1, 99, 100, 4095, 4096, size // 2, size - 4096, size - 1][number])

    assert spoiled_copies(library, tmp_path, cut, 9) == (9, 0)


def test_what_is_no_library_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Library.open(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LibraryDamaged, match="not an mplus library"):
        Library.open(tmp_path / "folder")
    for part in ("memory", "tails"):
        (tmp_path / "folder" / part).mkdir()
    for content in (b"", b"not a database at all" * 100):
        (tmp_path / "folder" / "catalog.sqlite").write_bytes(content)
        with pytest.raises(LibraryDamaged):
            Library.open(tmp_path / "folder")
    (tmp_path / "folder" / "catalog.sqlite").unlink()
    connection = sqlite3.connect(tmp_path / "folder" / "catalog.sqlite")
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(LibraryDamaged, match="not an mplus library"):
        Library.open(tmp_path / "folder")


def test_a_newer_format_is_refused_and_named(library: Library) -> None:
    library.close()
    with sqlite3.connect(library.path / "catalog.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()
    with pytest.raises(LibraryDamaged, match="newer version of mplus") as refused:
        Library.open(library.path)
    assert "newest" in refused.value.remedy


def test_migrations_run_in_order_once_and_all_or_nothing() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    steps = [*MIGRATIONS, "CREATE TABLE extra (x);\nINSERT INTO extra VALUES (1);", "CREATE TABLE extra (x);"]
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, steps)
    assert user_version(connection) == len(MIGRATIONS) + 1
    migrate(connection, steps[:-1])
    assert connection.execute("SELECT x FROM extra").fetchall() == [(1,)]


def test_a_failed_transaction_leaves_nothing_open() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)

    def fail() -> None:
        with transaction(connection):
            connection.execute("CREATE TABLE extra (x)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not connection.in_transaction
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_orphans_are_counted_and_are_no_damage(library: Library) -> None:
    ingest(library, book())
    (library.path / "memory" / ("0" * 64 + ".safetensors")).write_bytes(b"orphan")
    finding = next(finding for finding in library.verify() if finding.kind == "orphan")
    assert finding.ok
    assert "1 files" in finding.detail
    assert "gc" in finding.detail


def test_an_orphan_with_the_right_name_and_wrong_bytes_is_replaced(library: Library) -> None:
    document = book()
    ingest(library, document)
    names = [shard.path for shard in library.shards()]
    with library.writing() as writer:
        writer.mark_unread(document.id)
    names[0].write_bytes(b"x" * names[0].stat().st_size)
    assert begin(library, document).chunks_read == 0
    ingest(library, document)
    assert memory_of(library) == expected_memory(document)
