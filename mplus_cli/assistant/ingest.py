"""Reading books into a library: parse, cut, write chunk by chunk into memory, commit shard by shard."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mplus_cli.assistant.engine import Engine, load_engine, load_tokenizer, model_for, require_rows
from mplus_cli.assistant.interrupt import Interruption
from mplus_cli.assistant.pen import pen_for
from mplus_cli.documents.chunking import Chunk, balanced_chunks
from mplus_cli.documents.document import Document, page_at
from mplus_cli.documents.read import expand, read
from mplus_cli.errors import Interrupted, NotFound, Unreadable, UsageError
from mplus_cli.events import ChunkRead, DocumentDone, DocumentReport, Event, IngestDone, IngestOptions, Opened
from mplus_cli.library.library import Library
from mplus_cli.library.writer import Writer
from mplus_cli.models import find_model, row_format
from mplus_cli.settings import Settings, places
from mplus_cli.shelf import names
from mplus_cli.words import count

if TYPE_CHECKING:
    from model.tokenizer import TextTokenizer


@dataclass(slots=True)
class Desk:
    """What an ingest keeps at hand between documents; the model is loaded when the first chunk has to be read."""

    library_name: str
    settings: Settings
    options: IngestOptions
    interruption: Interruption
    engine: Engine | None = None
    tokens: int = 0
    reading: float = 0.0  # seconds that the model read, without parsing and loading
    started: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """Where the library is, or will be."""
        return places().libraries / self.library_name

    def exists(self) -> bool:
        """Whether there is such a library already."""
        return self.library_name in names(places().libraries)

    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer, without loading the model."""
        if self.engine is not None:
            return self.engine.tokenizer
        return load_tokenizer(find_model(self.model_name(), places().models).path)

    def model_name(self) -> str:
        """The model that was named, else the one that wrote the library, else the default."""
        if self.options.model is not None or not self.exists():
            return self.options.model or self.settings.model
        with closing(Library.open(self.path)) as library:
            return model_for(library.identity, self.settings)

    def chunk_tokens(self) -> int:
        """Tokens of a chunk: the library's, or the model's for a new library."""
        if self.exists():
            with closing(Library.open(self.path)) as library:
                return library.identity.chunk_tokens
        return self.loaded().config.chunk_tokens

    def loaded(self) -> Engine:
        """The model in its writing role."""
        if self.engine is None:
            self.engine = load_engine(self.settings, "write", self.model_name())
        return self.engine

    def library(self) -> Library:
        """The library, made if need be; refuses rows of another model."""
        engine = self.loaded()
        if not self.exists():
            return Library.create(self.path, engine.identity(self.row_format()))
        library = Library.open(self.path)
        require_rows(library, engine)
        return library

    def row_format(self) -> str:
        """How a library keeps its rows: as it does already, or as the settings ask for a new one.

        Raises UsageError where a flag asks for another format than the library's, or than the model can be kept in.
        """
        asked = self.settings.memory_dtype
        if not self.exists():
            return row_format(find_model(self.model_name(), places().models).mode, asked)
        with closing(Library.open(self.path)) as library:
            kept = library.identity.row_format
        flagged = self.settings.origins.get("memory_dtype") == "flag" and asked != "auto"
        if flagged and asked != kept:
            raise UsageError(
                f"Library {self.library_name} keeps its rows in {kept}, not in {asked}.",
                "Leave --memory-dtype out, or read into another library.",
            )
        return kept


def ingest(inputs: Sequence[str], library_name: str, settings: Settings, options: IngestOptions) -> Iterator[Event]:
    """Read files, folders, patterns or standard input into a library, in reading order.

    A file that cannot be read is reported and the others are read. Raises Interrupted after Ctrl-C, with all that was
    read committed; UsageError for a row format that is not the library's; LibraryLocked, LibraryDamaged, ModelMissing,
    NotEnoughSpace.
    """
    reports: list[DocumentReport] = []
    with Interruption() as interruption:
        desk = Desk(library_name, settings, options, interruption)
        if settings.memory_dtype != "auto":
            desk.row_format()  # refused before anything is parsed
        for source in expand(inputs):
            try:
                document = _parse(source, options)
            except (Unreadable, NotFound) as error:
                reports.append(_refused(source, error))
                yield DocumentDone(reports[-1])
                continue
            report = yield from ingest_document(desk, document)
            reports.append(report)
            yield DocumentDone(report)
            if interruption.wanted:
                _stop(desk)
        seconds = time.monotonic() - desk.started
        rate = round(desk.tokens / desk.reading, 1) if desk.tokens else 0.0
        yield IngestDone(tuple(reports), rate, round(seconds, 3))


def _parse(source: Path | str, options: IngestOptions) -> Document:
    name = options.stdin_name if source == "-" else None
    return read(source, name=name, password=options.password, encoding=options.encoding)


def _refused(source: Path | str, error: Unreadable | NotFound) -> DocumentReport:
    name = "standard input" if source == "-" else Path(source).name
    return DocumentReport("", name, "refused", reason=error.message, remedy=error.remedy)


def ingest_document(desk: Desk, document: Document) -> Generator[Event, None, DocumentReport]:
    """Read one parsed document into the desk's library; what it became. Raises what `ingest` raises."""
    known = _already_read(desk, document)
    if known is not None:
        yield Opened(document.id, document.title, known.chunks, known.tokens, known.pages_read, known.pages_total,
                     "already-read", known.chunks)  # fmt: skip
        return known
    tokenizer = desk.tokenizer()
    ids, offsets = tokenizer.encode_with_offsets(document.text)
    chunks = balanced_chunks(document.text, offsets, desk.chunk_tokens())
    if desk.options.dry_run:
        return _report(document, chunks)
    with closing(desk.library()) as library, library.writing() as writer:
        yield from _write_document(desk, library, writer, document, chunks, ids)
    return _report(document, chunks)


def _already_read(desk: Desk, document: Document) -> DocumentReport | None:
    if not desk.exists():
        return None
    with closing(Library.open(desk.path)) as library:
        found = next((record for record in library.documents() if record.id == document.id), None)
    if found is None or found.state != "read":
        return None
    return DocumentReport(
        found.id,
        found.title,
        "already-read",
        chunks=found.chunks,
        tokens=found.tokens,
        pages_read=found.pages_read,
        pages_total=found.pages_total,
    )


def _report(document: Document, chunks: Sequence[Chunk]) -> DocumentReport:
    return DocumentReport(
        document.id,
        document.title,
        "read",
        chunks=len(chunks),
        tokens=sum(chunk.tokens for chunk in chunks),
        pages_read=document.pages_read,
        pages_total=document.pages_total,
        skipped=tuple(f"{skipped.where}: {skipped.reason}" for skipped in document.skipped),
        warnings=document.warnings,
    )


def _write_document(
    desk: Desk,
    library: Library,
    writer: Writer,
    document: Document,
    chunks: Sequence[Chunk],
    ids: Sequence[int],
) -> Iterator[Event]:
    resume = writer.begin(document, chunks)
    status: Literal["new", "resumed"] = "resumed" if resume.chunks_read else "new"
    tokens = sum(chunk.tokens for chunk in chunks)
    warnings = document.warnings + ((f"read again from its start: {resume.restarted}",) if resume.restarted else ())
    yield Opened(document.id, document.title, len(chunks), tokens, document.pages_read, document.pages_total,
                 status, resume.chunks_read, warnings)  # fmt: skip
    pen = pen_for(desk.loaded(), library, writer, document.id, resume, len(chunks))
    before = sum(chunk.tokens for chunk in chunks[: resume.chunks_read])
    begun, read_here = time.monotonic(), 0
    with closing(pen.write(_pieces(ids, chunks[resume.chunks_read :], before))) as writing:
        for chunk in chunks[resume.chunks_read :]:
            if desk.interruption.wanted:
                pen.commit()
                if not pen.committed:
                    writer.abandon(document.id)
                _stop(desk, document, pen.committed, len(chunks))
            next(writing)
            before += chunk.tokens
            read_here += chunk.tokens
            desk.tokens += chunk.tokens
            rate = read_here / (time.monotonic() - begun)
            page = page_at(document.pages, chunk.start)
            yield ChunkRead(document.id, chunk.number + 1, len(chunks), round(rate, 1), page.label if page else "",
                            round((tokens - before) / rate, 1), pen.committed, document.title)  # fmt: skip
    desk.reading += time.monotonic() - begun
    writer.finish(document.id)


def _pieces(ids: Sequence[int], chunks: Sequence[Chunk], start: int) -> Iterator[Sequence[int]]:
    """The tokens of chunks that lie one behind the other, the first of them at token `start`."""
    for chunk in chunks:
        yield ids[start : start + chunk.tokens]
        start += chunk.tokens


def _stop(desk: Desk, document: Document | None = None, committed: int = 0, chunks: int = 0) -> None:
    where = f" {document.title}: {committed:,} of {count(chunks, 'chunk')} kept." if document else ""
    raise Interrupted(f"Stopped as asked.{where}")
