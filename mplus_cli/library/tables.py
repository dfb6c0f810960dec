"""Rows of the catalogue to values and back: one short function for each question and each change.

Nothing here commits; a change belongs in the caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from mplus_cli.documents.document import Page, PageKind, Section, Skipped
from mplus_cli.errors import LibraryDamaged
from mplus_cli.library import passages
from mplus_cli.library.facts import SCALARS, Facts
from mplus_cli.library.records import (
    SHARD_SUFFIX,
    ChunkRecord,
    DocumentRecord,
    ModelIdentity,
    ShardRecord,
    canonical,
    checksum,
    identity_from_mapping,
    identity_to_json,
)

_DOCUMENT = """number, id, slug, title, author, language, format, source, characters, tokens, chunks, chunks_read,
    pages_read, pages_total, page_kind, skipped, warnings, state, added_at"""


def write_identity(connection: sqlite3.Connection, identity: ModelIdentity) -> None:
    """Say whose rows the library holds."""
    text = identity_to_json(identity)
    rows = [("identity", text), ("identity_checksum", checksum(text))]
    connection.executemany("INSERT INTO library (key, value) VALUES (?, ?)", rows)


def read_identity(connection: sqlite3.Connection) -> ModelIdentity:
    """Whose rows the library holds; raises ValueError when that is damaged."""
    values = dict(map(tuple, connection.execute("SELECT key, value FROM library")))
    if "identity" not in values or checksum(values["identity"]) != values.get("identity_checksum"):
        raise ValueError("the model identity does not fit its checksum")
    return identity_from_mapping(json.loads(values["identity"]))


def set_flag(connection: sqlite3.Connection, key: str, on: bool) -> None:
    """Remember that something is still to be done (or no more)."""
    if on:
        connection.execute("INSERT OR REPLACE INTO library (key, value) VALUES (?, 'yes')", [key])
    else:
        connection.execute("DELETE FROM library WHERE key = ?", [key])


def has_flag(connection: sqlite3.Connection, key: str) -> bool:
    """Whether that is still to be done."""
    return connection.execute("SELECT 1 FROM library WHERE key = ?", [key]).fetchone() is not None


def documents(connection: sqlite3.Connection, document: str | None = None) -> list[DocumentRecord]:
    """All documents in reading order, or the one of that id."""
    where, values = ("", []) if document is None else ("WHERE id = ?", [document])
    rows = connection.execute(f"SELECT {_DOCUMENT} FROM documents {where} ORDER BY number", values)
    return [_document(row) for row in rows]


def _document(row: sqlite3.Row) -> DocumentRecord:
    values = dict(row)
    try:
        values["skipped"] = tuple(Skipped(*pair) for pair in json.loads(row["skipped"]))
        values["warnings"] = tuple(json.loads(row["warnings"]))
    except (ValueError, TypeError) as error:
        raise LibraryDamaged(f"The catalogue's row of document {row['number']} is damaged.") from error
    return DocumentRecord(**values)


def slug_taken(connection: sqlite3.Connection, slug: str) -> bool:
    """Whether a document of the library has this name already."""
    return connection.execute("SELECT 1 FROM documents WHERE slug = ?", [slug]).fetchone() is not None


def insert_document(connection: sqlite3.Connection, facts: Facts, added_at: str) -> int:
    """Add a document with its sections, pages and chunks, nothing of it read yet; returns its number."""
    number = int(connection.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM documents").fetchone()[0])
    raw = facts.as_mapping()
    values = {name: raw[name] for name in SCALARS}
    values |= {"number": number, "tokens": facts.tokens, "chunks": len(facts.chunks), "added_at": added_at}
    values |= {"skipped": canonical(raw["skipped"]), "warnings": canonical(raw["warnings"])}
    values |= {"checksum": facts.checksum(number, added_at)}
    names = ", ".join(values)
    connection.execute(f"INSERT INTO documents ({names}) VALUES ({', '.join('?' * len(values))})", [*values.values()])
    connection.executemany(
        "INSERT INTO sections (document, position, title, level, start, end) VALUES (?, ?, ?, ?, ?, ?)",
        ((number, position, *row) for position, row in enumerate(raw["sections"])),
    )
    connection.executemany(
        "INSERT INTO pages (document, position, number, label, start, end) VALUES (?, ?, ?, ?, ?, ?)",
        ((number, position, *row) for position, row in enumerate(raw["pages"])),
    )
    connection.executemany(
        "INSERT INTO chunks (document, number, start, end, tokens) VALUES (?, ?, ?, ?, ?)",
        ((number, position, *row) for position, row in enumerate(facts.chunks)),
    )
    return number


def insert_text(connection: sqlite3.Connection, number: int, text: str) -> None:
    """Keep a document's text and make its chunks findable."""
    data = text.encode("utf-8", "surrogatepass")
    connection.execute("INSERT INTO texts (document, text) VALUES (?, ?)", [number, data])
    passages.add(connection, passage_rows(connection, number, text))


def text(connection: sqlite3.Connection, document: str) -> str | None:
    """The text of a document; None when the library holds none for it."""
    row = connection.execute(
        "SELECT text FROM texts JOIN documents ON documents.number = texts.document WHERE documents.id = ?", [document]
    ).fetchone()
    if row is None:
        return None
    try:
        return cast(bytes, row[0]).decode("utf-8", "surrogatepass")
    except (ValueError, AttributeError) as error:
        raise LibraryDamaged(f"The text of document {document} is damaged.") from error


def passage_rows(connection: sqlite3.Connection, number: int, text: str) -> list[tuple[int, str]]:
    """(rowid, text) of a document's chunks, as the index wants them."""
    rows = connection.execute("SELECT id, start, end FROM chunks WHERE document = ? ORDER BY number", [number])
    return [(row["id"], text[row["start"] : row["end"]]) for row in rows]


def delete_document(connection: sqlite3.Connection, record: DocumentRecord) -> None:
    """Remove every row of a document, its words in the index too."""
    if (body := text(connection, record.id)) is not None:
        passages.discard(connection, passage_rows(connection, record.number, body))
    connection.execute("DELETE FROM documents WHERE number = ?", [record.number])


def sections(connection: sqlite3.Connection, document: str) -> tuple[Section, ...]:
    """The chapters of a document, sorted by start."""
    return tuple(Section(*row) for row in _parts(connection, "sections", "title, level, start, end", document))


def pages(connection: sqlite3.Connection, document: str) -> tuple[Page, ...]:
    """The pages of a document, sorted by start."""
    return tuple(Page(*row) for row in _parts(connection, "pages", "number, label, start, end", document))


def _parts(connection: sqlite3.Connection, table: str, columns: str, document: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(f"{table}.{column.strip()}" for column in columns.split(","))
    rows = connection.execute(
        f"SELECT {columns} FROM {table} JOIN documents ON documents.number = {table}.document"
        f" WHERE documents.id = ? ORDER BY {table}.position",
        [document],
    )
    return [tuple(row) for row in rows]


def chunks(connection: sqlite3.Connection, document: str) -> list[ChunkRecord]:
    """The chunks of a document in order, read or not."""
    rows = connection.execute(
        """SELECT documents.id AS document, chunks.number, chunks.start, chunks.end, chunks.tokens
        FROM chunks JOIN documents ON documents.number = chunks.document
        WHERE documents.id = ? ORDER BY chunks.number""",
        [document],
    )
    return [ChunkRecord(*row) for row in rows]


def facts(connection: sqlite3.Connection, record: DocumentRecord) -> Facts:
    """What an export says of a document; the same value that `insert_document` was given."""
    scalars = {name: getattr(record, name) for name in SCALARS if name != "page_kind"}
    return Facts(
        **scalars,
        page_kind=cast(PageKind, record.page_kind),
        skipped=record.skipped,
        warnings=record.warnings,
        sections=sections(connection, record.id),
        pages=pages(connection, record.id),
        chunks=tuple((chunk.start, chunk.end, chunk.tokens) for chunk in chunks(connection, record.id)),
    )


def shards(connection: sqlite3.Connection, folder: Path, ids: Iterable[str] | None = None) -> list[ShardRecord]:
    """The live shards in reading order, of all documents or of some."""
    wanted = None if ids is None else list(ids)
    where = "" if wanted is None else f"WHERE documents.id IN ({', '.join('?' * len(wanted))})"
    rows = connection.execute(
        f"""SELECT shards.sha256, documents.id, shards.first_chunk, shards.chunk_count, shards.bytes
        FROM shards JOIN documents ON documents.number = shards.document {where}
        ORDER BY documents.number, shards.first_chunk""",
        wanted or [],
    )
    return [
        ShardRecord(sha256, document, first, count, size, folder / (sha256 + SHARD_SUFFIX))
        for sha256, document, first, count, size in rows
    ]


def last_shard(connection: sqlite3.Connection, folder: Path, record: DocumentRecord) -> ShardRecord | None:
    """The shard with a document's newest chunks; found at once, however many there are."""
    row = connection.execute(
        """SELECT sha256, first_chunk, chunk_count, bytes FROM shards WHERE document = ?
        ORDER BY first_chunk DESC LIMIT 1""",
        [record.number],
    ).fetchone()
    if row is None:
        return None
    sha256, first, count, size = row
    return ShardRecord(sha256, record.id, first, count, size, folder / (sha256 + SHARD_SUFFIX))


def stored_checksum(connection: sqlite3.Connection, document: str) -> str | None:
    """The checksum that was written beside a document's facts."""
    row = connection.execute("SELECT checksum FROM documents WHERE id = ?", [document]).fetchone()
    return None if row is None else row["checksum"]


def tail(connection: sqlite3.Connection, document: str) -> str | None:
    """The sha256 of the tail that a document's last commit names."""
    row = connection.execute("SELECT tail FROM documents WHERE id = ?", [document]).fetchone()
    return None if row is None else row["tail"]


def insert_shard(connection: sqlite3.Connection, number: int, first: int, count: int, sha256: str, size: int) -> None:
    """Name a shard; an open one that begins at the same chunk is superseded."""
    connection.execute(
        "INSERT OR REPLACE INTO shards (document, first_chunk, chunk_count, sha256, bytes) VALUES (?, ?, ?, ?, ?)",
        [number, first, count, sha256, size],
    )


def set_progress(connection: sqlite3.Connection, number: int, chunks_read: int, tail: str | None) -> None:
    """Say how far a document has been read."""
    connection.execute("UPDATE documents SET chunks_read = ?, tail = ? WHERE number = ?", [chunks_read, tail, number])


def set_read(connection: sqlite3.Connection, number: int) -> None:
    """Say that a document has been read to its end."""
    connection.execute("UPDATE documents SET state = 'read', tail = NULL WHERE number = ?", [number])


def set_unread(connection: sqlite3.Connection, number: int) -> None:
    """Say that nothing of a document has been read; its shards stay on disk for whoever writes the same bytes again."""
    connection.execute("DELETE FROM shards WHERE document = ?", [number])
    connection.execute(
        "UPDATE documents SET state = 'reading', chunks_read = 0, tail = NULL WHERE number = ?", [number]
    )


def live_names(connection: sqlite3.Connection) -> tuple[set[str], set[str]]:
    """The sha256 of every shard and of every tail that some row names."""
    named = {row[0] for row in connection.execute("SELECT sha256 FROM shards")}
    tails = {row[0] for row in connection.execute("SELECT tail FROM documents WHERE tail IS NOT NULL")}
    return named, tails


def names_shard(connection: sqlite3.Connection, sha256: str) -> bool:
    """Whether some row names this shard."""
    return connection.execute("SELECT 1 FROM shards WHERE sha256 = ?", [sha256]).fetchone() is not None


def names_tail(connection: sqlite3.Connection, sha256: str) -> bool:
    """Whether some row names this tail."""
    return connection.execute("SELECT 1 FROM documents WHERE tail = ?", [sha256]).fetchone() is not None


def same_chunks(stored: Sequence[ChunkRecord], spans: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a document was cut as it would be cut today."""
    return [(chunk.start, chunk.end, chunk.tokens) for chunk in stored] == list(spans)
