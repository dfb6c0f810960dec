"""The co-trained retriever: which long-term rows answer a prompt (paper, section 4.2; spec, 5.2)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

TILE_ROWS = 65_536  # rows scored at a time: bounds the score matrix to (n, TILE_ROWS)


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


def scores(queries: Tensor, blocks: Iterable[Tensor]) -> Tensor:
    """Mean over prompt tokens of sigmoid(q . k) for every stored row: (n, h) queries, (M_i, h) keys -> (M,) float32."""
    parts = [_tile_scores(queries, tile) for block in blocks for tile in block.split(TILE_ROWS)]
    return torch.cat(parts) if parts else queries.new_zeros(0, dtype=torch.float32)


def _tile_scores(queries: Tensor, keys: Tensor) -> Tensor:
    products = queries.to(keys.dtype) @ keys.to(queries.device).T  # (n, m)
    return products.float().sigmoid_().mean(0)  # in bf16 all good rows would tie: its steps below 1 are 0.004


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
