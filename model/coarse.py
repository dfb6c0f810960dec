"""Recall among many rows, coarse to fine: a cheap stand-in for the score picks the rows that are worth scoring.

The mean of sigmoids is no inner product, and rows of one chunk are too unlike for summaries of chunks (min and max as
in Quest, arXiv 2406.10774, or means) to find them. But over the keys that there are, near its top above all, the score
of a prompt is nearly a linear function of the key and of the sigmoids of a few tokens, those that bend most. It is
fitted for every prompt to an even sample of the rows: no index, nothing to keep, the same for any view. A few products
a row instead of one for every prompt token leave a share of the rows, which are scored while their tile is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.key_formats import Keys, Workspace, joined, part_of, picked, widened
from model.scanning import each, tiles
from model.scoring import Best, Scorer, best_first, in_order_of_birth, scores, search

FROM_ROWS = 16_000_000  # rows of a layer from which missing some of the best is worth the time: docs/decisions.md
TILE_ROWS = 8192  # compared, and scored, at a time
SAMPLE_ROWS = 8192  # the stand-in is fitted to so many
BENDING_TOKENS = 2  # prompt tokens whose sigmoids it holds
SCORED = 0.03  # share of the rows that are scored
LEAST_SCORED = 16  # rows scored for every row that is wanted, at least
WEIGHT_OF_ALL = 0.01  # of a row at or below the median, where the best row of the sample weighs 1
WIDENED_PARTS = 32  # of a sample, at a time
FITTED_ROWS = 1024  # of a sample, at a time
RIDGE = 1e-4  # of the normal equations, relative to their mean diagonal


class StandIn(NamedTuple):
    """What orders rows nearly as their scores do: a linear function of the key and the sigmoids of a few queries.

    directions (1 + g, h), the slopes and then the queries; weights (1 + g,), the first of them 1.
    """

    directions: Tensor
    weights: Tensor

    def __call__(self, keys: Tensor, workspace: Workspace | None = None) -> Tensor:
        """Keys (m, h) float32 -> (m,)."""
        out = workspace(len(self.directions), len(keys)) if workspace else None
        products = torch.mm(self.directions, keys.T, out=out)
        products[1:].sigmoid_()
        return self.weights @ products


def best_rows(
    queries: Tensor, blocks: Sequence[Keys], count: int, left_out: Tensor | None = None, oldest: int = 0
) -> Best:
    """The best rows of a layer that ranks no chunks: exactly, and among many rows on the CPU nearly.

    Arguments as of `coarse_search`.
    """
    many = queries.device.type == "cpu" and sum(map(len, blocks)) >= FROM_ROWS
    return (coarse_search if many else search)(queries, blocks, count, left_out, oldest)


def coarse_search(
    queries: Tensor,
    blocks: Sequence[Keys],
    count: int,
    left_out: Tensor | None = None,
    oldest: int = 0,
    scored: float = SCORED,
) -> Best:
    """Nearly the rows of `model.scoring.search`, with their exact scores; chunks are not ranked.

    queries (n, h), blocks of keys (M_i, h); scored: the share of the rows that are scored, 1 for all. Where fewer than
    `count` rows were found, all are scored.
    """
    blocks = [block for block in blocks if len(block)]
    total = sum(map(len, blocks))
    share = max(scored, LEAST_SCORED * count / max(1, total))
    if share >= 1:
        return search(queries, blocks, count, left_out, oldest)
    keys = sample(queries, blocks, SAMPLE_ROWS)
    estimate = stand_in(queries.float(), keys)
    rows, values = _scored_rows(queries, blocks, estimate, float(estimate(keys).quantile(1 - share)))
    values[rows < oldest] = -torch.inf
    if left_out is not None:
        values[torch.isin(rows, left_out.cpu())] = -torch.inf
    best, order = best_first(values, count)
    if len(best) < count or not best.isfinite().all():
        return search(queries, blocks, count, left_out, oldest)
    pool = values[:0] if left_out is None else scores(queries, joined(gathered(blocks, left_out))).rows.cpu()
    return Best(*in_order_of_birth(rows[order], best), pool, [])


def _scored_rows(queries: Tensor, blocks: Sequence[Keys], estimate: StandIn, floor: float) -> tuple[Tensor, Tensor]:
    """The rows whose stand-in reaches the floor, ascending (m,), and their scores (m,); on the host."""
    rows, values, waiting, first = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0)], [], 0
    score = Scorer(queries)
    for run, (kept, keys) in each(blocks, lambda: Sieve(estimate, floor), queries.device):
        rows.append(kept.cpu() + first)
        waiting.append(keys)
        first += sum(len(blocks[number]) for number in run)
        if sum(map(len, waiting)) >= TILE_ROWS:
            values.append(score(torch.cat(waiting)).cpu())
            waiting = []
    if waiting:
        values.append(score(torch.cat(waiting)).cpu())
    return torch.cat(rows), torch.cat(values)


class Sieve:
    """Picks the keys whose stand-in reaches a floor."""

    def __init__(self, estimate: StandIn, floor: float) -> None:
        self.estimate, self.floor = estimate, floor
        self.device = estimate.weights.device
        self.wide, self.products = Workspace(self.device), Workspace(self.device)

    def __call__(self, run: range, keys: Keys) -> tuple[Tensor, Tensor]:
        """Keys (m, h) of a run of blocks -> which of them, ascending (k,), and these (k, h), float32."""
        if len(keys) <= TILE_ROWS:
            return self._tile(keys)
        found = [(start, self._tile(part_of(keys, start, stop))) for start, stop in tiles(keys, TILE_ROWS)]
        return torch.cat([rows + start for start, (rows, _) in found]), torch.cat([kept for _, (_, kept) in found])

    def _tile(self, keys: Keys) -> tuple[Tensor, Tensor]:
        wide = widened(keys, self.device, self.wide).float()
        rows = (self.estimate(wide, self.products) >= self.floor).nonzero()[:, 0]
        return rows, wide[rows]


def sample(queries: Tensor, blocks: Sequence[Keys], most: int) -> Tensor:
    """At most so many keys, evenly spaced among all: (m, h) float32, where the queries are."""
    total = sum(map(len, blocks))
    rows = torch.linspace(0, total - 1, min(total, most), dtype=torch.float64).long()
    found, first = queries.new_empty(len(rows), queries.shape[1], dtype=torch.float32), 0
    parts = gathered(blocks, rows)
    for start in range(0, len(parts), WIDENED_PARTS):
        for some in joined(parts[start : start + WIDENED_PARTS]):
            found[first : first + len(some)] = widened(some, queries.device)
            first += len(some)
    return found


def stand_in(queries: Tensor, keys: Tensor, tokens: int = BENDING_TOKENS) -> StandIn:
    """Fit the score of queries (n, h) over keys (m, h): weighted least squares, in which high scores count most.

    The tokens are those whose own sigmoids are worst fitted by a linear function.
    """
    width, tokens = keys.shape[1] + 1, min(tokens, len(queries))
    each = (keys @ queries.T).sigmoid_()  # (m, n)
    values = each.mean(1)
    height = (values - values.median()).clamp_min_(0)
    weights = height / height.max().clamp_min(1e-12) + WEIGHT_OF_ALL
    inputs = keys.new_ones(len(keys), width + tokens)  # the key, 1, and the sigmoids of the tokens that bend most
    inputs[:, : width - 1] = keys
    linear = inputs[:, :width]
    misses = torch.addmm(each, linear, _least_squares(linear, each, weights), alpha=-1).square_()
    bent = (weights @ misses).topk(tokens).indices
    torch.index_select(each, 1, bent, out=inputs[:, width:])
    fit = _least_squares(inputs, values[:, None], weights)[:, 0]
    slopes, heights = fit[: width - 1], fit[width:]
    return StandIn(torch.cat([slopes[None], queries[bent]]), torch.cat([heights.new_ones(1), heights]))


def _least_squares(inputs: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Coefficients (p, q) from inputs (m, p) to what is wanted (m, q), every row with its weight."""
    normal, right = (inputs.new_zeros(inputs.shape[1], part.shape[1]) for part in (inputs, wanted))
    for some, these, weight in zip(*(part.split(FITTED_ROWS) for part in (inputs, wanted, weights)), strict=True):
        weighted = (some * weight[:, None]).T
        normal.addmm_(weighted, some)
        right.addmm_(weighted, these)
    normal.diagonal().add_(RIDGE * normal.diagonal().mean())
    return torch.linalg.solve(normal, right)


def gathered(blocks: Sequence[Keys], rows: Tensor) -> list[Keys]:
    """The keys of row numbers (m,), copied, in their order; one part for every run of rows of the same block."""
    sizes = torch.tensor([len(block) for block in blocks], dtype=torch.long)
    ends, rows = sizes.cumsum(0), rows.cpu()
    owners, lengths = torch.bucketize(rows, ends, right=True).unique_consecutive(return_counts=True)
    local = rows - (ends - sizes)[owners].repeat_interleave(lengths)
    parts = local.split(lengths.tolist())
    return [picked(blocks[number], part) for number, part in zip(owners.tolist(), parts, strict=True)]
