"""A recalled row brings the rows beside it: a token is understood from what stands around it.

The retriever finds rows that name what is asked for; what is asked of them often stands a few rows on, in words that
the question does not share. Rows are taken in the order of their scores, each with those of its chunk at most `reach`
places away, nearest first, until as many are found as are recalled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.scoring import Best, best_first, in_order_of_birth


class Places(NamedTuple):
    """How row numbers lie in a view: `first` rows came with the checkpoint, then every chunk has `chunk_rows`, `total`
    rows in all."""

    first: int
    chunk_rows: int
    total: int

    def chunk_of(self, rows: Tensor) -> Tensor:
        """The chunk of row numbers, in any shape; -1 for those that came with the checkpoint."""
        return torch.where(rows < self.first, -1, (rows - self.first) // self.chunk_rows)


def with_neighbours(best: Best, reach: int, places: Places, pool: Tensor, oldest: int = 0) -> Best:
    """As many rows as were found, with neighbours in the place of the weakest; a neighbour has the score of the row
    that brought it.

    pool (n_pool,) row numbers that stand in the memory anyway, and rows before `oldest`, are never brought.
    """
    if not reach or not len(best.rows):
        return best
    values, order = best_first(best.values, len(best.values))
    found = best.rows[order]
    offsets = torch.arange(2 * reach + 1).sub_(reach)
    offsets = offsets[offsets.abs().argsort(stable=True)]
    rows = found[:, None] + offsets  # (R, 1 + 2 * reach)
    wanted = (rows >= oldest) & (rows >= 0) & (rows < places.total) & ~torch.isin(rows, pool)
    wanted &= places.chunk_of(rows) == places.chunk_of(found)[:, None]
    first = _first_of_each(rows[wanted])[: len(found)]
    spread = values[:, None].expand_as(rows)[wanted]
    return Best(*in_order_of_birth(rows[wanted][first], spread[first]), best.left_out, best.chunks)


def _first_of_each(rows: Tensor) -> Tensor:
    """Where each row number (m,) stands for the first time, ascending."""
    different, owner = rows.unique(return_inverse=True)
    first = torch.full((len(different),), len(rows)).scatter_reduce_(0, owner, torch.arange(len(rows)), "amin")
    return first.sort().values
