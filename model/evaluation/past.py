"""A long past for measurements: rows written once, looked at behind different prompts and by different memories."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from transformers import DynamicCache

from model.mplus import KeysValues, MPlus

Prefix = Callable[[int, Tensor], KeysValues]
LIVING = 120  # chunks: older rows are in the pool with a chance below 1e-6 (survival 7/8 a chunk)


@dataclass(slots=True)
class Past:
    """Rows in order of birth: hidden (L, M, d) in bfloat16, retrieval keys (L, M, h) in float32."""

    rows: Tensor
    keys: Tensor

    def __len__(self) -> int:
        return self.rows.shape[1]

    def __getitem__(self, part: slice) -> Past:
        return Past(self.rows[:, part], self.keys[:, part])


@torch.no_grad()
def remember(model: MPlus, tokens: Sequence[int], chunk: int | None = None, streams: int = 1) -> Past:
    """Write a text chunk by chunk. `streams` > 1 writes that many pieces side by side (faster on many short ones)."""
    size = chunk or model.config.chunk_tokens
    pieces = [tokens[len(tokens) * i // streams : len(tokens) * (i + 1) // streams] for i in range(streams)]
    count = -(-min(map(len, pieces)) // size)
    even = min(map(len, pieces))
    bounds = [round(i * even / count) for i in range(count + 1)]
    newest, rows = model.start_rows(streams), []
    for low, high in pairwise(bounds):
        newest, _ = model.write(torch.tensor([list(piece[low:high]) for piece in pieces]), newest)
        rows.append(newest.to(torch.bfloat16))
    whole = torch.cat(rows, 2).flatten(1, 2)  # stream after stream
    return Past(whole, keys_of(model, whole))


@torch.no_grad()
def keys_of(model: MPlus, rows: Tensor) -> Tensor:
    """Retrieval keys of rows (L, M, d), in tiles."""
    return torch.stack([
        torch.cat([model.key(layer, tile.float()[None])[0] for tile in rows[layer].split(65_536)])
        for layer in range(len(rows))
    ])  # fmt: skip


def after(first: Past, second: Past) -> Past:
    """One past behind the other."""
    return Past(torch.cat([first.rows, second.rows], 1), torch.cat([first.keys, second.keys], 1))


def survivors(model: MPlus, count: int, seed: int) -> list[Tensor]:
    """Pool rows of each layer after seeded random drops (ascending), of `count` rows in all."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    if count <= config.pool_rows:
        return [torch.arange(count)] * config.layers
    first = max(0, count - LIVING * config.memory_rows)
    age = torch.arange(count - first - 1, -1, -1) // config.memory_rows
    found = []
    for _ in range(config.layers):
        draw = torch.rand(count - first, generator=generator).log() / torch.exp(
            age * math.log(1 - config.memory_rows / config.pool_rows)
        )
        draw[-config.memory_rows :] = 1.0
        found.append(draw.topk(config.pool_rows).indices.sort().values + first)
    return found


def memory(model: MPlus, past: Past, seed: int = 0, recall: bool = True) -> Prefix:
    """What a prompt sees: recalled long-term rows, oldest first, then the pool."""
    pools = survivors(model, len(past), seed)
    most = model.config.recall_rows

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        index = pools[layer]
        if recall and len(past) > len(index):
            scores = torch.zeros(len(past))
            queries = model.query(layer, hidden)[0]
            for start in range(0, len(past), 65_536):
                tile = past.keys[layer][start : start + 65_536]
                scores[start : start + len(tile)] = (queries @ tile.T).sigmoid_().mean(0)
            scores[index] = -1.0
            found = scores.topk(min(most, len(past) - len(index))).indices.sort().values
            index = torch.cat([found, index])
        return model.project_layer(layer, past.rows[layer][index].float()[None])

    return prefix_of


def empty(model: MPlus) -> Prefix:
    """No memory at all."""
    none = torch.zeros(1, 0, model.config.llama.hidden_size)
    return lambda layer, hidden: model.project_layer(layer, none)


@torch.no_grad()
def answers_exactly(model: MPlus, prefix: Prefix, asked: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether greedy decoding gives exactly these answer tokens (by their arg max under teacher forcing)."""
    ids = torch.tensor([[*asked, *answer]])
    hidden = model.read(ids, first_only(prefix, len(asked)))
    best = model.logits(hidden[:, len(asked) - 1 : -1]).argmax(-1)[0].tolist()
    return best == list(answer)


def first_only(prefix: Prefix, count: int) -> Prefix:
    """A memory that is searched with the first `count` tokens only: the answer must not help to find itself."""
    return lambda layer, hidden: prefix(layer, hidden[:, :count])


@torch.no_grad()
def greedy(model: MPlus, prefix: Prefix, asked: Sequence[int], stop: int, most: int = 16) -> list[int]:
    """Greedy answer tokens up to (not with) the stop token."""
    cache = DynamicCache()
    hidden = model.read(torch.tensor([list(asked)]), prefix, cache)
    found: list[int] = []
    for _ in range(most):
        token = int(model.logits(hidden[:, -1:])[0, -1].argmax())
        if token == stop:
            break
        found.append(token)
        hidden = model.embed(torch.tensor([[token]]))
        length = cache.get_seq_length()
        position = model.rotary(torch.tensor([length]), hidden)
        for layer in range(model.config.layers):
            hidden = model.layer(layer)(hidden, past_key_values=cache, position_embeddings=position)
    return found


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval."""
    if not values:
        return math.nan, math.nan, math.nan
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(1000))
    return sum(values) / len(values), means[25], means[974]
