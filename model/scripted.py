"""The innermost loop of recall, as TorchScript: torch runs all of it without the interpreter's lock.

Its operations take some ten microseconds each. Threads that run them from Python wait for each other's turn in the
interpreter longer than they compute, so that two are no faster than one (docs/decisions.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from model.row_formats import unpacked_pairs


def score_blocks(
    kind: str,
    blocks: list[list[Tensor]],
    group: int,
    queries: Tensor,
    most_queries: int,
    tile_rows: int,
    chunk_rows: int,
    spaces: list[Tensor],
    values: Tensor,
    best: Tensor,
) -> None:
    """Fill `values` (m,) with the sums of sigmoid(q . k) over queries (n, h), for the keys of blocks of one kind.

    kind: "float", or "narrow" for floats that are to be widened, with blocks [keys (m_i, h)]; "int8" with [codes,
    scales (m_i,)]; "pairs", two channels a byte, with [codes (m_i, h / 2), middles, scales (m_i / group, h)]. best (n,
    chunks): the best key of every chunk of `chunk_rows`, where that is not 0. tile_rows: a multiple of `group` and
    `chunk_rows`. spaces: memory of a tile's keys and products, float32.
    """
    width, at, chunk = queries.shape[1], 0, 0
    for parts in blocks:
        rows = parts[0].shape[0]
        for start in range(0, rows, tile_rows):
            stop = min(start + tile_rows, rows)
            tile = parts[0][start:stop].to(queries.device)
            if kind != "float":
                wide = spaces[0][: (stop - start) * width].view(stop - start, width)
                if kind == "narrow":
                    wide.copy_(tile)
                elif kind == "int8":
                    torch.mul(tile, parts[1][start:stop].to(queries.device).float().unsqueeze(1), out=wide)
                else:
                    wide.copy_(unpacked_pairs(tile, width))
                    first, last = start // group, stop // group
                    scales = parts[2][first:last].to(queries.device).float()
                    bases = torch.sub(parts[1][first:last].to(queries.device), scales, alpha=7.5)  # REACH
                    grouped = wide.view(last - first, group, width)
                    torch.addcmul(bases.unsqueeze(1), grouped, scales.unsqueeze(1), out=grouped)
                tile = wide
            total = values[at + start : at + stop]
            chunks = (stop - start) // chunk_rows if chunk_rows > 0 else 0
            for low in range(0, queries.shape[0], most_queries):
                some = queries[low : low + most_queries]
                if tile.dtype == torch.float32:
                    found = spaces[1][: len(some) * len(tile)].view(len(some), len(tile))
                    torch.mm(some, tile.t(), out=found)
                else:  # in bf16 all good rows would tie, whose steps below 1 are 0.004
                    found = torch.mm(some.to(tile.dtype), tile.t()).float()
                found.sigmoid_()
                if low == 0:
                    torch.sum(found, [0], out=total)
                else:
                    total.add_(found.sum(0))
                if chunks > 0:
                    whole = found[:, : chunks * chunk_rows].unflatten(1, [chunks, chunk_rows])
                    torch.amax(whole, [2], out=best[low : low + most_queries, chunk : chunk + chunks])
            chunk += chunks
        at += rows


@cache
def scripted() -> Callable[..., None]:
    """`score_blocks` compiled, once; where torch has no TorchScript (any more), as it is: slower in threads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.script(score_blocks)
    except (AttributeError, RuntimeError, OSError):
        return score_blocks
