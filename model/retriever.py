"""The co-trained retriever: which long-term rows answer a prompt (paper, section 4.2; spec, 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.devices import cpu_has_bf16
from model.scoring import Int8Keys, Keys

TILE_ROWS = 65_536  # rows scored at a time: bounds the score matrix to (n, TILE_ROWS)
WIDENED_ROWS = 4096  # keys in eight bits that are held in float32 at a time


def projector(width: int, dim: int, layers: int) -> nn.Module:
    """Linear(d, 2h) -> SiLU -> Linear(2h, h) without biases; a single Linear(d, h) where layers is 1."""
    if layers == 1:
        return nn.Linear(width, dim, bias=False)
    return nn.Sequential(nn.Linear(width, 2 * dim, bias=False), nn.SiLU(), nn.Linear(2 * dim, dim, bias=False))


class Retriever(nn.Module):
    """Query and key projections of one layer; both act on rows after that layer's input norm."""

    def __init__(self, width: int, dim: int, layers: int) -> None:
        super().__init__()
        self.query = projector(width, dim, layers)
        self.key = projector(width, dim, layers)


class Scores(NamedTuple):
    """How well stored rows answer a prompt: rows (M,) float32; chunks, for every block the best row of each of its
    chunks for each prompt token, (n, rows of the block // K)."""

    rows: Tensor
    chunks: list[Tensor]


def scores(queries: Tensor, blocks: Iterable[Keys], chunk_rows: int = 1) -> Scores:
    """Mean over prompt tokens of sigmoid(q . k) for every stored row, and the best row of every chunk of `chunk_rows`.

    queries (n, h), blocks of keys (M_i, h). The full score matrix is never held: rows are scored a tile at a time.
    """
    rows, chunks = [queries.new_zeros(0, dtype=torch.float32)], []
    for block in blocks:
        best = [queries.new_zeros(len(queries), 0, dtype=torch.float32)]
        for keys in _tiles(block, chunk_rows):
            found = _tile_scores(queries, keys)
            rows.append(found.mean(0))
            best.append(found[:, : len(keys) // chunk_rows * chunk_rows].unflatten(1, (-1, chunk_rows)).amax(2))
        chunks.append(torch.cat(best, 1))
    return Scores(torch.cat(rows), chunks)


def _tiles(block: Keys, chunk_rows: int) -> Iterator[Tensor]:
    """Whole chunks of keys (m, h) at a time; those in eight bits are widened."""
    most = WIDENED_ROWS if isinstance(block, Int8Keys) else TILE_ROWS
    tile = max(1, most // chunk_rows) * chunk_rows
    if not isinstance(block, Int8Keys):
        yield from block.split(tile)
        return
    for values, scales in zip(block.values.split(tile), block.scales.split(tile), strict=True):
        yield values.float() * scales.float()[:, None]


def _tile_scores(queries: Tensor, keys: Tensor) -> Tensor:
    if keys.dtype == torch.bfloat16 and queries.device.type == "cpu" and not cpu_has_bf16():
        keys = keys.float()  # a bf16 product takes eight times as long there
    products = queries.to(keys.dtype) @ keys.to(queries.device).T  # (n, m)
    return products.float().sigmoid_()  # in bf16 all good rows would tie: its steps below 1 are 0.004


def chunk_strengths(best: Tensor) -> Tensor:
    """How strongly a prompt points at each chunk: (n, T) best rows -> (T,), 0 to 1.

    Late interaction over the retriever's own scores: what each prompt token finds in a chunk, summed, where a token
    counts the more the fewer chunks hold what it looks for.
    """
    rarity = -best.mean(1).clamp(1e-4, 1 - 1e-4).log()  # (n,)
    return rarity @ best / rarity.sum()


def top_rows(values: Tensor, count: int) -> Tensor:
    """Indices of the highest scores, ascending: (count,) or all where there are fewer."""
    return values.topk(min(count, values.numel())).indices.sort().values


def oldest_first(chosen: Tensor, ages: Tensor | None) -> Tensor:
    """Order of recalled rows in the prefix; ties in age: the higher index first (golden variant `stable`).

    Without ages the index is the order of birth, so ascending indices are oldest first already.
    """
    if ages is None:
        return chosen
    return chosen[torch.argsort(ages[chosen], stable=True).flip(0)]
