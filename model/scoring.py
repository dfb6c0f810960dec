"""Scoring stored rows against a prompt: the mean over its tokens of sigmoid(q . k), a cache-sized tile at a time.

Neither the (n, M) score matrix nor a wider copy of the keys is ever held: a tile of keys, which may be memory-mapped,
is widened, scored, and merged into the best rows so far. Of equal scores the older row (the lower number) wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from model.key_formats import Keys, tensors_kind, tensors_of
from model.scanning import each, threaded
from model.scripted import score_blocks, scripted

TILE_QUERIES = 64  # prompt tokens scored at a time
TILE_BYTES = 1 << 20  # of widened keys and scores on the CPU: what a core's own cache holds
DEVICE_TILE_BYTES = 1 << 26  # on other devices, where few large products are faster
WAITING_ROWS = 65_536  # scores that wait to be compared with the best so far


class Scores(NamedTuple):
    """How well stored rows answer a prompt: rows (M,) float32; chunks, for every block the best row of each of its
    chunks for each prompt token, (n, rows of the block // K)."""

    rows: Tensor
    chunks: list[Tensor]


class Best(NamedTuple):
    """The rows with the highest scores: rows (R,) numbers, ascending; values (R,) float32; left_out (m,) the scores of
    the rows that were left out, in the order in which they were named; chunks as in `Scores`. Rows are on the host."""

    rows: Tensor
    values: Tensor
    left_out: Tensor
    chunks: list[Tensor]


def scores(queries: Tensor, blocks: Sequence[Keys], chunk_rows: int = 1, tile_rows: int | None = None) -> Scores:
    """Scores of every row, and the best row of every chunk of `chunk_rows` for every prompt token.

    queries (n, h), blocks of keys (M_i, h).
    """
    rows = [queries.new_zeros(0, dtype=torch.float32)]
    chunks = _score_blocks(queries, blocks, chunk_rows, tile_rows, rows.append)
    return Scores(torch.cat(rows), chunks)


def search(
    queries: Tensor,
    blocks: Sequence[Keys],
    count: int,
    left_out: Tensor | None = None,
    oldest: int = 0,
    chunk_rows: int = 0,
    tile_rows: int | None = None,
) -> Best:
    """The `count` best rows, or all there are, in number from `oldest` on and not among `left_out`.

    queries (n, h), blocks of keys (M_i, h), left_out (m,) row numbers. Chunks are ranked where chunk_rows is not 0.
    """
    top = TopRows(count, left_out, oldest)
    chunks = _score_blocks(queries, blocks, chunk_rows, tile_rows, top.add)
    return Best(*top.found(), chunks)


class TopRows:
    """The best rows so far, without those before `oldest` and those that are left out (m,).

    Scores are added in the order of row numbers, and compared many tiles at a time.
    """

    def __init__(self, count: int, left_out: Tensor | None = None, oldest: int = 0) -> None:
        self.count, self.oldest = count, oldest
        named = torch.zeros(0, dtype=torch.long) if left_out is None else left_out.cpu()
        self.left_out, self.order = named.sort()
        self.left_values = torch.zeros(len(named))
        self.rows, self.values = torch.zeros(0, dtype=torch.long), torch.zeros(0)
        self.first, self.next = 0, 0  # row numbers: of the first that waits, and behind the last
        self.waiting: list[Tensor] = []  # scores of tiles

    def add(self, values: Tensor) -> None:
        """Scores (m,) of the next rows."""
        self.waiting.append(values)
        self.next += len(values)
        if self.next - self.first >= WAITING_ROWS:
            self._settle()

    def found(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row numbers in order of birth, their scores, and the scores of what was left out, as it was named."""
        self._settle()
        return *in_order_of_birth(self.rows, self.values), self.left_values[self.order.argsort()]

    def _settle(self) -> None:
        values = torch.cat([torch.zeros(0), *(one.cpu() for one in self.waiting)])
        low, high = torch.searchsorted(self.left_out, torch.tensor([self.first, self.next])).tolist()
        barred = self.left_out[low:high] - self.first
        self.left_values[low:high] = values[barred]
        values[barred] = values[: max(0, self.oldest - self.first)] = -torch.inf
        full = self.count > 0 and len(self.values) == self.count
        better = (values > (self.values[-1] if full else -torch.inf)).nonzero()[:, 0]
        self.values, order = best_first(torch.cat([self.values, values[better]]), self.count)
        self.rows = torch.cat([self.rows, better + self.first])[order]
        self.first, self.waiting = self.next, []


def best_first(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest values (m,) and where they stand; of equal ones the first."""
    if 0 < count < len(values):
        able = (values >= values.topk(count).values[-1:]).nonzero()[:, 0]  # a stable sort of all would take far longer
        found, order = values[able].sort(descending=True, stable=True)
        return found[:count], able[order[:count]]
    found, order = values.sort(descending=True, stable=True)
    return found[:count], order[:count]


def in_order_of_birth(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers (m,) ascending, and their scores."""
    ascending, order = rows.sort()
    return ascending, values[order]


def _score_blocks(
    queries: Tensor,
    blocks: Sequence[Keys],
    chunk_rows: int,
    tile_rows: int | None,
    add: Callable[[Tensor], None],
) -> list[Tensor]:
    """Hand the scores (m,) of some blocks after others to `add`; the best rows of all chunks, as in `Scores`."""
    whole = [len(block) // chunk_rows if chunk_rows else 0 for block in blocks]
    best = queries.new_empty(len(queries), sum(whole), dtype=torch.float32)
    edges = list(accumulate(whole, initial=0))

    # threads need the compiled loop; compiling it costs a process more than it saves on a small memory
    loop = scripted() if threaded(blocks, queries.device) else score_blocks

    def worker() -> Callable[[range, Iterable[list[Keys]]], Tensor]:
        score = Scorer(queries, chunk_rows, tile_rows, loop)
        return lambda some, pieces: score(pieces, best[:, edges[some.start] : edges[some.stop]])

    for _, values in each(blocks, worker, queries.device, chunk_rows or 1):
        add(values)
    return list(best.split(whole, 1)) if blocks else []


def tile_size(queries: Tensor) -> int:
    """Rows whose widened keys and scores fit a tile; a multiple of 64."""
    room = TILE_BYTES if queries.device.type == "cpu" else DEVICE_TILE_BYTES
    return max(64, room // (4 * (queries.shape[1] + min(len(queries), TILE_QUERIES))) // 64 * 64)


class Scorer:
    """Scores keys against queries (n, h), a tile at a time and always in the same memory.

    chunk_rows: rows of a chunk whose best row is wanted for every query; 0 for none. loop: `score_blocks`, or what
    TorchScript made of it.
    """

    def __init__(self, queries: Tensor, chunk_rows: int, tile_rows: int | None, loop: Callable[..., None]) -> None:
        self.queries, self.chunk_rows, self.loop = queries.float(), chunk_rows, loop
        self.tile_rows = tile_rows or tile_size(queries)
        self.spaces = [torch.zeros(0, device=queries.device)] * 2

    def __call__(self, pieces: Iterable[list[Keys]], best: Tensor) -> Tensor:
        """Scores (m,) of blocks (m_i, h), those of a piece of one kind; the best rows of their whole chunks are written
        to `best` (n, chunks)."""
        found, chunk = [self.queries.new_empty(0)], 0
        for blocks in pieces:
            after = chunk + sum(len(keys) // self.chunk_rows for keys in blocks) if self.chunk_rows else 0
            found.append(self._sums(blocks, best[:, chunk:after]))
            chunk = after
        return torch.cat(found).div_(max(1, len(self.queries)))

    def _sums(self, blocks: list[Keys], best: Tensor) -> Tensor:
        name, group = tensors_kind(blocks[0], self.queries.device)
        unit = math.lcm(self.chunk_rows or 1, group)
        rows = max(unit, self.tile_rows // unit * unit)
        self._make_room(min(rows, max(map(len, blocks))))
        values = self.queries.new_zeros(sum(map(len, blocks)))
        tensors = [tensors_of(keys, name) for keys in blocks]
        self.loop(name, tensors, group, self.queries, TILE_QUERIES, rows, self.chunk_rows, self.spaces, values, best)
        return values

    def _make_room(self, rows: int) -> None:
        """Fresh memory for every tile would have to be cleared by the kernel."""
        for number, width in enumerate((self.queries.shape[1], min(len(self.queries), TILE_QUERIES))):
            if self.spaces[number].numel() < rows * width:
                self.spaces[number] = torch.empty(rows * width, device=self.queries.device)
