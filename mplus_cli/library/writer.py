"""The one writer of a library, and the order in which it writes.

A commit: shard (temporary file, fsync, rename to its sha256, fsync of the folder), tail likewise, then one SQLite
transaction, the only commit point; then what it superseded is removed. A crash before the transaction leaves files that
no row names; a crash after it leaves superseded files; the next writer removes both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mplus_cli.documents.document import Document, document_id
from mplus_cli.errors import LibraryDamaged, NotFound
from mplus_cli.library import passages, tables
from mplus_cli.library.catalog import catalog_errors, transaction
from mplus_cli.library.facts import facts_of, unique_slug
from mplus_cli.library.records import (
    SHARD_SUFFIX,
    ChunkSpan,
    DocumentRecord,
    Forgotten,
    ModelIdentity,
    Resume,
    ShardRecord,
)
from mplus_cli.library.shards import Write, read_named, remove_file, store, sweep, sweep_temporary

SCRUB_MILLISECONDS = 2_000  # how long a reader's snapshot is waited for; an export may hold one for minutes
TO_SCRUB = "to_scrub"  # deleted text may still stand in the write-ahead log or in unused pages


class Writer:
    """Writes to one library while its lock is held; made by `Library.writing()`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, identity: ModelIdentity, write: Write) -> None:
        self._connection = connection
        self._identity = identity
        self._write = write
        self._folder = folder
        self._memory = folder / "memory"
        self._tails = folder / "tails"
        self._clean_up_after_a_crash()

    def begin(self, document: Document, chunks: Sequence[ChunkSpan]) -> Resume:
        """Add a document, or find how far it was read: see `Resume`.

        `chunks` cover the document's text in order. A document that was cut otherwise, or whose tail or open shard is
        damaged, is read from its start again. Raises NotEnoughSpace, LibraryDamaged.
        """
        assert document.id == document_id(document.text), "a document is named by its text"
        with catalog_errors(str(self._folder)):
            record = self._find(document.id)
            if record is None:
                self._insert(document, chunks)
                return Resume(0, None, None, 0)
            self._complete_text(record, document.text)
            if record.state == "read":
                return Resume(record.chunks, None, None, record.chunks)
            return self._resume(record, document, chunks)

    def commit(
        self,
        document_id: str,
        first_chunk: int,
        chunk_count: int,
        shard: bytes,
        tail: bytes | None,
        supersede: str | None = None,
    ) -> ShardRecord:
        """Keep the rows of chunks [first_chunk, first_chunk + chunk_count) and the state after them, durably.

        The shard begins at a multiple of `chunks_per_shard` and ends there or earlier; when it begins where an open
        shard does, it takes its place. `tail` is needed unless these are the document's last chunks. `supersede`, if
        given, must be the name of that open shard. Raises NotEnoughSpace; the state before stays.
        """
        with catalog_errors(str(self._folder)):
            record = self._require(document_id)
            superseded = self._open_shard(record)
            end = first_chunk + chunk_count
            self._assert_aligned(record, superseded, first_chunk, chunk_count)
            assert supersede is None or (superseded is not None and superseded.sha256 == supersede), (
                "unknown open shard"
            )
            assert tail is not None or end == record.chunks, "only a document's last commit has no tail"
            sha256 = store(self._memory, shard, self._write)
            tail_name = None if tail is None or end == record.chunks else store(self._tails, tail, self._write)
            old_tail = tables.tail(self._connection, document_id)
            with transaction(self._connection):
                tables.insert_shard(self._connection, record.number, first_chunk, chunk_count, sha256, len(shard))
                tables.set_progress(self._connection, record.number, end, tail_name)
            self._remove_unnamed(superseded.sha256 if superseded else None, old_tail)
        return ShardRecord(sha256, document_id, first_chunk, chunk_count, len(shard), self._path(self._memory, sha256))

    def finish(self, document_id: str) -> None:
        """Say that a document was read to its end; asserts that every chunk was committed."""
        with catalog_errors(str(self._folder)):
            record = self._require(document_id)
            assert record.chunks_read == record.chunks, f"{record.chunks - record.chunks_read} chunks are not written"
            with transaction(self._connection):
                tables.set_read(self._connection, record.number)
            self.sweep()

    def abandon(self, document_id: str) -> bool:
        """Take back a `begin` that no commit followed; True when it did. A document with rows stays to be resumed."""
        with catalog_errors(str(self._folder)):
            record = self._require(document_id)
        if record.chunks_read:
            return False
        self.forget(document_id)
        return True

    def forget(self, document_id: str) -> Forgotten:
        """Remove a document exactly: rows, text, index, shards, tails, and what was left of them in unused pages."""
        with catalog_errors(str(self._folder)):
            record = self._require(document_id)
            before = self._catalog_bytes()
            with transaction(self._connection):
                tables.delete_document(self._connection, record)
                tables.set_flag(self._connection, TO_SCRUB, True)
            freed = self.sweep()
            scrubbed = self.scrub()
            return Forgotten(freed + max(0, before - self._catalog_bytes()), scrubbed)

    def mark_unread(self, document_id: str) -> None:
        """Let the next ingest of this document write its shards again; equal ones are found on disk by their names.

        Every row depends on the chunk before, so the document is read again from its start.
        """
        with catalog_errors(str(self._folder)):
            record = self._require(document_id)
            with transaction(self._connection):
                tables.set_unread(self._connection, record.number)

    def rebuild_search(self) -> None:
        """Write the full-text index anew from the texts."""
        with catalog_errors(str(self._folder)), transaction(self._connection):
            passages.clear(self._connection)
            for record in tables.documents(self._connection):
                if (text := tables.text(self._connection, record.id)) is not None:
                    passages.add(self._connection, tables.passage_rows(self._connection, record.number, text))

    def sweep(self) -> int:
        """Remove shards and tails that no row names; returns the bytes freed."""
        with catalog_errors(str(self._folder)):
            named, tails = tables.live_names(self._connection)
        return sweep(self._memory, named) + sweep(self._tails, tails)

    def scrub(self) -> bool:
        """Rewrite the catalogue without traces of deleted text; False when a reader held on to the old pages."""
        with catalog_errors(str(self._folder)):
            self._connection.execute(f"PRAGMA busy_timeout = {SCRUB_MILLISECONDS}")
            passages.merge(self._connection)
            if not self._truncate_log():
                return False
            self._connection.execute("VACUUM")
            with transaction(self._connection):
                tables.set_flag(self._connection, TO_SCRUB, False)
            return self._truncate_log()

    def _clean_up_after_a_crash(self) -> None:
        sweep_temporary([self._folder, self._memory, self._tails])
        _, tails = tables.live_names(self._connection)
        sweep(self._tails, tails)
        if tables.has_flag(self._connection, TO_SCRUB):
            self.sweep()
            self.scrub()

    def _insert(self, document: Document, chunks: Sequence[ChunkSpan]) -> None:
        with transaction(self._connection):
            slug = unique_slug(document.title, lambda name: tables.slug_taken(self._connection, name))
            facts = facts_of(document, chunks, slug)
            number = tables.insert_document(self._connection, facts, now())
            tables.insert_text(self._connection, number, document.text)

    def _complete_text(self, record: DocumentRecord, text: str) -> None:
        """A library imported without texts gets a document's text back when the document is met again."""
        if tables.text(self._connection, record.id) is None:
            with transaction(self._connection):
                tables.insert_text(self._connection, record.number, text)

    def _resume(self, record: DocumentRecord, document: Document, chunks: Sequence[ChunkSpan]) -> Resume:
        spans = [(chunk.start, chunk.end, chunk.tokens) for chunk in chunks]
        if not tables.same_chunks(tables.chunks(self._connection, record.id), spans):
            return self._start_over(document, chunks)
        if record.chunks_read in (0, record.chunks):
            return Resume(record.chunks_read, None, None, record.chunks_read)
        try:
            return self._resume_inside(record)
        except LibraryDamaged as damage:
            self.mark_unread(record.id)
            return Resume(0, None, None, 0, restarted=damage.message)

    def _resume_inside(self, record: DocumentRecord) -> Resume:
        name = tables.tail(self._connection, record.id)
        if name is None:
            raise LibraryDamaged(f"The catalogue names no tail for {record.slug}.")
        tail = read_named(self._path(self._tails, name), name)
        shard = self._open_shard(record)
        if shard is None:
            return Resume(record.chunks_read, tail, None, record.chunks_read)
        data = read_named(shard.path, shard.sha256)
        return Resume(record.chunks_read, tail, data, shard.first_chunk, shard.sha256)

    def _start_over(self, document: Document, chunks: Sequence[ChunkSpan]) -> Resume:
        record = self._require(document.id)
        with transaction(self._connection):
            tables.delete_document(self._connection, record)
            facts = facts_of(document, chunks, record.slug)
            number = tables.insert_document(self._connection, facts, now())
            tables.insert_text(self._connection, number, document.text)
        return Resume(0, None, None, 0, restarted="The text is divided into other chunks than before.")

    def _open_shard(self, record: DocumentRecord) -> ShardRecord | None:
        """The short shard at the end of a document that is still being read."""
        last = tables.last_shard(self._connection, self._memory, record)
        if last is None or last.chunk_count == self._identity.chunks_per_shard or record.state == "read":
            return None
        return last

    def _assert_aligned(self, record: DocumentRecord, superseded: ShardRecord | None, first: int, count: int) -> None:
        size, end = self._identity.chunks_per_shard, first + count
        assert record.state == "reading", f"{record.slug} has been read already"
        assert first == (superseded.first_chunk if superseded else record.chunks_read), "shards must follow one another"
        assert first % size == 0, f"a shard begins at a multiple of {size}"
        assert 0 < count <= size, f"a shard holds at most {size} chunks"
        assert record.chunks_read <= end <= record.chunks, (
            "a commit takes no chunk back and adds no more than there are"
        )

    def _remove_unnamed(self, shard: str | None, tail: str | None) -> None:
        if shard is not None and not tables.names_shard(self._connection, shard):
            remove_file(self._path(self._memory, shard))
        if tail is not None and not tables.names_tail(self._connection, tail):
            remove_file(self._path(self._tails, tail))

    def _truncate_log(self) -> bool:
        return bool(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)

    def _catalog_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("catalog.sqlite*"))

    def _find(self, document: str) -> DocumentRecord | None:
        return next(iter(tables.documents(self._connection, document)), None)

    def _require(self, document: str) -> DocumentRecord:
        record = self._find(document)
        if record is None:
            raise NotFound(f"There is no document {document} in {self._folder.name}.")
        return record

    @staticmethod
    def _path(folder: Path, sha256: str) -> Path:
        return folder / (sha256 + SHARD_SUFFIX)


def now() -> str:
    """The time of day as the catalogue writes it: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
