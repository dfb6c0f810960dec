"""Verify: every shard's hash, every text, every span, every index entry, against what was once written down."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from mplus_cli.documents.document import document_id
from mplus_cli.errors import LibraryDamaged
from mplus_cli.library import passages, tables
from mplus_cli.library.catalog import catalog_errors, migrate, snapshot
from mplus_cli.library.facts import problem_with
from mplus_cli.library.folders import MEMORY, TAILS
from mplus_cli.library.records import REINGEST, SHARD_SUFFIX, DocumentRecord, Finding, ShardRecord
from mplus_cli.library.shards import TEMPORARY_SUFFIX, digest

REPAIR = "`mplus library verify --repair` reads the document again from its stored text."
RESTORE = "Import the last export of this library, or remove it and ingest the files again."
REINDEX = "`mplus library verify --repair` writes the index again."
RESTRICT = "`mplus library verify --repair` takes the permissions away."


@dataclass(frozen=True)
class Checked:
    """What the checks share."""

    folder: Path
    connection: sqlite3.Connection


def verify(library: Checked) -> Iterator[Finding]:
    """Look at everything, yielding one finding for each thing as it is done; reads every byte, changes nothing."""
    connection, memory = library.connection, library.folder / MEMORY
    yield _finding("permissions", library.folder.name, partial(_permissions, library.folder), RESTRICT)
    yield _finding("catalog", "catalog.sqlite", partial(_catalog, connection), RESTORE)
    try:
        with catalog_errors(library.folder.name):
            for record in tables.documents(connection):
                yield from _document(library, record)
            yield _finding("search", "passages", partial(_search, connection), REINDEX)
            for shard in tables.shards(connection, memory):
                yield from _shard(library, shard)
            for record in tables.documents(connection):
                yield from _tail(library, record)
            yield _orphans(library)
    except (LibraryDamaged, TypeError) as error:
        yield Finding("catalog", "rows", False, str(error), RESTORE)


def _document(library: Checked, record: DocumentRecord) -> Iterator[Finding]:
    connection, slug, document = library.connection, record.slug, record.id
    yield _finding("document", slug, partial(_facts, connection, record), REINGEST, document)
    yield _finding("text", slug, partial(_text, connection, record), REINGEST, document)
    yield _finding("shard", f"{slug}: order", partial(_progress, library, document), REPAIR, document)


def _shard(library: Checked, shard: ShardRecord) -> Iterator[Finding]:
    finding = _finding("shard", shard.path.name, partial(_shard_content, shard), REPAIR, shard.document)
    if finding.ok or tables.names_shard(library.connection, shard.sha256):  # else a writer superseded it just now
        yield finding


def _tail(library: Checked, record: DocumentRecord) -> Iterator[Finding]:
    name = tables.tail(library.connection, record.id)
    if name is None:
        return
    path = library.folder / TAILS / (name + SHARD_SUFFIX)
    finding = _finding("tail", path.name, partial(_tail_content, path, name), REPAIR, record.id)
    if finding.ok or tables.names_tail(library.connection, name):
        yield finding


def _finding(kind: str, name: str, check: Callable[[], str], remedy: str, document: str = "") -> Finding:
    """Run one check: it returns what it saw, or raises LibraryDamaged or ValueError with what is wrong."""
    try:
        with catalog_errors(name):
            return Finding(kind, name, True, check(), "", document)  # type: ignore[arg-type]
    except (LibraryDamaged, ValueError, TypeError) as error:
        return Finding(kind, name, False, str(error).rstrip("."), remedy, document)  # type: ignore[arg-type]


def _permissions(folder: Path) -> str:
    open_to_others = list(exposed(folder))
    if open_to_others:
        raise ValueError(f"others may read {open_to_others[0]} (and {len(open_to_others) - 1} more)")
    return "only the owner may read"


def exposed(folder: Path) -> Iterator[Path]:
    """Files and folders of a library that somebody else may read or write."""
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o077:
            yield path


def _catalog(connection: sqlite3.Connection) -> str:
    faults = [row[0] for row in connection.execute("PRAGMA integrity_check(10)") if row[0] != "ok"]
    faults += [f"a row of {row[0]} belongs to nothing" for row in connection.execute("PRAGMA foreign_key_check")]
    if faults:
        raise ValueError("; ".join(str(fault).replace("\n", " ") for fault in faults))
    with sqlite3.connect(":memory:") as fresh:
        migrate(fresh)
        if _schema(connection) != _schema(fresh):
            raise ValueError("its tables are not those that mplus makes")
    tables.read_identity(connection)
    return "sound"


def _schema(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    return {tuple(row) for row in connection.execute("SELECT type, name, tbl_name, sql FROM main.sqlite_master")}


def _facts(connection: sqlite3.Connection, record: DocumentRecord) -> str:
    facts = tables.facts(connection, record)
    if facts.checksum(record.number, record.added_at) != tables.stored_checksum(connection, record.id):
        raise ValueError("its title, chapters, pages or chunks are not what was written")
    if problem := problem_with(facts):
        raise ValueError(problem)
    if (record.tokens, record.chunks) != (facts.tokens, len(facts.chunks)):
        raise ValueError("its counts do not fit its chunks")
    return f"{record.chunks} chunks cover {record.characters} characters"


def _text(connection: sqlite3.Connection, record: DocumentRecord) -> str:
    text = tables.text(connection, record.id)
    if text is None:
        return "not in this library (imported without texts)"
    if document_id(text) != record.id or len(text) != record.characters:
        raise ValueError("its text is not what was read")
    return f"{record.characters} characters"


def _progress(library: Checked, document: str) -> str:
    """Shards follow one another from chunk 0, all but the last are full, and they hold what the document says."""
    with snapshot(library.connection):
        records = tables.documents(library.connection, document)
        shards = tables.shards(library.connection, library.folder / MEMORY, [document])
        size = tables.read_identity(library.connection).chunks_per_shard
        tail = tables.tail(library.connection, document)
    if not records:
        return "forgotten meanwhile"
    record, covered = records[0], 0
    for shard in shards:
        if shard.first_chunk != covered or covered % size or shard.chunk_count > size:
            raise ValueError(f"a shard holds {shard.chunk_count} chunks from {shard.first_chunk} on, after {covered}")
        covered += shard.chunk_count
    if covered != record.chunks_read or (record.state == "read" and covered != record.chunks):
        raise ValueError(
            f"its shards hold {covered} of {record.chunks} chunks; {record.chunks_read} are said to be read"
        )
    if (tail is not None) != (0 < covered < record.chunks):
        raise ValueError("its tail does not fit how far it was read")
    return f"{covered} of {record.chunks} chunks in {len(shards)} shards"


def _shard_content(shard: ShardRecord) -> str:
    sha256, size = digest(shard.path)
    if (sha256, size) != (shard.sha256, shard.bytes):
        raise ValueError(f"damaged: its content ({size} bytes) is not what its name and the catalogue say")
    return f"{size} bytes"


def _tail_content(path: Path, name: str) -> str:
    sha256, size = digest(path)
    if sha256 != name:
        raise ValueError("damaged: its content is not what its name says")
    return f"{size} bytes"


def _search(connection: sqlite3.Connection) -> str:
    """The stored index must hold the words that an index made now from the same texts holds."""
    with sqlite3.connect(":memory:") as fresh, snapshot(connection):
        migrate(fresh)
        for record in tables.documents(connection):
            if (text := tables.text(connection, record.id)) is not None:
                passages.add(fresh, tables.passage_rows(connection, record.number, text))
        count = 0
        for expected, found in zip_longest(passages.entries(fresh), passages.entries(connection)):
            if expected != found:
                raise ValueError("the full-text index does not fit the texts")
            count += 1
        if passages.sizes(fresh) != passages.sizes(connection):
            raise ValueError("the full-text index has wrong lengths")
    return f"{count} words"


def _orphans(library: Checked) -> Finding:
    named, tails = tables.live_names(library.connection)
    live = {MEMORY: named, TAILS: tails}
    stray = [
        path
        for folder in (MEMORY, TAILS)
        for path in (library.folder / folder).iterdir()
        if path.name.removesuffix(SHARD_SUFFIX) not in live[folder] and not path.name.endswith(TEMPORARY_SUFFIX)
    ]
    size = sum(path.lstat().st_size for path in stray if path.exists())
    detail = f"{len(stray)} files that no document needs, {size} bytes: `mplus library gc` removes them"
    return Finding("orphan", "files", True, detail if stray else "none")
