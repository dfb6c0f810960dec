"""Attention that is told where to look: a token of an answer should be read from the row that holds it.

The answer's loss reaches the binding of a name to its value only through a softmax over hundreds of rows and through
whatever copying exists already. Comparing the row of the value with all other rows of the prefix, in the attention
itself, is as direct as the retriever's loss of each row, and it leaves to the model which of its heads does the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.mplus import MPlus, rotate
from model.training.data import Batch, row_indices

FIRST_LAYER = 1  # rows of the layers below hold too little of what stands before them
SMALLEST = 1e-5  # probability


@dataclass(slots=True)
class Pointers:
    """Prompt tokens that predict a value, and the row (of B * T * K) that holds what they predict: (M,)."""

    prompt: Tensor
    position: Tensor
    row: Tensor
    seen: list[Tensor] = field(default_factory=list)  # of each layer (M, heads): attention to the row
    there: Tensor | None = None  # (M,) whether the row is in the prefix at all

    @classmethod
    def none(cls) -> Pointers:
        """Nothing to watch."""
        return cls(*torch.zeros(3, 0, dtype=torch.long))

    def loss(self) -> Tensor | None:
        """Minus the log of the attention that the best head of all layers pays to the right row; None if none is there.

        The mean of all heads would pull every head to the value; the chance that any of them looks there is high
        already when all look at every value alike.
        """
        if not self.seen or self.there is None or not self.there.any():
            return None
        return -torch.cat(self.seen, 1)[self.there].amax(1).clamp_min(SMALLEST).log().mean()

    def watch(self, model: MPlus, layer: int, hidden: Tensor, keys: Tensor, index: Tensor) -> None:
        """Keep how much the tokens attend to their rows in a layer.

        hidden (P, n, d) enters the layer; keys (P, H_kv, S, hd), before RoPE, are those of rows index (P, S).
        """
        if layer < FIRST_LAYER or not len(self.row):
            return
        mask = index[self.prompt] == self.row[:, None]  # (M, S)
        there = mask.any(1)
        self.there = there if self.there is None else self.there & there
        attention, stored = model.layer(layer).self_attn, keys.shape[2]
        normed = model.normed(layer, hidden[self.prompt, self.position])
        queries = attention.q_proj(normed).unflatten(-1, (-1, model.config.head_dim))  # (M, H, hd)
        cos, sin = model.rotary(torch.arange(1 + stored + hidden.shape[1]), hidden)
        places = 1 + stored + self.position  # the bos row is at 0
        queries = rotate(queries[:, :, None], cos[0, places][:, None], sin[0, places][:, None])[:, :, 0]
        turned = rotate(keys, cos[:, 1 : 1 + stored], sin[:, 1 : 1 + stored])[self.prompt]  # (M, H_kv, S, hd)
        grouped = queries.unflatten(1, (turned.shape[1], -1))  # (M, H_kv, H / H_kv, hd)
        scores = (grouped @ turned.transpose(2, 3)).flatten(1, 2) * model.config.head_dim**-0.5  # (M, H, S)
        self.seen.append((scores.softmax(-1) * mask[:, None]).sum(-1))


def pointers_of(batch: Batch, rows: int) -> Pointers:
    """The tokens of all answers whose value stands in what was written."""
    each = len(batch.chunks) * rows
    found = []
    for number, (owner, one) in enumerate(zip(batch.owner.tolist(), batch.prompts, strict=True)):
        for asked in one.asked:
            start, end = asked.support[-1] if len(asked.support) > 1 else (0, 0)  # the value, behind its sentence
            for at in range(start, end):
                inside = row_indices((at, at + 1), batch.lengths, rows)
                if inside:
                    found.append((number, asked.answer[0] - 1 + at - start, owner * each + inside[0]))
    table = torch.tensor(found, dtype=torch.long).view(-1, 3)
    return Pointers(table[:, 0], table[:, 1], table[:, 2])
