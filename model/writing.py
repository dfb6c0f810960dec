"""Writing texts chunk by chunk: ids -> hidden rows of every layer -> rows as a library holds them.

A layer needs of the chunk before no more than the rows of that same layer. So on a processor with several cores the
lower layers write a chunk while the upper ones still write the one before and a third thread turns the rows of an
earlier one into their read form: each of them computes alone, without waiting for another at every product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from model.adapters import READ, WRITE, using
from model.memory import Rows, as_stored, project
from model.mplus import MPlus

MOST_STAGES = 4  # each delays a text's first chunk by one more


class WrittenChunk(NamedTuple):
    """What a chunk of each of B texts leaves: hidden rows, now the newest (L, B, K, d), and each text's stored rows."""

    newest: Tensor
    rows: list[Rows]


def write_chunks(
    model: MPlus, chunks: Iterable[Tensor], newest: Tensor, row_format: str = "bf16", stages: int | None = None
) -> Generator[WrittenChunk]:
    """Write chunks (B, n) of B texts, one after the other, behind their newest rows (L, B, K, d).

    The bytes are those of `MPlus.write` and `project` on one thread, whatever `stages` is: the number of threads that
    share the layers, by default as many as torch may use, for fused layers on the CPU. A few chunks are taken ahead of
    the one that is handed out; close the generator to drop them. An error of `chunks` drops them, too.
    """
    count = suited_stages(model) if stages is None else stages
    assert 1 <= count <= model.config.layers, "a stage has at least one layer"
    if count == 1:
        return _one_by_one(model, chunks, newest, row_format)
    return _in_stages(model, chunks, newest, row_format, count)


def suited_stages(model: MPlus) -> int:
    """How many threads share the layers: 1 where the model's adapters are switched or a GPU computes."""
    if not model.fused or model.device.type != "cpu":
        return 1
    return min(torch.get_num_threads(), model.config.layers, MOST_STAGES)


def _one_by_one(model: MPlus, chunks: Iterable[Tensor], newest: Tensor, row_format: str) -> Generator[WrittenChunk]:
    for ids in chunks:
        with torch.inference_mode(), using(model, WRITE):
            newest, _ = model.write(ids, newest)
        yield WrittenChunk(newest, stored(model, newest, row_format))


@torch.inference_mode()
def stored(model: MPlus, newest: Tensor, row_format: str) -> list[Rows]:
    """Hidden rows (L, B, K, d) as a library holds them, of each of the B texts."""
    with using(model, READ):
        rows = project(model, newest.flatten(1, 2))  # (L, B * K, ...), one text's after the other's
    count = newest.shape[2]
    return [as_stored(rows.part(start, start + count), row_format) for start in range(0, len(rows), count)]


class Passing(NamedTuple):
    """A chunk between two stages: what leaves the layers below (B, n, d), how many rows it is short of K, new rows."""

    hidden: Tensor
    short: int
    rows: list[Tensor]


class Stage:
    """Some of the layers, and their newest rows, in a thread of its own."""

    def __init__(self, model: MPlus, layers: range, newest: Tensor, thread: ThreadPoolExecutor) -> None:
        self.model, self.layers, self.thread = model, layers, thread
        self.newest: Sequence[Tensor] = newest[layers.start : layers.stop].unbind()

    def after(self, below: Future[Passing]) -> Future[Passing]:
        """Begin with a chunk when the layers below have done with it: its hidden states, and the rows of all layers."""
        return self.thread.submit(self._write, below)

    @torch.inference_mode()
    def _write(self, below: Future[Passing]) -> Passing:
        hidden, short, rows = below.result()
        hidden, self.newest = self.model.write_layers(hidden, short, self.newest, self.layers)
        return Passing(hidden, short, [*rows, *self.newest])


def _in_stages(
    model: MPlus, chunks: Iterable[Tensor], newest: Tensor, row_format: str, count: int
) -> Generator[WrittenChunk]:
    @torch.inference_mode()
    def enter(ids: Tensor) -> Passing:
        return Passing(*model.enter(ids), [])

    @torch.inference_mode()
    def leave(done: Future[Passing]) -> WrittenChunk:
        rows = torch.stack(done.result().rows)
        return WrittenChunk(rows, stored(model, rows, row_format))

    cuts = [round(part * model.config.layers / count) for part in range(count + 1)]
    with threads(count + 1) as (last, *others):
        stages = [Stage(model, range(*cut), newest, one) for cut, one in zip(pairwise(cuts), others, strict=True)]
        waiting: deque[Future[WrittenChunk]] = deque()
        for ids in chunks:
            done = others[0].submit(enter, ids)
            for stage in stages:
                done = stage.after(done)
            waiting.append(last.submit(leave, done))
            if len(waiting) > count + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def threads(count: int) -> Iterator[list[ThreadPoolExecutor]]:
    """Threads that run one task after the other, each with its share of torch's threads; what waits at the end is
    dropped."""
    before = torch.get_num_threads()
    share = max(1, before // max(1, count - 1))
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)  # a thread's own number is the one of all threads to come
        pools = [ThreadPoolExecutor(1, "writing", torch.set_num_threads, (share,)) for _ in range(count)]
        for pool in pools:
            stack.callback(pool.shutdown)
        try:
            yield pools
        finally:
            for pool in pools:  # all before one is waited for: the last would wait for work that the first still takes
                pool.shutdown(wait=False, cancel_futures=True)
