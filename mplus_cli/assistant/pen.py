"""Chunks of one document become rows, and rows become shards: latent rows, or every token's in raw-kv mode."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from mplus_cli.assistant.engine import Engine, translated
from mplus_cli.library.library import Library
from mplus_cli.library.records import Resume
from mplus_cli.library.writer import Writer

if TYPE_CHECKING:
    from torch import Tensor

    from model.memory import Rows


class Pen:
    """Writes the chunks of one document and commits them shard by shard.

    Between commits it holds the rows of at most one shard and the newest hidden rows (L, K, d).
    """

    def __init__(
        self, engine: Engine, library: Library, writer: Writer, document: str, resume: Resume, chunks: int
    ) -> None:
        from model.memory import from_bytes

        self.engine, self.writer, self.document, self.chunks = engine, writer, document, chunks
        self.shard_chunks, self.row_format = library.identity.chunks_per_shard, library.identity.row_format
        self.written = self.committed = resume.chunks_read
        self.first, self.supersede = resume.open_first_chunk, resume.open_sha256
        with translated():
            self.rows: list[Rows] = [from_bytes(resume.open_shard)] if resume.open_shard else []
        self._begin(library, resume)

    def write(self, chunks: Iterable[Sequence[int]]) -> Generator[None]:
        """Read chunks into memory, one at every step; commits where a shard is full or the document ends.

        A few are taken ahead of the one that is written; close the generator to drop them.
        """
        with closing(self._rows(chunks)) as written:
            while True:
                with translated():
                    rows = next(written, None)
                if rows is None:
                    return
                self.rows.append(rows)
                self.written += 1
                if self.written == self.chunks or (self.written - self.first) == self.shard_chunks:
                    self.commit()
                yield

    def commit(self) -> None:
        """Make what was written durable; nothing to do where everything is."""
        from model.memory import join, to_bytes

        if self.written == self.committed:
            return
        tail = None if self.written == self.chunks else self._tail()
        count = self.written - self.first
        self.writer.commit(self.document, self.first, count, to_bytes(join(self.rows)), tail, self.supersede)
        self.committed = self.written
        if count == self.shard_chunks:
            self.first, self.supersede, self.rows = self.written, None, []

    def _begin(self, library: Library, resume: Resume) -> None:
        """Go on where the tail ends."""
        self.newest = _newest(resume.tail, self.engine) if resume.tail else self.engine.checkpoint.first_rows()

    def _rows(self, chunks: Iterable[Sequence[int]]) -> Generator[Rows]:
        """What each chunk leaves, as it is stored."""
        import torch

        from model.writing import write_chunks

        model = self.engine.model
        ids = (torch.tensor([list(chunk)], device=model.device) for chunk in chunks)
        with closing(write_chunks(model, ids, self.newest[:, None], self.row_format)) as found:
            for written in found:
                self.newest = written.newest[:, 0]
                yield written.rows[0]

    def _tail(self) -> bytes:
        from safetensors.torch import save

        return save({"newest": self.newest.cpu().contiguous()})


class RawPen(Pen):
    """Keeps every token's keys and values. What a resumed reading needs are rows, and those are in the shards.

    The tail says only how many rows there are: the newest rows themselves would be written anew with every shard, and
    at 8B they are more than a gigabyte.
    """

    def _begin(self, library: Library, resume: Resume) -> None:
        from model.memory import map_rows
        from model.raw import RawWriter

        with translated():
            seen = (
                library.open_shards(lambda shard: map_rows(shard.path).widened(), [self.document])
                if resume.tail
                else []
            )
            self.reading = RawWriter(self.engine.model, seen)
        assert not resume.tail or _row_count(resume.tail) == self.reading.total, "a commit names all rows before it"

    def _rows(self, chunks: Iterable[Sequence[int]]) -> Generator[Rows]:
        import torch

        for ids in chunks:
            with torch.inference_mode():
                rows = self.reading.read(ids)
            yield rows

    def _tail(self) -> bytes:
        import torch
        from safetensors.torch import save

        return save({"rows": torch.tensor([self.reading.total])})


def pen_for(engine: Engine, library: Library, writer: Writer, document: str, resume: Resume, chunks: int) -> Pen:
    """The pen of a model: latent rows where it was trained for memory, else every token's keys and values."""
    return (RawPen if engine.raw else Pen)(engine, library, writer, document, resume, chunks)


def _newest(tail: bytes, engine: Engine) -> Tensor:
    from safetensors.torch import load

    return load(tail)["newest"].to(engine.model.device, engine.model.dtype)


def _row_count(tail: bytes) -> int:
    from safetensors.torch import load

    return int(load(tail)["rows"])
