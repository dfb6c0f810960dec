"""Attention of a training on a CPU with bf16: query heads that share keys are rows of one product."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from model.mplus import MPlus, visible

NAME = "grouped_bf16"
ALIGNED = 32  # rows of keys: products of other lengths take twice as long


class GroupedAttention(torch.autograd.Function):
    """softmax(q k^T + mask) v for q (N, m * n, hd), k and v (N, S, hd), mask (n, S), all in bf16.

    The backward pass of torch's own attention repeats the keys for every query head and is slower than the rest of a
    step together; this one keeps the shares (N, m * n, S), which a training's short prompts allow.
    """

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """(N, m * n, hd)"""
        scores = query @ key.transpose(1, 2).contiguous()
        scores.unflatten(1, (-1, len(mask))).add_(mask)
        shares = scores.softmax(-1)
        context.save_for_backward(query, key, value, shares)
        return shares @ value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of query, key and value."""
        query, key, value, shares = context.saved_tensors
        outside = gradients[0].contiguous()
        of_shares = outside @ value.transpose(1, 2).contiguous()
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        turned = of_scores.transpose(1, 2)
        return of_scores @ key, turned @ query, shares.transpose(1, 2) @ outside, None


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Query (B, H, n, hd), key and value (B, G, S, hd), mask (1, 1, n, S) or None for causal -> (B, n, H, hd)."""
    batch, _, count, size = query.shape
    assert attention_mask is None or attention_mask.shape[:2] == (1, 1), "all prompts of a training see as much"
    allowed = visible(count, key.shape[2] - count, query.device) if attention_mask is None else attention_mask
    mask = torch.zeros(count, key.shape[2]) if allowed is None else added(allowed[0, 0])
    more = -key.shape[2] % ALIGNED
    scale = size**-0.5 if scaling is None else scaling
    with torch.autocast("cpu", enabled=False):
        rows = (query * scale).bfloat16().reshape(batch * key.shape[1], -1, size)
        stored = (F.pad(one.bfloat16().flatten(0, 1), (0, 0, 0, more)) for one in (key, value))
        read = GroupedAttention.apply(rows, *stored, F.pad(mask, (0, more), value=float("-inf")).bfloat16())
    return read.reshape(query.shape).transpose(1, 2).to(query.dtype).contiguous(), None


def added(mask: Tensor) -> Tensor:
    """A mask as what is added to scores."""
    return torch.zeros(mask.shape).masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else mask


def use_grouped_attention(model: MPlus) -> None:
    """Let a model attend so while autocast is on."""
    AttentionInterface.register(NAME, grouped_attention)
    model.config.llama._attn_implementation = NAME
