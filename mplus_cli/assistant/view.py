"""What a question may know: the books and the reading position that it names, as rows of memory."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from mplus_cli.assistant.position import position
from mplus_cli.errors import NotFound, UsageError
from mplus_cli.library.library import Library
from mplus_cli.library.records import DocumentRecord, ShardRecord

if TYPE_CHECKING:
    from model.generate import Memory, Reader
    from model.memory import Rows
    from model.placement import Placement
    from mplus_cli.assistant.engine import Engine


@dataclass(frozen=True, slots=True)
class Extent:
    """One document of a view: its first `chunks` chunks, and its characters [0, end)."""

    document: DocumentRecord
    chunks: int
    end: int


@dataclass(frozen=True, slots=True)
class View:
    """The documents that a question may know, in reading order."""

    extents: tuple[Extent, ...]

    @property
    def chunks(self) -> int:
        """Chunks of all documents together."""
        return sum(extent.chunks for extent in self.extents)

    def until(self) -> dict[str, int]:
        """For every document the first chunk that may not be known."""
        return {extent.document.id: extent.chunks for extent in self.extents}


def view_of(library: Library, books: Sequence[str], until: str | None) -> View:
    """The view that --book and --until name.

    Raises NotFound for a book or position that is not there, UsageError where a position fits no single book.
    """
    documents = [library.find(book) for book in dict.fromkeys(books)] or library.documents()
    documents = sorted({document.id: document for document in documents}.values(), key=lambda one: one.number)
    if until is not None and len(documents) != 1:
        raise UsageError("A reading position belongs to one book.", "Name it with --book.")
    extents = [_extent(library, document, until) for document in documents]
    view = View(tuple(extent for extent in extents if extent.chunks))
    if not view.chunks:
        raise NotFound("Nothing has been read up to there.", "`mplus docs list` shows how far each book was read.")
    return view


def _extent(library: Library, document: DocumentRecord, until: str | None) -> Extent:
    chunks = library.chunks(document.id)[: document.chunks_read]
    if until is not None:
        limit, _ = position(library, document, until)
        chunks = [chunk for chunk in chunks if chunk.end <= limit]
    return Extent(document, len(chunks), chunks[-1].end if chunks else 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a memory row was born: a document, the chunk that holds its token, and about which character."""

    document: str
    chunk: int
    character: int


class Births:
    """Row numbers of a view to the places where they were born.

    Row j of a chunk stands for the j-th of the last K tokens up to the chunk's end, also where a short chunk had some
    of its rows re-processed: those were born in the chunk before. Rows before a document's first token, and shipped
    ones, were born nowhere. rows: K, or None where every token has a row (raw-kv mode).
    """

    def __init__(self, library: Library, view: View, rows: int | None, offset: int) -> None:
        self.offset = offset
        self.steps: list[tuple[int, int]] = []  # (extent, chunk) of every write
        self.ends: list[list[int]] = []  # tokens up to each chunk's end, of each extent
        self.spans: list[list[tuple[int, int]]] = []
        self.lengths: list[int] = []  # tokens of every chunk
        self.documents = [extent.document.id for extent in view.extents]
        for number, extent in enumerate(view.extents):
            total, ends = 0, []
            chunks = library.chunks(extent.document.id)[: extent.chunks]
            for chunk in chunks:
                total += chunk.tokens
                ends.append(total)
            self.ends.append(ends)
            self.spans.append([(chunk.start, chunk.end) for chunk in chunks])
            self.steps += [(number, chunk.number) for chunk in chunks]
            self.lengths += [chunk.tokens for chunk in chunks]
        self.row_ends = list(accumulate(self.lengths if rows is None else [rows] * len(self.lengths)))

    def place(self, row: int) -> Place | None:
        """Where a row was born; None for background rows."""
        if row < self.offset:
            return None
        step = bisect_right(self.row_ends, row - self.offset)
        extent, chunk = self.steps[step]
        ends = self.ends[extent]
        token = ends[chunk] - (self.row_ends[step] - (row - self.offset))
        if token < 0:
            return None
        born = bisect_right(ends, token)
        before = ends[born - 1] if born else 0
        start, end = self.spans[extent][born]
        character = start + (end - start) * (token - before) // max(1, ends[born] - before)
        return Place(self.documents[extent], born, character)

    def places(self) -> list[tuple[str, int]]:
        """Document and number of every chunk of the view."""
        return [(self.documents[extent], number) for extent, number in self.steps]

    def chunks_at(self, document: str, start: int, end: int) -> list[tuple[str, int]]:
        """The chunks of the view that characters [start, end) of a document touch."""
        spans = self.spans[self.documents.index(document)]
        first = max(0, bisect_right(spans, (start, sys.maxsize)) - 1)
        touched = []
        for number in range(first, len(spans)):
            if spans[number][0] >= end:
                break
            if spans[number][1] > start:
                touched.append((document, number))
        return touched


def memory_of(library: Library, view: View, engine: Engine, cap: int = 0) -> tuple[Memory, Births]:
    """The memory of a view: shards memory-mapped, pool and long-term decided by the view's draws.

    `cap`: recall from the newest so many chunks of long-term memory only; 0 for all. Raises LibraryDamaged.
    """
    if engine.raw:
        return _raw_memory_of(library, view, engine, cap)
    from model.generate import Memory
    from model.membership import ViewChunk, log_membership
    from model.memory import RowTable, as_stored
    from mplus_cli.assistant.engine import translated

    config, rows = engine.config, engine.config.memory_rows
    with translated():
        background = engine.checkpoint.background_rows()
        blocks: list[Rows] = [as_stored(background)] if background is not None else []
        blocks += [block.part(0, count * rows) for _, block, count in _blocks(library, view)]
        shipped = engine.checkpoint.background.pool.shape[1] if engine.checkpoint.background else 0
        offset = len(background) if background is not None else 0
        steps = [ViewChunk(one.document.id, number) for one in view.extents for number in range(one.chunks)]
        membership = log_membership(steps, config.layers, rows, config.pool_rows, shipped, offset, cap)
    return Memory(RowTable(blocks), membership, offset), Births(library, view, rows, offset)


def _raw_memory_of(library: Library, view: View, engine: Engine, cap: int) -> tuple[Memory, Births]:
    """Rows of every token: the newest in front of every prompt, the others recalled by block."""
    from model.raw import first_chunks, raw_memory
    from mplus_cli.assistant.engine import translated

    births = Births(library, view, None, 0)
    lengths = dict(zip(births.places(), births.lengths, strict=True))
    with translated():
        blocks = [
            first_chunks(
                block.widened(), [lengths[shard.document, shard.first_chunk + number] for number in range(count)]
            )
            for shard, block, count in _blocks(library, view)
        ]
        return raw_memory(engine.config, blocks, births.lengths, cap), births


def _blocks(library: Library, view: View) -> list[tuple[ShardRecord, Rows, int]]:
    """Shards of a view in reading order, memory-mapped, with how many of their chunks may be known."""
    from model.memory import map_rows

    limits = view.until()
    mapped = library.open_shards(lambda shard: (shard, map_rows(shard.path)), list(limits))
    counted = [
        (shard, block, min(shard.chunk_count, limits[shard.document] - shard.first_chunk)) for shard, block in mapped
    ]
    return [(shard, block, count) for shard, block, count in counted if count > 0]


def reader_of(engine: Engine, memory: Memory, limit: int | None = None) -> Reader:
    """What answers behind a memory: recall by the retriever, or in raw-kv mode by the keys of blocks.

    `limit`: bytes of a GPU that it may take, weights included. Raises UsageError where they are too few, or where the
    model is on the CPU.
    """
    from model.generate import Reader
    from model.raw import RawMemory, RawReader
    from mplus_cli.assistant.engine import translated

    with translated():
        placement = placement_of(engine, memory, limit)
        if isinstance(memory, RawMemory):
            return RawReader(engine.model, memory, placement)
        return Reader(engine.model, memory, placement)


def placement_of(engine: Engine, memory: Memory, limit: int | None) -> Placement:
    """What of a memory stays on the device."""
    from model.placement import EVERYTHING, needs_of, place

    if limit is None:
        return EVERYTHING
    model, table = engine.model, memory.table
    if model.device.type == "cpu":
        raise UsageError("--max-vram limits a GPU; the model is on the CPU.", "Leave it out, or use --device cuda.")
    keys = sum(block.nbytes for layer in range(engine.config.layers) for block in table.retrieval(layer))
    width, tokens = model.dtype.itemsize, engine.prompt_tokens
    return place(needs_of(engine.config, model.weight_bytes(), len(table), width, tokens, keys), limit)
