"""The memory of a training batch: chunks written in turn, distractors, seeded drops to the pool, recalled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from model.mplus import KeysValues, MPlus
from model.training.data import Batch, Search, Span, row_indices
from model.training.losses import best_rows, each_row_loss, picked_scores, row_scores, spread
from model.training.pointing import Pointers

NEIGHBOURS = 24  # rows after a sentence still speak of it: neither found nor avoided
HARD = 1024  # rows of the bank that a query is compared with: those it likes best
Prefix = Callable[[int, Tensor], KeysValues]


@dataclass(slots=True)
class Written:
    """Rows of a batch. rows: (L, B, T * K, d), oldest first; hidden: the chunks' last hidden states."""

    rows: Tensor
    hidden: list[Tensor]
    borrowed: Tensor  # (T * K,) rows that a short chunk re-processed: they hold an older chunk's tokens


def write_chunks(model: MPlus, chunks: Sequence[Tensor], gradient_chunks: int | None = None) -> Written:
    """Write chunks (T x (B, n_t)) one behind the other; gradient flows through the last `gradient_chunks` contexts."""
    newest = model.start_rows(chunks[0].shape[0])
    rows, hidden, borrowed = [], [], []
    count = model.config.memory_rows
    for number, ids in enumerate(chunks):
        if gradient_chunks is not None and number < len(chunks) - gradient_chunks:
            newest = newest.detach()
        newest, last = model.write(ids, newest)
        rows.append(newest)
        hidden.append(last)
        borrowed.append(torch.arange(count) < count - ids.shape[1])
    return Written(torch.cat(rows, 2), hidden, torch.cat(borrowed))


@dataclass(slots=True)
class Targets:
    """Which rows a query should find, over all rows of the batch: (Q, B * T * K)."""

    positive: Tensor  # weights: 0 for rows that it need not find
    negative: Tensor  # bool


def targets_of(batch: Batch, written: Written, rows: int, asked: Sequence[tuple[int, Sequence[Span], bool]]) -> Targets:
    """Masks for queries given as (episode, support, whether the rest of the episode counts as wrong)."""
    each = written.rows.shape[2]
    total = each * len(batch.episodes)
    positive = torch.zeros(len(asked), total)
    negative = (~written.borrowed).repeat(len(batch.episodes)).expand(len(asked), -1).clone()
    for number, (episode, support, strict) in enumerate(asked):
        base = episode * each
        found = [base + row for span in support for row in row_indices(span, batch.lengths, rows)]
        positive[number] += torch.bincount(torch.tensor(found, dtype=torch.long), minlength=total)
        if not strict:
            negative[number, base : base + each] = False
        elif found:
            negative[number, min(found) : min(max(found) + NEIGHBOURS, base + each)] = False
    return Targets(positive, negative)


@dataclass(frozen=True, slots=True)
class Scored:
    """What queries think of the rows of a batch and of their best of the bank. Columns are the batch's rows first."""

    scores: Tensor  # (Q, B * T * K + m)
    bank: Tensor  # (Q, m) numbers of the bank's rows, ascending
    recalled: tuple[Tensor, Tensor]  # (Q, R) numbers of the bank's rows that may be recalled, ascending; their scores


@dataclass
class Searcher:
    """Keys of all rows of a batch and a bank, scored against queries; gathers the retriever's loss layer by layer."""

    model: MPlus
    written: Written
    through: bool  # whether the loss may reach the model below the projections
    others: Tensor | None = None  # (L, M, d) rows of earlier steps: all of them wrong
    losses: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    _keys: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """(B * T * K, h) of the batch and (M, h) of the bank; no gradient through those of the bank"""
        if layer not in self._keys:
            own = self.model.retrievers[layer].key(self._normed(layer, self.written.rows[layer].flatten(0, 1)))
            with torch.no_grad():
                others = own[:0] if self.others is None else self.model.key(layer, self.others[layer])
            self._keys[layer] = own, others
        return self._keys[layer]

    def score(self, layer: int, hidden: Tensor, mask: Tensor) -> Scored:
        """Score the hidden states (Q, n, d) that enter the layer."""
        queries = self.model.retrievers[layer].query(self._normed(layer, hidden))
        own, others = self.keys(layer)
        none = torch.zeros(len(queries), 0)
        bank, liked = best_rows(queries, others, mask, HARD) if len(others) else (none.long(), none)
        scores = row_scores(queries, own, mask)
        hard = picked_scores(queries, others[bank], mask)
        return Scored(torch.cat([scores, hard], 1), bank, self._recalled(layer, liked))

    def _recalled(self, layer: int, liked: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of the bank that may be recalled, by their scores (Q, M): numbers (Q, R), ascending; scores."""
        lifted = spread(liked, self.model.config.reach(layer))
        found = lifted.topk(min(self.model.config.recall_rows, lifted.shape[1]), 1).indices.sort(1).values
        return found, lifted.gather(1, found)

    def _normed(self, layer: int, hidden: Tensor) -> Tensor:
        """What the projections read. The norm has a weight too: it is cut off behind it, not before."""
        normed = self.model.normed(layer, hidden)
        return normed if self.through else normed.detach()

    def learn(self, layer: int, hidden: Tensor, mask: Tensor, targets: Targets) -> Scored:
        """Score, and keep the loss of this layer."""
        scored = self.score(layer, hidden, mask)
        scores = scored.scores
        more = (0, scores.shape[1] - targets.positive.shape[1])
        whole = Targets(F.pad(targets.positive, more), F.pad(targets.negative, more, value=True))
        self.losses.append(each_row_loss(scores, whole.positive, whole.negative))
        self.hits.append(found_among_top(scores.detach(), whole, self.model.config.recall_rows))
        return scored

    def loss(self) -> Tensor:
        """Mean over layers and calls."""
        return torch.stack(self.losses).mean()


def found_among_top(scores: Tensor, targets: Targets, count: int) -> Tensor:
    """Share of the positive rows that are among the best `count` of positives and negatives together."""
    positive = targets.positive > 0
    candidates = scores.masked_fill(~(positive | targets.negative), -1)
    top = candidates.topk(min(count, scores.shape[1]), 1).indices
    found = positive.gather(1, top).sum(1) / positive.sum(1).clamp_min(1)
    return found[positive.any(1)].mean()


def own_memory(model: MPlus, written: Written, owner: Tensor, pointers: Pointers) -> Prefix:
    """A memory of the episode's own rows only; owner (P,): the episode of each prompt."""
    each = written.rows.shape[2]
    index = owner[:, None] * each + torch.arange(each)

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        found = KeysValues(*(one[owner] for one in model.project_layer(layer, written.rows[layer])))
        pointers.watch(model, layer, hidden, found.keys, index)
        return found

    return prefix_of


def no_memory(model: MPlus, batch: int) -> Prefix:
    """An empty memory (the bos rows are added by the model)."""
    empty = torch.zeros(batch, 0, model.config.llama.hidden_size)
    return lambda layer, hidden: model.project_layer(layer, empty)


@dataclass(slots=True)
class Life:
    """Where the rows of each episode's memory are after a simulated reading. Indices into (B * T * K) rows."""

    pool: Tensor  # (L, B, <= N)
    dropped: Tensor  # (L, B, M)


def live(written: Written, sizes: tuple[int, int], chunk_count: int, generator: torch.Generator, mixed: bool) -> Life:
    """Let each episode's chunks be read among the chunks of others, with random drops to a pool of N rows.

    sizes: (K, N). chunk_count: chunks in all, at least the episode's own. Survival falls by 1 - K/N with each write.
    """
    rows, pool = sizes
    layers, batch, each, _ = written.rows.shape
    own, others = each // rows, chunk_count - each // rows
    shift = 1 + torch.randperm(batch - 1, generator=generator)[: -(-others // own)]
    start = torch.arange(batch)[:, None]
    distractors = ((start + shift) % batch)[:, :, None] * own + torch.arange(own)
    chunks = torch.cat([distractors.flatten(1)[:, :others], start * own + torch.arange(own)], 1)  # (B, C)
    if mixed:
        chunks = chunks[:, torch.randperm(chunks.shape[1], generator=generator)]
    index = (chunks[:, :, None] * rows + torch.arange(rows)).flatten(1)  # (B, C * K)
    total = index.shape[1]
    if total <= pool:
        return Life(index.expand(layers, -1, -1), index.new_zeros(layers, batch, 0))
    age = torch.arange(chunks.shape[1] - 1, -1, -1).repeat_interleave(rows).float()
    draw = torch.rand(layers, batch, total, generator=generator).log() / (1 - rows / pool) ** age
    draw[..., -rows:] = 1.0  # the newest chunk is always whole
    order = draw.argsort(-1, descending=True)
    kept, dropped = order[..., :pool].sort(-1).values, order[..., pool:].sort(-1).values
    spread = index.expand(layers, -1, -1)
    return Life(spread.gather(2, kept), spread.gather(2, dropped))


def full_memory(
    model: MPlus,
    searcher: Searcher,
    life: Life,
    owner: Tensor,
    mask: Tensor,
    targets: Targets,
    old: bool,
    pointers: Pointers,
) -> Prefix:
    """A memory after many chunks: recalled rows (oldest first), then the pool. The retriever learns on the way.

    Every prompt, of the episode owner (P,), recalls from the dropped rows of its life and from the bank, which is
    older than them or younger (`old`). Rows are projected once, and gathered in read form.
    """
    rows, recall = searcher.written.rows, model.config.recall_rows
    total = rows.shape[1] * rows.shape[2]

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        scored = searcher.learn(layer, hidden, mask, targets)
        dropped = life.dropped[layer][owner]
        own = dropped, lifted(layer, scored.scores.detach()[:, :total], dropped)
        bank = total + scored.recalled[0], scored.recalled[1]
        candidates, liked = (
            torch.cat(both, 1) for both in (zip(bank, own, strict=True) if old else zip(own, bank, strict=True))
        )
        found = liked.topk(min(recall, candidates.shape[1]), 1).indices.sort(1).values
        index = torch.cat([candidates.gather(1, found), life.pool[layer][owner]], 1)
        picked = gathered(table_of(layer), index)
        pointers.watch(model, layer, hidden, picked.keys, index)
        return picked

    def lifted(layer: int, scores: Tensor, long_term: Tensor) -> Tensor:
        """Scores (P, m) of long-term rows (P, m), as those beside them in their chunks lift them."""
        open_ = torch.full_like(scores, -1.0).scatter_(1, long_term, scores.gather(1, long_term))
        chunks = open_.unflatten(1, (-1, model.config.memory_rows))
        return spread(chunks, model.config.reach(layer)).flatten(1).gather(1, long_term)

    def table_of(layer: int) -> KeysValues:
        table = model.project_layer(layer, rows[layer].flatten(0, 1)[None])
        if searcher.others is None:
            return table
        with torch.no_grad():
            others = model.project_layer(layer, searcher.others[layer][None])
        return KeysValues(*(torch.cat(both, 2) for both in zip(table, others, strict=True)))

    return prefix_of


def gathered(table: KeysValues, index: Tensor) -> KeysValues:
    """Rows of a table (1, H, M, hd) by number: index (P, n) -> (P, H, n, hd)."""
    heads, size = table.keys.shape[1], table.keys.shape[3]
    picked = (F.embedding(index, one[0].transpose(0, 1).flatten(1)) for one in table)  # its backward adds row by row
    return KeysValues(*(one.unflatten(2, (heads, size)).transpose(1, 2) for one in picked))


def search_losses(
    model: MPlus, searcher: Searcher, ids: Tensor, mask: Tensor, targets: Targets, pool: Tensor | None
) -> None:
    """Read questions (Q, n) behind an empty memory, or behind `pool` (L, P, d), for the retriever's loss alone."""
    rows = pool if pool is not None else model.bos_embedding[:, :0]

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        searcher.learn(layer, hidden, mask, targets)
        return model.project_layer(layer, rows[layer][None].expand(len(ids), -1, -1))

    last = model.config.layers - 1
    hidden = model.embed(ids)
    outputs = model.layers_behind(hidden, prefix_of)
    for _ in range(last):  # the last layer itself need not run: only what enters it is asked
        hidden = next(outputs)
    searcher.learn(last, hidden, mask, targets)


def padded(searches: list[Search]) -> tuple[Tensor, Tensor]:
    """Queries (Q, n) padded on the right, and their mask."""
    width = max(len(s.query) for s in searches)
    ids, mask = torch.zeros(len(searches), width, dtype=torch.long), torch.zeros(len(searches), width)
    for row, search in enumerate(searches):
        ids[row, : len(search.query)] = torch.tensor(search.query)
        mask[row, : len(search.query)] = 1
    return ids, mask
