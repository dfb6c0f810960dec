"""First weights of the retriever: a row is found by the words that it shares with the question.

Left to itself the retriever of a small model takes thousands of steps to discover that equal words speak for each
other. Here queries and keys start as the same random picture of the token, rare tokens large and frequent ones small,
fitted by ridge regression on what the layers really hold; training goes on from there to sentences and meaning.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from model.mplus import KeysValues, MPlus
from model.training.data import Corpus
from model.training.memory import no_memory

MATCHED = 25.0  # q . k of a rare token with itself
OFFSET = 8.0  # taken from every q . k, so that unlike tokens score near 0
RARE = 9.0  # minus log probability from which on a token counts in full
FREQUENT = 4.0  # and below which it does not count
RIDGE = 0.01


@torch.no_grad()
def begin_searching(
    model: MPlus, corpus: Corpus, seed: int = 0, passages: int = 200, layers: Sequence[int] = ()
) -> list[float]:
    """Set the projections of every layer, or of those named; returns how much of its goal each layer's keys explain."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    chunk = model.config.chunk_tokens
    ids = torch.tensor([corpus.passage(rng, chunk) for _ in range(passages)])
    sample = torch.from_numpy(corpus.tokens[:5_000_000].astype("int64"))
    counts = torch.bincount(sample, minlength=model.config.llama.vocab_size)
    rarity = -((counts + 1) / counts.sum()).log()
    weight = ((rarity - FREQUENT) / (RARE - FREQUENT)).clamp(0.0, 1.0)
    entering, rows = states(model, ids)
    embeddings = model.llama.model.embed_tokens.weight
    explained = []
    for layer in layers or range(model.config.layers):
        picture = torch.randn(embeddings.shape[1], model.config.retriever_dim - 1, generator=generator)
        drawn = (embeddings - embeddings.mean(0)) @ picture
        goal = (drawn / drawn.norm(dim=1, keepdim=True) * weight[:, None] * MATCHED**0.5)[ids].flatten(0, 1)
        retriever = model.retrievers[layer]
        for part, inputs, sign in ((retriever.query, entering[layer], 1.0), (retriever.key, rows[layer], -1.0)):
            offset = torch.full((len(goal), 1), sign * OFFSET**0.5)
            fitted = ridge(inputs.flatten(0, 1), torch.cat([goal, offset], 1))
            part[0].weight.copy_(torch.cat([fitted, -fitted]))  # silu(a) - silu(-a) = a: the two layers are linear
            eye = torch.eye(len(fitted))
            part[2].weight.copy_(torch.cat([eye, -eye], 1))
        rest = (inputs.flatten(0, 1) @ fitted.T)[:, :-1] - goal
        explained.append(1 - (rest.pow(2).mean() / goal.var()).item())
    return explained


def states(model: MPlus, ids: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Normed hidden states that enter each layer when ids (B, n) are read, and normed rows when they are written."""
    entering: list[Tensor] = []
    behind = no_memory(model, len(ids))

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        entering.append(model.normed(layer, hidden))
        return behind(layer, hidden)

    model.read(ids, prefix_of)
    rows, _ = model.write(ids, model.start_rows(len(ids)))
    return entering, [model.normed(layer, rows[layer]) for layer in range(model.config.layers)]


def ridge(inputs: Tensor, goal: Tensor) -> Tensor:
    """W with goal ~ inputs @ W.T: (M, d), (M, h) -> (h, d)."""
    square = inputs.T @ inputs
    eye = torch.eye(len(square)) * RIDGE * square.diagonal().mean()
    return torch.linalg.solve(square + eye, inputs.T @ goal).T
