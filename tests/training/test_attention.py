"""Laws of the attention of a training: what torch's own computes, forward and backward, to the precision of bf16."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.training.attention import grouped_attention

PROMPT, STORED, HEADS, GROUPS, SIZE = 10, 37, 8, 2, 16


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, HEADS, PROMPT, SIZE), (3, GROUPS, STORED, SIZE), (3, GROUPS, STORED, SIZE))
    query, key, value = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    return query, key, value


def reference(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """(B, n, H, hd)"""
    mask = torch.ones(PROMPT, STORED, dtype=torch.bool).tril(STORED - PROMPT) if mask is None else mask
    wide = (one.repeat_interleave(HEADS // GROUPS, 1) for one in (key, value))
    return F.scaled_dot_product_attention(query, *wide, attn_mask=mask).transpose(1, 2)


@pytest.mark.parametrize("masked", ["causal", "bool", "added"])
def test_it_reads_and_learns_what_plain_attention_does(masked: str) -> None:
    parts = drawn()
    allowed = torch.rand(1, 1, PROMPT, STORED, generator=torch.Generator().manual_seed(1)) < 0.7
    mask = {
        "causal": None,
        "bool": allowed,
        "added": torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf")),
    }[masked]
    found, right = grouped_attention(torch.nn.Identity(), *parts, mask)[0], reference(*parts, mask)
    assert found.dtype == right.dtype, "a probe reads without autocast"
    assert (found - right).norm() < 0.01 * right.norm()
    weights = torch.randn(right.shape, generator=torch.Generator().manual_seed(2))
    for one, other in zip(
        *(torch.autograd.grad((read * weights).sum(), parts) for read in (found, right)), strict=True
    ):
        assert (one - other).norm() < 0.02 * other.norm()


def test_a_scale_of_ones_own_is_used() -> None:
    query, key, value = drawn()
    found = grouped_attention(torch.nn.Identity(), query, key, value, None, scaling=0.0)[0]
    assert torch.allclose(found[0, -1, 0], value[0, 0].mean(0), atol=0.02)
