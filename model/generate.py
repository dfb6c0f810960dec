"""Reading: a prompt behind a memory, then tokens one by one, or the likelihood of given continuations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from model.adapters import READ, using
from model.cache import roomy_cache
from model.key_formats import Keys
from model.layer_cache import LayerCache
from model.membership import Membership
from model.memory import RowTable, as_prefix
from model.mplus import KeysValues, MPlus
from model.neighbours import Places, with_neighbours
from model.placement import EVERYTHING, Placement
from model.retriever import chunk_strengths, oldest_first, top_rows
from model.scoring import Best, scores, search
from model.staging import Mover, Staged


@dataclass(frozen=True, slots=True)
class Memory:
    """What a question may see: all rows of a view, and which of them are pool and long-term."""

    table: RowTable
    membership: Membership
    background: int = 0  # rows in front that came with the checkpoint; a block of their own


@dataclass(slots=True)
class RetrievalTrace:
    """What a prompt recalled, per layer: row numbers oldest first with their scores, the scores of the pool, and how
    strongly the prompt points at each chunk of the view.

    `asked`: (n,) bool, the tokens of the prompt that point at chunks; all, where it says nothing else.
    """

    asked: Tensor | slice = field(default_factory=lambda: slice(None))
    recalled: list[Tensor] = field(default_factory=list)  # (R,) row numbers
    recalled_scores: list[Tensor] = field(default_factory=list)  # (R,)
    pool: list[Tensor] = field(default_factory=list)  # (n_pool,) row numbers
    pool_scores: list[Tensor] = field(default_factory=list)  # (n_pool,)
    chunks: list[Tensor] = field(default_factory=list)  # (T,) 0 to 1


class Prefilled(NamedTuple):
    """A prompt that was read: hidden states before the final norm (1, n, d), the cache, and what was recalled."""

    hidden: Tensor
    cache: LayerCache
    trace: RetrievalTrace


class Reader:
    """Answers behind one memory; pool rows are gathered once, long-term rows as a prompt recalls them.

    `placement` says what of it stays on the device; `mover` copies what does not.
    """

    def __init__(
        self, model: MPlus, memory: Memory, placement: Placement = EVERYTHING, mover: Mover | None = None
    ) -> None:
        self.model, self.memory, self.placement = model, memory, placement
        self.mover = Mover(model.device) if mover is None else mover
        self.recall_rows = model.config.recall_rows  # R
        pool = (self._on_host(layer, rows) for layer, rows in enumerate(memory.membership.pool))
        self.pool = Staged(pool, self.mover, placement.pool)
        self._resident: dict[int, list[Keys]] = {}

    def _stored(self, layer: int, rows: Tensor) -> KeysValues:
        return KeysValues(*self.mover.move(self._on_host(layer, rows)).arrive())

    def _on_host(self, layer: int, rows: Tensor) -> KeysValues:
        host = torch.device("cpu")
        if not len(rows):
            empty = torch.zeros(0, self.model.config.key_value_dim)
            return as_prefix(self.model, empty, empty, host)
        return as_prefix(self.model, *self.memory.table.gather(layer, rows), host)

    def _recall(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> Tensor:
        """Row numbers that the hidden states (1, n, d) entering a layer recall, in prefix order (spec, 5.2)."""
        membership = self.memory.membership
        pool = membership.pool[layer]
        if membership.cyclic and membership.cyclic[layer]:
            rows = _cyclic(membership, layer, self.recall_rows)
            recalled, of_pool = torch.zeros(len(rows)), torch.zeros(len(pool))
        else:
            (rows, recalled, of_pool, _), best = self._find(layer, hidden)
            trace.chunks.append(chunk_strengths(best[trace.asked]))
        trace.recalled.append(rows)
        trace.recalled_scores.append(recalled)
        trace.pool.append(pool)
        trace.pool_scores.append(of_pool)
        return rows

    def _keys(self, layer: int) -> list[Keys]:
        """Retrieval keys of a layer: kept on a GPU from the first question on, where they have a place there."""
        stored = self.memory.table.retrieval(layer)
        if self.model.device.type == "cpu" or not self.placement.keys:
            return stored
        if layer not in self._resident:
            self._resident[layer] = [keys.to(self.model.device) for keys in stored]
        return self._resident[layer]

    def _find(self, layer: int, hidden: Tensor) -> tuple[Best, Tensor]:
        """The rows that are recalled, with the pool as what is left out, and what a token finds in a chunk (n, T)."""
        membership, config = self.memory.membership, self.model.config
        if membership.candidates is not None or not config.retriever_dim:
            return self._find_among_all(layer, hidden)
        queries, keys = self.model.query(layer, hidden)[0], self._keys(layer)
        wanted = self.recall_rows, membership.pool[layer], membership.oldest
        ranked = config.memory_rows if layer in config.ranking_layers else 0
        found = search(queries, keys, *wanted, chunk_rows=ranked)
        places = Places(self.memory.background, config.memory_rows, len(self.memory.table))
        reach, best = config.reach(layer), self._chunks(queries, found.chunks)
        return with_neighbours(found, reach, places, membership.pool[layer], membership.oldest), best

    def _find_among_all(self, layer: int, hidden: Tensor) -> tuple[Best, Tensor]:
        """The same from the score of every row, for memories with an order of their own, and other ways to score."""
        values, best = self._scores(layer, hidden)
        rows = self._best(layer, values, self.recall_rows)
        return Best(rows, values[rows], values[self.memory.membership.pool[layer]], []), best

    def _scores(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of all rows (M,), and per prompt token those of the chunks' best rows (n, T)."""
        if not self.model.config.retriever_dim:
            return torch.zeros(len(self.memory.table)), torch.zeros(hidden.shape[1], 0)
        queries, keys = self.model.query(layer, hidden)[0], self._keys(layer)
        found = scores(queries, keys, self.model.config.memory_rows)
        return found.rows.cpu(), self._chunks(queries, found.chunks)

    def _chunks(self, queries: Tensor, blocks: list[Tensor]) -> Tensor:
        """The best rows of the chunks of all blocks (n, T), without what came with the checkpoint."""
        written = blocks[1:] if self.memory.background else blocks
        return torch.cat([queries.new_zeros(len(queries), 0).float(), *written], 1).cpu()

    def _best(self, layer: int, values: Tensor, count: int) -> Tensor:
        membership = self.memory.membership
        if membership.candidates is not None:
            candidates = membership.candidates[layer]
            chosen = top_rows(values[candidates], count)
            return candidates[oldest_first(chosen, membership.ages[layer] if membership.ages else None)]
        long_term = values.clone()
        long_term[membership.pool[layer]] = long_term[: membership.oldest] = -torch.inf
        return top_rows(long_term, min(count, int(long_term.isfinite().sum())))

    def _recalled(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> KeysValues:
        """What hidden states (1, n, d) entering a layer recall, to stand in front of its pool: (1, H_kv, R, hd)."""
        return self._stored(layer, self._recall(layer, hidden, trace))

    @torch.no_grad()
    def prefill(
        self, ids: Tensor, room: int = 64, recalled: RetrievalTrace | None = None, asked: Tensor | None = None
    ) -> Prefilled:
        """Read a prompt (1, n) behind the memory; what is decoded next is appended to its cache.

        `recalled`: nothing is searched for; the memory is what another prompt recalled. `asked`: (n,) bool, the tokens
        that point at chunks, where those around them (the prompt's "Question:") say nothing of what is looked for.
        """
        trace = recalled or (RetrievalTrace() if asked is None or not asked.any() else RetrievalTrace(asked.cpu()))
        cache = roomy_cache(self.model, ids.shape[1] + room, None if self.placement.prefix else self.mover)

        def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
            found = self._stored(layer, recalled.recalled[layer]) if recalled else self._recalled(layer, hidden, trace)
            return KeysValues(*(torch.cat(pair, 2) for pair in zip(found, self.pool[layer], strict=True)))

        with using(self.model, READ):
            hidden = self.model.read(ids, prefix_of, cache)
        return Prefilled(hidden, cache, trace)

    def generate(self, ids: Tensor, sampling: Sampling) -> Iterator[Step]:
        """Answer tokens one by one, until a stop id (not yielded) or the limit."""
        hidden, cache, _ = self.prefill(ids, sampling.max_tokens)
        yield from continue_from(self.model, hidden[:, -1:], cache, sampling)

    @torch.no_grad()
    def likelihoods(self, ids: Tensor, continuations: list[Tensor]) -> list[Tensor]:
        """Log-likelihood of each token of continuations (m,) after a prompt (1, n): one read, then one pass each."""
        hidden, cache, _ = self.prefill(ids, max(map(len, continuations), default=0))
        return likelihoods_behind(self.model, hidden, cache, continuations)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn: greedy at temperature 0."""

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()


class Step(NamedTuple):
    """One generated token and its log-likelihood (nats)."""

    token: int
    log_likelihood: float


def _cyclic(membership: Membership, layer: int, count: int) -> Tensor:
    assert membership.candidates is not None
    merged = membership.candidates[layer]
    if not len(merged):
        return merged  # the released code would loop for ever here; nothing to recall is nothing recalled
    repeats = -(-count // len(merged))
    tiled = torch.arange(len(merged)).repeat(repeats)[-count:]
    ages = membership.ages[layer] if membership.ages else None
    return merged[oldest_first(tiled, ages)]


@torch.no_grad()
def likelihoods_behind(model: MPlus, hidden: Tensor, cache: LayerCache, continuations: list[Tensor]) -> list[Tensor]:
    """Log-likelihood of each token of continuations (m,) behind a prompt that was read: hidden (1, n, d), its cache.

    One pass each; the cache is left as it was.
    """
    length, first = cache.layers[0].length, model.logits(hidden[:, -1:])[:, -1]
    found = []
    for tokens in continuations:
        rest = decode(model, tokens[None, :-1], cache) if len(tokens) > 1 else hidden[:, :0]
        logits = torch.cat([first[:, None], model.logits(rest)], 1)[0].float().log_softmax(-1)
        found.append(logits.gather(1, tokens[:, None])[:, 0])
        for layer in cache.layers:
            layer.crop_to(length)
    return found


@torch.no_grad()
def decode(model: MPlus, ids: Tensor, cache: LayerCache) -> Tensor:
    """Plain Llama steps behind a filled cache: (1, n) -> (1, n, d) before the final norm; nothing is recalled."""
    with using(model, READ):
        return _decode(model, ids, cache)


def _decode(model: MPlus, ids: Tensor, cache: LayerCache) -> Tensor:
    length, count = cache.layers[0].length, ids.shape[1]
    hidden, position = model.embed(ids), length + cache.layers[0].dropped
    rotary = model.place(position, count, hidden)
    mask = model.mask(count, length)
    for index in range(model.config.layers):
        hidden = model.step(index, hidden, mask, cache, rotary)
    return hidden


def continue_from(model: MPlus, last: Tensor, cache: LayerCache, sampling: Sampling) -> Iterator[Step]:
    """Tokens after a prefill; `last` is the hidden state of the prompt's last token (1, 1, d)."""
    generator = torch.Generator(device="cpu").manual_seed(sampling.seed)
    for step in range(sampling.max_tokens):
        logits = model.logits(last)[0, -1].float()
        token = sample(logits, sampling.temperature, generator)
        if token in sampling.stop_ids:
            return
        yield Step(token, float(logits[token] - logits.logsumexp(-1)))
        if step + 1 < sampling.max_tokens:
            last = decode(model, torch.tensor([[token]], device=last.device), cache)


def sample(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One token id from logits (V,)."""
    if temperature <= 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits.float().cpu() / temperature).softmax(-1), 1, generator=generator))
