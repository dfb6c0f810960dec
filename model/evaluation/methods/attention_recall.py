"""MemoryLLM-8B-Attn (M+ paper, "Setting 4"): attention itself recalls, for every key-value head rows of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from model.evaluation.methods.latent import Latent
from model.generate import Memory, Reader, RetrievalTrace
from model.memory import as_prefix
from model.mplus import KeysValues, MPlus
from model.retriever import TILE_ROWS


def mean_query(model: MPlus, layer: int, hidden: Tensor) -> Tensor:
    """What a prompt looks for in a layer: (1, n, d) entering it -> (H_kv, hd).

    The mean of its queries, before RoPE, over tokens and over the query heads that share a key-value head. Scores
    q . k are linear in q, so the mean of a row's scores is the score of the mean.
    """
    queries = model.attention_query(layer, hidden)[0]
    return queries.mean(0).unflatten(0, (model.config.llama.num_key_value_heads, -1, model.config.head_dim)).mean(1)


class AttentionReader(Reader):
    """Recalls, for every key-value head, the R long-term rows with the largest attention score."""

    def head_scores(self, layer: int, hidden: Tensor) -> Tensor:
        """Mean attention score of every row of the table for every key-value head: (H_kv, M), float32."""
        query = mean_query(self.model, layer, hidden)
        found = [query.new_zeros(len(query), 0, dtype=torch.float32)]
        table = self.memory.table
        for start in range(0, len(table), TILE_ROWS):
            keys, _ = table.gather(layer, torch.arange(start, min(start + TILE_ROWS, len(table))))
            by_head = keys.to(query).unflatten(-1, query.shape)  # (n, H_kv, hd)
            found.append(torch.einsum("nhd,hd->hn", by_head, query).float())
        return torch.cat(found, 1).cpu()

    def _recalled(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> KeysValues:
        """Rows of every head in birth order: (1, H_kv, R, hd). The trace holds the rows that any head recalls."""
        scores = self.head_scores(layer, hidden)
        rows = torch.stack([self._best(layer, one, self.recall_rows) for one in scores])  # (H_kv, R)
        any_head, place = rows.unique(return_inverse=True)
        best, pool = scores.amax(0), self.memory.membership.pool[layer]
        trace.recalled.append(any_head)
        trace.recalled_scores.append(best[any_head])
        trace.pool.append(pool)
        trace.pool_scores.append(best[pool])
        if not len(any_head):
            return self._stored(layer, any_head)
        stored = as_prefix(self.model, *self.memory.table.gather(layer, any_head))
        index = place.to(self.model.device)[None, :, :, None].expand(-1, -1, -1, self.model.config.head_dim)
        return KeysValues(*(part.gather(2, index) for part in stored))


class MemoryAttention(Latent):
    """Latent memory whose long-term rows are recalled by attention."""

    name, about = "memory-attn", "latent memory, long-term rows recalled by attention, each key-value head its own"

    def make_reader(self, memory: Memory) -> Reader:
        """A reader that needs no retriever."""
        return AttentionReader(self.model, memory)
