"""The co-trained retriever: which long-term rows answer a prompt (paper, section 4.2; spec, 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TILE_ROWS = 65_536  # rows that other ways of recalling compare at a time
BESIDE = 0.3  # what a chunk gains of its better neighbour's strength: a passage seldom ends where a chunk does


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


def chunk_strengths(best: Tensor) -> Tensor:
    """How strongly a prompt points at each chunk: (n, T) best rows -> (T,), 0 to 1.

    Late interaction over the retriever's own scores: what each prompt token finds in a chunk, summed, where a token
    counts the more the fewer chunks hold what it looks for; then a part of the better neighbour. docs/decisions.md
    has what the square and the neighbour gave.
    """
    rarity = best.mean(1).clamp(1e-4, 1 - 1e-4).log().square()  # (n,)
    alone = torch.nn.functional.pad(rarity @ best / rarity.sum(), (1, 1))
    return (alone[1:-1] + BESIDE * torch.maximum(alone[:-2], alone[2:])) / (1 + BESIDE)


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
