"""Attention of a training on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from model.mplus import MPlus

NAME = "sdpa_float32"


def float32_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Stock attention outside of autocast: its backward pass on the CPU is half as fast in bfloat16 as in float32."""
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **options)


def use_float32_attention(model: MPlus) -> None:
    """Let a model attend in float32 while autocast is on."""
    AttentionInterface.register(NAME, float32_attention)
    model.config.llama._attn_implementation = NAME
