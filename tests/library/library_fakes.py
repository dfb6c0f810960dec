"""Plain fakes for the library's tests: a model that hashes, a chunker that counts characters, and an ingest loop.

The fake keeps what matters of the real one: rows of a chunk depend on the chunk before through the tail, a shard is the
rows of its chunks one after another, and the same text always gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from mplus_cli.documents.document import Document, Section, Skipped, locations
from mplus_cli.library import Library, ModelIdentity, Resume, Writer

CHUNK_CHARACTERS = 40
ROW_BYTES = 600


@dataclass(frozen=True)
class Span:
    number: int
    start: int
    end: int
    tokens: int


def identity(chunks_per_shard: int = 4) -> ModelIdentity:
    return ModelIdentity("tiny", "f" * 64, 64, 16, 2, chunks_per_shard, "f32", ROW_BYTES)


def book(title: str = "War and Peace", text: str | None = None, chunks: int = 11, seed: str = "") -> Document:
    if text is None:
        words = (
            hashlib.sha256(f"{title}{seed}{n}".encode("utf-8", "replace")).hexdigest()[:9] for n in range(chunks * 4)
        )
        text = " ".join(words)
    half = len(text) // 2
    return Document(
        title=title,
        author="Somebody",
        language="en",
        format="text",
        source="book.txt",
        text=text,
        sections=(Section("One", 1, 0, half), Section("Two", 1, half, len(text))),
        pages=locations(text),
        page_kind="location",
        pages_read=1,
        pages_total=2,
        skipped=(Skipped("page 2", "no text"),),
        warnings=("a guessed encoding",),
    )


def spans(document: Document, characters: int = CHUNK_CHARACTERS) -> list[Span]:
    size = len(document.text)
    starts = range(0, max(1, size), characters)
    return [Span(n, start, min(size, start + characters), 10) for n, start in enumerate(starts)]


def rows_of(text: str, tail: bytes) -> tuple[bytes, bytes]:
    """(rows, new tail) of one chunk behind a tail."""
    tail = hashlib.sha256(tail + text.encode("utf-8", "surrogatepass")).digest()
    return hashlib.shake_128(tail).digest(ROW_BYTES), tail


def ingest(
    library: Library, document: Document, stop_after: int | None = None, step: Callable[[], None] = lambda: None
) -> bool:
    """Read a document as the assistant does; `stop_after` chunks of this run it is interrupted. Was it finished?"""
    with library.writing() as writer:
        return ingest_with(writer, document, library.identity.chunks_per_shard, stop_after, step)


def ingest_with(
    writer: Writer,
    document: Document,
    chunks_per_shard: int,
    stop_after: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> bool:
    chunks = spans(document)
    resume = writer.begin(document, chunks)
    first, shard, tail = resume.open_first_chunk, resume.open_shard or b"", resume.tail or b""
    superseded = resume.open_sha256
    for done, chunk in enumerate(chunks[resume.chunks_read :]):
        if done == stop_after:
            if chunk.number > first:
                writer.commit(document.id, first, chunk.number - first, shard, tail, superseded)
            return False
        rows, tail = rows_of(document.text[chunk.start : chunk.end], tail)
        shard += rows
        step()
        if chunk.number + 1 - first == chunks_per_shard or chunk.number + 1 == len(chunks):
            last = chunk.number + 1 == len(chunks)
            writer.commit(document.id, first, chunk.number + 1 - first, shard, None if last else tail, superseded)
            first, shard, superseded = chunk.number + 1, b"", None
    writer.finish(document.id)
    return True


def memory_of(library: Library) -> list[tuple[str, int, int, bytes]]:
    """Everything that the library remembers: (document, first chunk, chunks, bytes) of each shard, in order."""
    return [(s.document, s.first_chunk, s.chunk_count, library.read_shard(s)) for s in library.shards()]


def expected_memory(document: Document, chunks_per_shard: int = 4) -> list[tuple[str, int, int, bytes]]:
    """What an unbroken reading of one document must leave."""
    shards, tail = [], b""
    chunks = spans(document)
    for first in range(0, len(chunks), chunks_per_shard):
        group, data = chunks[first : first + chunks_per_shard], b""
        for chunk in group:
            rows, tail = rows_of(document.text[chunk.start : chunk.end], tail)
            data += rows
        shards.append((document.id, first, len(group), data))
    return shards


def begin(library: Library, document: Document) -> Resume:
    with library.writing() as writer:
        return writer.begin(document, spans(document))
