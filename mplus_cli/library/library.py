"""A library on disk: what was read, as documents, chunks and shards of memory rows.

`Library` reads and never waits for a writer; `Library.writing()` gives the one writer.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mplus_cli.documents.document import Document, Page, Section, document_id
from mplus_cli.errors import LibraryDamaged, NotFound
from mplus_cli.library import passages, tables
from mplus_cli.library.catalog import (
    FORMAT_VERSION,
    catalog_errors,
    connect,
    migrate,
    require_catalog,
    snapshot,
    user_version,
)
from mplus_cli.library.folders import CATALOG, MEMORY, TAILS, building, create_catalog, remove, rename, require_library
from mplus_cli.library.lock import locked
from mplus_cli.library.records import (
    REINGEST,
    ChunkRecord,
    DocumentRecord,
    Finding,
    ModelIdentity,
    ShardRecord,
    TextHit,
)
from mplus_cli.library.shards import (
    Write,
    disk_errors,
    read_named,
    require_plain_file,
)
from mplus_cli.library.writer import Writer

T = TypeVar("T")


class Library:
    """One library, open for reading; a context manager. Not for several threads at once."""

    def __init__(self, path: Path, connection: sqlite3.Connection, identity: ModelIdentity, write: Write) -> None:
        self.path = path
        self.identity = identity
        self._connection = connection
        self._write = write
        self._texts: dict[str, str] = {}  # of the document asked for last; a text never changes under its id

    @classmethod
    def create(cls, path: Path, identity: ModelIdentity, *, write: Write = os.write) -> Library:
        """Make an empty library for the rows of one model; it appears complete or not at all.

        Raises UsageError when something is there already, NotEnoughSpace.
        """
        with building(path) as folder:
            create_catalog(folder, identity)
        return cls.open(path, write=write)

    @classmethod
    def open(cls, path: Path, *, write: Write = os.write) -> Library:
        """Open a library for reading; never waits for a writer.

        Raises NotFound when nothing is there; LibraryDamaged when it is no library, is damaged, or was written by a
        newer mplus; LibraryLocked when an older format must be migrated first while another process writes.
        """
        path = Path(path)
        require_library(path)
        connection = connect(path / CATALOG, writing=False)
        try:
            with catalog_errors(path.name):
                require_catalog(connection, path)
                if user_version(connection) < FORMAT_VERSION:
                    _migrate(path)
                identity = _identity(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, identity, write)

    def close(self) -> None:
        """Close the catalogue; the library cannot be asked any more."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The library's name: that of its folder."""
        return self.path.name

    def require_model(self, fingerprint: str, name: str) -> None:
        """Refuse a model whose rows these are not; LibraryDamaged."""
        if fingerprint != self.identity.fingerprint:
            raise LibraryDamaged(
                f"Library {self.name} was read by the model {self.identity.name}"
                f" ({self.identity.fingerprint[:12]}), not by {name} ({fingerprint[:12]}).",
                f"Ask with --model {self.identity.name}, or read the documents into another library.",
            )

    def documents(self) -> list[DocumentRecord]:
        """All documents in reading order, unfinished ones too (see `state`)."""
        with catalog_errors(self.name):
            return tables.documents(self._connection)

    def find(self, query: str) -> DocumentRecord:
        """A document by its id, its first digits (four at least), its number, slug or title, or a part of those.

        Raises NotFound when none or several fit, naming the nearest.
        """
        records = self.documents()
        wanted = query.strip().casefold()
        for matches in _matchers(wanted):
            found = [record for record in records if matches(record)]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(record.slug for record in found[:6])
                raise NotFound(f"{query!r} fits several documents of {self.name}: {names}.", "Give the whole name.")
        near = get_close_matches(wanted, [record.slug for record in records], n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"`mplus docs list --library {self.name}` shows them."
        raise NotFound(f"There is no document {query!r} in {self.name}.", hint)

    def record(self, document: str) -> DocumentRecord:
        """The document of this id; raises NotFound."""
        with catalog_errors(self.name):
            records = tables.documents(self._connection, document)
        if not records:
            raise NotFound(f"There is no document {document} in {self.name}.")
        return records[0]

    def text(self, document: str) -> str:
        """The whole text of a document, checked against its id; LibraryDamaged, or NotFound when it is not here."""
        if document not in self._texts:
            with catalog_errors(self.name):
                text = tables.text(self._connection, document)
            if text is None:
                record = self.record(document)
                raise NotFound(
                    f"{self.name} was imported without the text of {record.slug}.",
                    "Ingest the same file: its text is added, and nothing is read twice.",
                )
            if document_id(text) != document:
                raise LibraryDamaged(f"The text of {self.record(document).slug} is not what was read.", REINGEST)
            self._texts = {document: text}
        return self._texts[document]

    def sections(self, document: str) -> tuple[Section, ...]:
        """The chapters of a document, sorted by start."""
        with catalog_errors(self.name):
            return tables.sections(self._connection, document)

    def pages(self, document: str) -> tuple[Page, ...]:
        """The pages of a document, sorted by start."""
        with catalog_errors(self.name):
            return tables.pages(self._connection, document)

    def chunks(self, document: str) -> list[ChunkRecord]:
        """The chunks of a document in order, read or not; their text is `text(document)[start:end]`."""
        with catalog_errors(self.name):
            return tables.chunks(self._connection, document)

    def document(self, document: str) -> Document:
        """A document as its reader gave it, to be read again; raises NotFound when its text is not here."""
        with snapshot(self._connection):
            record = self.record(document)
            facts = tables.facts(self._connection, record)
            text = self.text(document)
        return Document(
            title=facts.title,
            author=facts.author,
            language=facts.language,
            format=facts.format,
            source=facts.source,
            text=text,
            sections=facts.sections,
            pages=facts.pages,
            page_kind=facts.page_kind,
            pages_read=facts.pages_read,
            pages_total=facts.pages_total,
            skipped=facts.skipped,
            warnings=facts.warnings,
            id=document,
        )

    def shards(self, ids: Sequence[str] | None = None) -> list[ShardRecord]:
        """The live shards in reading order: documents by number, then first chunk; of all documents or of some.

        Raises LibraryDamaged when a file is missing, is not a plain file, or has another size.
        """
        return self.open_shards(_present, ids)

    def open_shards(self, open_shard: Callable[[ShardRecord], T], ids: Sequence[str] | None = None) -> list[T]:
        """Call `open_shard` for every live shard in reading order, and give back what it returns.

        A writer may supersede a shard between its being listed and opened; then all is tried once more from a fresh
        list. What was mapped stays readable after its file is removed. Raises LibraryDamaged for what is truly missing.
        """
        try:
            return [open_shard(_present(shard)) for shard in self._list_shards(ids)]
        except (LibraryDamaged, FileNotFoundError):
            return [open_shard(_present(shard)) for shard in self._list_shards(ids)]

    def read_shard(self, shard: ShardRecord) -> bytes:
        """The bytes of a shard, checked against its name; raises LibraryDamaged."""
        return read_named(shard.path, shard.sha256)

    def search(
        self,
        query: str,
        documents: Sequence[str] | None = None,
        limit: int = 20,
        until: Mapping[str, int] | None = None,
    ) -> list[TextHit]:
        """Chunks that hold words of the query, best first (bm25 over the whole library; higher is better).

        query: a person's words; nothing in it is syntax, stop words count only when there are no others.
        documents: ids to look in; None for all.
        until: for a document's id the first chunk that may not be found, a reading position. Others are not limited.
        Only chunks whose rows are committed are found.
        """
        with catalog_errors(self.name):
            return passages.search(self._connection, query, documents, until or {}, limit)

    def chunks_with(self, word: str, until: Mapping[str, int] | None = None) -> int:
        """In how many chunks a word stands, for weighing rare words above common ones.

        until: only in these documents, before the given chunk of each.
        """
        with catalog_errors(self.name):
            return passages.chunks_with(self._connection, word, until or {})

    def bytes_on_disk(self) -> int:
        """What the library takes on disk, in bytes."""
        files = [path for folder in (self.path, self.path / MEMORY, self.path / TAILS) for path in folder.iterdir()]
        return sum(path.lstat().st_size for path in files if path.is_file())

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """The one writer, while the block runs. Raises LibraryLocked at once when another process writes."""
        with disk_errors(self.name), locked(self.path):
            require_library(self.path)
            connection = connect(self.path / CATALOG, writing=True)
            try:
                with catalog_errors(self.name):
                    writer = Writer(self.path, connection, self.identity, self._write)
                yield writer
            finally:
                connection.close()

    def gc(self) -> int:
        """Remove what no row names and give unused space back; returns the bytes freed. Raises LibraryLocked."""
        before = self.bytes_on_disk()
        with self.writing() as writer:
            writer.sweep()
            writer.scrub()
        return max(0, before - self.bytes_on_disk())

    def verify(self) -> Iterator[Finding]:
        """Check everything: hashes, texts, spans, index, permissions; one finding for each thing, as it is done."""
        from mplus_cli.library import check

        return check.verify(check.Checked(self.path, self._connection))

    def repair(self, findings: Iterable[Finding]) -> list[DocumentRecord]:
        """Mend what findings of `verify` name, as far as that can be done without the model or the original files.

        Permissions are tightened and the search index is written again. Returns the documents whose shards or tails are
        damaged: they are marked as unread; ingest them again from `document(id)`, and equal shards are found on disk.
        What only the original file can mend is left as it is. Raises LibraryLocked.
        """
        from mplus_cli.library import check

        bad = [finding for finding in findings if not finding.ok]
        unread = {finding.document for finding in bad if finding.kind in ("shard", "tail")}
        with self.writing() as writer:
            if any(finding.kind == "permissions" for finding in bad):
                for path in check.exposed(self.path):
                    path.chmod(path.stat().st_mode & 0o700)
            if any(finding.kind == "search" for finding in bad):
                writer.rebuild_search()
            for document in unread:
                writer.mark_unread(document)
        return [record for record in self.documents() if record.id in unread]

    def export(self, file: Path, text: bool = True) -> int:
        """Write the whole library to one file that has no times in it; returns its size in bytes.

        Equal libraries give equal bytes, however often their ingest was interrupted. `text=False` leaves the texts out.
        Raises UsageError when the file exists, NotFound without its folder, LibraryDamaged when a shard is damaged,
        NotEnoughSpace.
        """
        from mplus_cli.library import bundle

        return bundle.export(self.path.name, self._connection, self.path, Path(file), text)

    @classmethod
    def import_(cls, file: Path, path: Path) -> Library:
        """Make a library from an export, every hash checked; it appears complete or not at all.

        Raises UsageError when something is at `path`, LibraryDamaged when the file is not what an export is.
        """
        from mplus_cli.library import unbundle

        unbundle.import_(Path(file), Path(path))
        return cls.open(path)

    def rename(self, target: Path) -> None:
        """Move the library to another folder on the same disk and close it; UsageError when that is taken."""
        self.close()
        rename(self.path, Path(target))

    def remove(self) -> None:
        """Close the library and delete everything in it. `folders.remove(path)` also removes one that does not open."""
        self.close()
        remove(self.path)

    def _list_shards(self, ids: Sequence[str] | None) -> list[ShardRecord]:
        with catalog_errors(self.name):
            return tables.shards(self._connection, self.path / MEMORY, ids)


def _present(shard: ShardRecord) -> ShardRecord:
    require_plain_file(shard.path)
    if (size := shard.path.lstat().st_size) != shard.bytes:
        raise LibraryDamaged(f"{shard.path.name} has {size} bytes, not {shard.bytes}.")
    return shard


def _matchers(wanted: str) -> list[Callable[[DocumentRecord], bool]]:
    """From exact to loose; the first that fits anything decides."""
    if not wanted:
        return []
    return [
        lambda record: record.id == wanted,
        lambda record: record.slug == wanted,
        lambda record: str(record.number) == wanted,
        lambda record: record.title.casefold() == wanted,
        lambda record: len(wanted) >= 4 and record.id.startswith(wanted),
        lambda record: wanted in record.title.casefold() or wanted in record.slug,
    ]


def _identity(connection: sqlite3.Connection, path: Path) -> ModelIdentity:
    try:
        return tables.read_identity(connection)
    except ValueError as error:
        raise LibraryDamaged(f"{path.name}: {error}.") from error


def _migrate(path: Path) -> None:
    with locked(path):
        connection = connect(path / CATALOG, writing=True)
        try:
            migrate(connection)
        finally:
            connection.close()
