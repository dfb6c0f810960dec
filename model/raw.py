"""Uncompressed keys and values of every token as a memory, recalled by block (InfLLM's idea, arXiv 2402.04617).

What a Llama without memory training can keep of a text. Rows are those of `model.memory.ReadRows`, one for every token;
instead of a retrieval key for every row they hold the mean key of every block of `BLOCK` rows: (L, blocks, H_kv * hd).
No block crosses a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.config import MPlusConfig
from model.generate import Memory, Reader, RetrievalTrace
from model.membership import Membership
from model.memory import ReadRows, RowTable, as_prefix
from model.mplus import KeysValues, MPlus
from model.placement import EVERYTHING, Placement
from model.plain import read_raw
from model.retriever import chunk_strengths

BLOCK = 32  # rows recalled together


def chunk_values(config: MPlusConfig) -> int:
    """Values that one chunk takes, all layers: keys and values of its tokens, and the mean keys of its blocks."""
    tokens = config.chunk_tokens
    return config.layers * config.key_value_dim * (2 * tokens + -(-tokens // BLOCK))


def block_means(keys: Tensor, block: int = BLOCK) -> Tensor:
    """The mean key of every block: (L, n, H_kv * hd) -> (L, ceil(n / block), H_kv * hd), float32."""
    if not keys.shape[1]:
        return keys.float()
    return torch.stack([part.float().mean(1) for part in keys.split(block, 1)], 1)


def best_rows(scores: Tensor, edges: Tensor, end: int, count: int) -> Tensor:
    """Rows of the blocks with the highest scores, oldest first: (count,), or all there are.

    scores (B,), -inf for blocks that may not be recalled; edges (B + 1,), row numbers where blocks begin and end. Rows
    from `end` on are left out; the last block is cut where `count` ends.
    """
    best = scores.argsort(descending=True, stable=True)[: int((scores > -torch.inf).sum())].cpu()
    if not len(best) or count <= 0:
        return torch.zeros(0, dtype=torch.long)
    starts, ends = edges[best], edges[best + 1].clamp(max=end)
    needed = int(((ends - starts).cumsum(0) < count).sum()) + 1
    spans = zip(starts[:needed].tolist(), ends[:needed].tolist(), strict=True)
    return torch.cat([torch.arange(*span) for span in spans])[:count].sort().values


class RawWriter:
    """Reads one document chunk by chunk, each behind the bos row and the document's newest N rows, N as for the pool.

    Nothing is recalled, so rows depend on nothing outside of the document. Without a bos row the document's first block
    stays in front: attention leans on first tokens (arXiv 2309.17453). Rows are used as they are stored, so a reading
    that goes on from stored rows computes the same.
    """

    def __init__(self, model: MPlus, seen: Sequence[ReadRows] = ()) -> None:
        """seen: all rows of the document that were read before, oldest first."""
        self.model, self.total = model, 0
        self.first: ReadRows | None = None
        self.newest: list[ReadRows] = []
        for rows in seen:
            self._keep(rows)

    def read(self, ids: Sequence[int]) -> ReadRows:
        """Rows of the next chunk, in bf16 on the host; of a chunk without tokens none."""
        if ids:
            rows = read_raw(self.model, ids, self.prefix_of)
        else:
            nothing = torch.zeros(self.model.config.layers, 0, self.model.config.key_value_dim, dtype=torch.bfloat16)
            rows = ReadRows(nothing, nothing, nothing)
        self._keep(rows)
        return replace(rows, retrieval=block_means(rows.keys).to(rows.keys.dtype))

    def prefix_of(self, layer: int, hidden: Tensor) -> KeysValues:
        """What stands in front of the next chunk in a layer."""
        window, held = self.model.config.pool_rows, sum(map(len, self.newest))
        front = 0 if self.model.config.bos_row else min(BLOCK, max(0, self.total - window))
        keys, values = (
            torch.cat([getattr(rows, name)[layer] for rows in self.newest])[max(0, held - window) :]
            if self.newest
            else torch.zeros(0, self.model.config.key_value_dim, dtype=torch.bfloat16)
            for name in ("keys", "values")
        )
        if front:
            assert self.first is not None, "what has left the window began somewhere"
            keys = torch.cat([self.first.keys[layer, :front], keys])
            values = torch.cat([self.first.values[layer, :front], values])
        return as_prefix(self.model, keys, values)

    def _keep(self, rows: ReadRows) -> None:
        if len(rows):
            self.newest.append(rows)
        self.total += len(rows)
        if self.first is None or len(self.first) < BLOCK:
            self.first = _joined(self.first, rows.part(0, BLOCK)).part(0, BLOCK)
        held = sum(map(len, self.newest))
        while self.newest and held - len(self.newest[0]) >= self.model.config.pool_rows:
            held -= len(self.newest.pop(0))


def _joined(one: ReadRows | None, other: ReadRows) -> ReadRows:
    """Keys and values one after the other, copied; no retrieval keys."""
    parts = [other] if one is None else [one, other]
    keys, values = (torch.cat([getattr(part, name) for part in parts], 1) for name in ("keys", "values"))
    return ReadRows(keys, values, keys[..., :0])


@dataclass(frozen=True, slots=True)
class RawMemory(Memory):
    """Rows of every token of a view; the newest N are the pool of every layer. lengths: tokens of each chunk."""

    lengths: tuple[int, ...] = ()


def raw_memory(config: MPlusConfig, blocks: Sequence[ReadRows], lengths: Sequence[int], cap: int = 0) -> RawMemory:
    """The memory of a view: the newest N rows stand in front of every prompt, the others are recalled by block.

    blocks: rows of whole chunks, mean keys included, in reading order. `cap`: only the newest so many chunks may be
    recalled; 0 for all.
    """
    table = RowTable(blocks)
    assert len(table) == sum(lengths), "every token has a row"
    newest = torch.arange(max(0, len(table) - config.pool_rows), len(table))
    oldest = sum(lengths[:-cap]) if cap else 0
    return RawMemory(table, Membership([newest] * config.layers, oldest=oldest), lengths=tuple(lengths))


def first_chunks(rows: ReadRows, lengths: Sequence[int]) -> ReadRows:
    """The rows and mean keys of chunks of so many tokens at the beginning of `rows`, without copying."""
    count, blocks = sum(lengths), sum(-(-length // BLOCK) for length in lengths)
    return ReadRows(rows.keys[:, :count], rows.values[:, :count], rows.retrieval[:, :blocks])


class RawReader(Reader):
    """Recalls the blocks of R rows together whose mean keys answer the prompt's queries; both before RoPE."""

    def __init__(self, model: MPlus, memory: RawMemory, placement: Placement = EVERYTHING) -> None:
        super().__init__(model, memory, placement)
        sizes = torch.tensor([-(-length // BLOCK) for length in memory.lengths], dtype=torch.long)
        self.chunk_of = torch.arange(len(sizes)).repeat_interleave(sizes)  # (B,)
        spans = [min(BLOCK, length - at) for length in memory.lengths for at in range(0, length, BLOCK)]
        self.edges = torch.tensor([0, *spans], dtype=torch.long).cumsum(0)  # (B + 1,)
        self.means = [self._means(layer) for layer in range(model.config.layers)]

    def _means(self, layer: int) -> Tensor:
        parts = self.memory.table.retrieval(layer) or [torch.zeros(0, self.model.config.key_value_dim)]
        return torch.cat(parts).to(self.model.device, self.model.dtype)  # (B, H_kv * hd)

    def _recall(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> Tensor:
        """Row numbers that the hidden states (1, n, d) entering a layer recall, oldest first."""
        products = (self._queries(layer, hidden) @ self.means[layer].T).float().cpu()  # (n, B)
        pool, whole = self.memory.membership.pool[layer], products.mean(0)
        rows = self._best_blocks(whole, len(self.memory.table) - len(pool))
        values = standing(whole)
        trace.chunks.append(chunk_strengths(self._best_of_chunks(standing(products))[trace.asked]))
        trace.recalled.append(rows)
        trace.recalled_scores.append(values[self._block_of(rows)])
        trace.pool.append(pool)
        trace.pool_scores.append(values[self._block_of(pool)])
        return rows

    def _queries(self, layer: int, hidden: Tensor) -> Tensor:
        """Queries before RoPE, the mean over the heads that share a key-value head: (1, n, d) -> (n, H_kv * hd)."""
        config = self.model.config
        queries = self.model.attention_query(layer, hidden)[0]
        return queries.unflatten(1, (config.llama.num_key_value_heads, -1, config.head_dim)).mean(2).flatten(1)

    def _best_blocks(self, scores: Tensor, end: int) -> Tensor:
        """Rows before `end` of the best blocks that may be recalled. Without a bos row the first block always comes."""
        scores = scores.masked_fill(
            (self.edges[:-1] >= end) | (self.edges[:-1] < self.memory.membership.oldest), -torch.inf
        )
        if len(scores) and end > 0 and not self.model.config.bos_row:
            scores[0] = torch.inf
        return best_rows(scores, self.edges, end, self.recall_rows)

    def _block_of(self, rows: Tensor) -> Tensor:
        return torch.bucketize(rows, self.edges[1:], right=True)

    def _best_of_chunks(self, values: Tensor) -> Tensor:
        """The best block of every chunk for each prompt token: (n, B) -> (n, T)."""
        best = values.new_zeros(len(values), len(self.memory.lengths))
        return best.scatter_reduce_(1, self.chunk_of.expand(len(values), -1), values, "amax")


def standing(products: Tensor) -> Tensor:
    """How far each q . k lies above or below the others, (..., B), as 0 to 1: the logistic of its standard score.

    Keys before RoPE share a large part, and queries differ in length, so the products themselves compare badly.
    """
    if not products.shape[-1]:
        return products
    spread = products.std(-1, correction=0, keepdim=True).clamp_min(1e-6)
    return ((products - products.mean(-1, keepdim=True)) / spread).sigmoid()
