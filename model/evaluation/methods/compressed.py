"""A compressed key-value cache: text and question are read in full, then every key-value head keeps its best pairs.

What is decoded is appended and never dropped: answers are short. The rows that every prompt has in front (the bos row)
are pairs like any other, and count. Nothing is trained.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from model.cache import RoomyLayer
from model.evaluation.methods.context import FullContext
from model.mplus import MPlus, rotate, visible

VOTERS = 256  # queries whose attention weights are computed together
WINDOW, KERNEL = 32, 7  # of SnapKV: queries that vote, and the width of the pooling of their votes


def attention_votes(model: MPlus, layer: int, entering: Tensor, keys: Tensor, last: int) -> Tensor:
    """The attention that the last queries of a prompt give to every position, summed: (H_kv, m), float32.

    entering (1, n, d) hidden states entering the layer, keys (1, H_kv, m, hd) rotated, of which the last n are the
    prompt's own. Summed over queries and over the query heads that share a key-value head; a tile of queries and one
    key-value head at a time, so that nothing larger than (g, tile, m) is made.
    """
    total = keys.shape[2]
    queries = _queries(model, layer, entering[:, -last:], total).to(keys)  # (H_kv, g, last, hd)
    votes = torch.zeros(len(queries), total, device=keys.device)
    for low in range(0, last, VOTERS):
        tile = queries[:, :, low : low + VOTERS]
        end = total - last + low + tile.shape[2]  # keys that the tile's last query sees
        mask = visible(tile.shape[2], end - tile.shape[2], keys.device)
        for head, (group, seen) in enumerate(zip(tile, keys[0, :, :end], strict=True)):
            products = (group @ seen.T).float() * model.config.head_dim**-0.5  # (g, tile, end)
            if mask is not None:
                products.masked_fill_(~mask[0], -torch.inf)
            votes[head, :end] += products.softmax(-1).sum((0, 1))
    return votes


def _queries(model: MPlus, layer: int, entering: Tensor, end: int) -> Tensor:
    """Rotated queries of hidden states (1, n, d) whose last stands at position end - 1: (H_kv, g, n, hd)."""
    flat = model.attention_query(layer, entering)
    positions = torch.arange(end - entering.shape[1], end, device=entering.device)
    turned = rotate(model.as_heads(flat), *model.rotary(positions, entering))
    return turned[0].unflatten(0, (model.config.llama.num_key_value_heads, -1))


class Compressed(FullContext):
    """Full context whose cache is cut to `budget.rows` pairs of every head and layer before anything is decoded."""

    @property
    def pairs(self) -> int:
        """Key-value pairs that every head of a layer keeps: the budget, else as many as M+ has rows."""
        config = self.model.config
        return config.pool_rows + config.recall_rows if self.budget.rows is None else self.budget.rows

    def after_layer(self, layer: int, entering: Tensor, held: RoomyLayer, room: int) -> None:
        """Keep what the head attends to, where there is more than the budget."""
        assert self.pairs > 0, "a cache of no pairs"
        if held.length > self.pairs:
            best, recent = self.best(layer, entering, held, self.pairs)
            rows = torch.arange(held.length - recent, held.length, device=best.device).expand(len(best), -1)
            held.keep(torch.cat([best.sort().values, rows], 1), room)

    @abstractmethod
    def best(self, layer: int, entering: Tensor, held: RoomyLayer, pairs: int) -> tuple[Tensor, int]:
        """Positions of the best pairs of every head (H_kv, pairs - r), and r, how many of the last are kept anyway."""


class SnapKV(Compressed):
    """The prompt's last queries vote on what stands before them (arXiv 2404.14469).

    The votes of a key-value head's query heads are summed, then max-pooled, so that what stands around a pair with
    many votes is kept too.
    """

    name, about = "snapkv", "a cache cut to the pairs that the end of the prompt attends to"

    def best(self, layer: int, entering: Tensor, held: RoomyLayer, pairs: int) -> tuple[Tensor, int]:
        """What the observation window attends to, and the window."""
        window = min(WINDOW, pairs, entering.shape[1])
        votes = attention_votes(self.model, layer, entering, held.keys.to(entering.device), window)[
            :, : held.length - window
        ]
        pooled = F.max_pool1d(votes[None], KERNEL, 1, KERNEL // 2)[0]
        return pooled.topk(pairs - window).indices, window


class H2O(Compressed):
    """Heavy hitters by accumulated attention, and as many recent pairs (arXiv 2306.14048).

    The paper evicts while it reads; here once, after the prompt, with the votes of all its queries.
    """

    name, about = "h2o", "a cache cut to heavy hitters of attention and recent pairs"

    def best(self, layer: int, entering: Tensor, held: RoomyLayer, pairs: int) -> tuple[Tensor, int]:
        """What all queries together attend to most, and the newest half."""
        recent = pairs - pairs // 2
        votes = attention_votes(self.model, layer, entering, held.keys.to(entering.device), entering.shape[1])
        return votes[:, : held.length - recent].topk(pairs // 2).indices, recent
