"""What training minimises: weighted cross-entropy, and the retriever's loss of each row against all others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 20.0  # scores are means of sigmoids, in 0..1: times 20 they can part one row from thousands

TILE = 4096  # rows that are scored at a time: what they make stays in the cache


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean of the cross-entropy of (M, V) logits against (M,) targets, weighted by (M,); 0 where all weights are 0."""
    each = F.cross_entropy(logits.float(), targets, reduction="none")
    return (each * weights).sum() / weights.sum().clamp_min(1e-6)


def row_scores(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """Mean over query tokens of sigmoid(q . k): (Q, n, h), (M, h), mask (Q, n) -> (Q, M), as a reader does."""
    flat = queries.flatten(0, 1) @ keys.T  # one product: a batched one has a slow gradient for the keys
    products = flat.unflatten(0, queries.shape[:2]).sigmoid()  # (Q, n, M)
    return torch.bmm((mask / mask.sum(1, keepdim=True).clamp_min(1)).to(products.dtype)[:, None], products)[
        :, 0
    ].float()


def picked_scores(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """`row_scores` with keys of each query's own: (Q, n, h), (Q, m, h), mask (Q, n) -> (Q, m)."""
    products = torch.bmm(queries, keys.transpose(1, 2)).sigmoid()
    return torch.bmm((mask / mask.sum(1, keepdim=True).clamp_min(1)).to(products.dtype)[:, None], products)[
        :, 0
    ].float()


@torch.no_grad()
def best_rows(queries: Tensor, keys: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(Q, count) numbers of the keys with the best scores for each query, ascending, and the scores of all (Q, M).

    In tiles, without gradient.
    """
    scores = torch.cat([row_scores(queries, tile, mask) for tile in keys.split(TILE)], 1)
    return scores.topk(min(count, scores.shape[1]), 1).indices.sort(1).values, scores


def spread(scores: Tensor, reach: int) -> Tensor:
    """Scores (Q, ..., M) of rows as their neighbours lift them: the best of those at most `reach` places away."""
    if not reach or not scores.numel():
        return scores
    flat = scores.reshape(-1, 1, scores.shape[-1])
    return F.max_pool1d(flat, 2 * reach + 1, 1, reach).reshape(scores.shape)


def each_row_loss(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """InfoNCE of every positive row against all negatives: (Q, M) scores and two masks -> scalar.

    Plain InfoNCE is content with one row of a sentence, often not the one that holds the answer; here each row has to
    beat the negatives. `positive` may hold weights; rows in neither mask do not matter.
    """
    sharp = scores * SHARPNESS
    against = sharp.masked_fill(~negative, -1e9).logsumexp(1, keepdim=True)
    losses = F.softplus(against - sharp)
    count = positive.float().sum(1)
    per_query = (losses * positive).sum(1) / count.clamp_min(1)
    return per_query.sum() / (count > 0).sum().clamp_min(1)


def any_row_loss(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """InfoNCE of the best positive rows together: one row of the sentence that stands out is enough."""
    sharp = scores * SHARPNESS
    found = sharp.masked_fill(~positive, -1e9).logsumexp(1)
    against = sharp.masked_fill(~negative, -1e9).logsumexp(1)
    asked = positive.any(1)
    return (F.softplus(against - found) * asked).sum() / asked.sum().clamp_min(1)


def class_balanced_loss(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The paper's retriever loss: binary cross-entropy, positives and negatives averaged apart (spec, 7.3)."""
    one, zero = -(scores + 1e-5).log(), -(1 - scores + 1e-5).log()
    mean = [(part * mask).sum() / mask.sum().clamp_min(1) for part, mask in ((one, positive), (zero, negative))]
    return (mean[0] + mean[1]) / 2
