"""Uncompressed keys and values of every token, recalled by block (InfLLM's idea, arXiv 2402.04617); training-free.

A chunk is read as a prompt is: behind the bos row, the blocks that it recalls and the newest rows. Rows in front get
their positions in order, without gaps, so with everything recalled this is attention over the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.adapters import READ, using
from model.cache import roomy_cache
from model.evaluation.methods.attention_recall import mean_query
from model.evaluation.methods.method import Method
from model.layer_cache import LayerCache
from model.memory import ReadRows, RowTable, as_prefix
from model.mplus import KeysValues
from model.plain import read_raw
from model.raw import BLOCK, best_rows, block_means


class RawKV(Method):
    """Keeps what attention would have kept: works on any Llama, one without memory training too."""

    name, about = "raw-kv", "uncompressed keys and values of every token, recalled by block; needs no training"
    stored = torch.bfloat16  # as rows lie in a library

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        config, most = self.model.config, self.budget.rows
        self.table = RowTable([])
        self.edges = torch.zeros(1, dtype=torch.long)  # row numbers where blocks begin and end; none crosses a chunk
        where = self.model.device if self.attic is None else torch.device("cpu")
        self.means = torch.zeros(config.layers, 0, config.key_value_dim).to(where, self.model.dtype)
        recalled, pool = config.recall_rows, config.pool_rows
        self.window = pool if most is None else most * pool // (recalled + pool)
        self.recall_rows = recalled if most is None else most - self.window

    @torch.inference_mode()
    def read(self, text: str) -> None:
        """Read a document, chunk by chunk, each behind what it recalls."""
        super().read(text)
        start = 0
        for length in self.subject.lengths(len(self.held[-1])):
            ids = self.held[-1][start : start + length]
            self._keep(read_raw(self.model, ids, self.prefix_of, self.stored))
            start += length

    def _keep(self, rows: ReadRows) -> None:
        means = block_means(rows.keys, BLOCK)  # (L, blocks, H_kv * hd)
        self.means = self.stowed(torch.cat([self.means, means.to(self.means)], 1))
        ends = len(self.table) + (torch.arange(means.shape[1]) * BLOCK + BLOCK).clamp(max=len(rows))
        self.edges = torch.cat([self.edges, ends])
        self.table = RowTable([*self.table.blocks, rows if self.attic is None else self.attic.rows(rows)])

    def recall(self, layer: int, hidden: Tensor) -> Tensor:
        """Row numbers of the best blocks that lie before the newest rows, oldest first: (R,), or all there are.

        A block's score: the prompt's queries (before RoPE) by the mean of its keys, over tokens and heads. The last
        block is cut where R ends. Without a bos row the first block always comes: attention leans on first tokens.
        """
        end = max(0, len(self.table) - self.window)
        count = min(self.recall_rows, end)
        if not count:
            return torch.zeros(0, dtype=torch.long)
        blocks = int((self.edges < end).sum())  # those that begin before the newest rows
        scores = (self.means[layer, :blocks] @ mean_query(self.model, layer, hidden).flatten().to(self.means)).float()
        if not self.model.config.bos_row:
            scores[0] = torch.inf
        return best_rows(scores, self.edges[: blocks + 1], end, count)

    def prefix_of(self, layer: int, hidden: Tensor) -> KeysValues:
        """What stands in front of a layer: recalled blocks, then the newest rows."""
        newest = torch.arange(max(0, len(self.table) - self.window), len(self.table))
        rows = torch.cat([self.recall(layer, hidden), newest])
        if len(rows):
            return as_prefix(self.model, *self.table.gather(layer, rows))
        empty = torch.zeros(0, self.model.config.key_value_dim)
        return as_prefix(self.model, empty, empty)

    @torch.inference_mode()
    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Recall for the prompt, layer by layer, and read it behind what was recalled."""
        cache = roomy_cache(self.model, len(prompt) + room)
        with using(self.model, READ):
            return self.model.read(self.subject.ids(prompt), self.prefix_of, cache), cache

    def bytes_held(self) -> dict[str, int]:
        """Rows lie on the host; the means of blocks are on the device."""
        host = sum(part.nbytes for block in self.table.blocks for part in (block.keys, block.values))
        if self.attic is not None:
            return {"device": 0, "host": 0, "disk": host + self.means.nbytes}
        return {"device": self.means.nbytes, "host": host, "disk": host}
