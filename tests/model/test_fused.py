"""What fused layers do for the sake of speed changes no value."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.adapters import READ
from model.fused import laid_out, rotate
from model.generate import Memory, Reader, decode
from model.membership import log_membership
from model.memory import RowTable
from tests.model.tiny import tiny_model, tokens


@given(outputs=st.integers(1, 70), inputs=st.integers(1, 70), rows=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_matrix_has_the_same_values_and_bytes_in_either_memory_order(outputs, inputs, rows):
    weight, hidden = torch.randn(outputs, inputs), torch.randn(rows, inputs)
    laid = laid_out(weight)
    assert torch.equal(laid, weight)
    assert laid.untyped_storage().nbytes() == weight.untyped_storage().nbytes()
    torch.testing.assert_close(F.linear(hidden, laid), F.linear(hidden, weight), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_the_norm_of_one_row_is_the_norm_of_that_row_among_others(scale):
    model = tiny_model()
    model.specialise(READ)
    layer, rows = model.fused[0], scale * torch.randn(1, 5, 32)
    together = layer.norm(rows, layer.input_norm)
    for number in range(5):
        alone = layer.norm(rows[:, number : number + 1], layer.input_norm)
        torch.testing.assert_close(alone, together[:, number : number + 1], atol=1e-6, rtol=1e-5)
    assert layer.norm(rows[:, :0], layer.input_norm).shape == (1, 0, 32)


@pytest.mark.parametrize("start", [0, 63, 64, 1000])
def test_the_rotation_of_one_position_is_the_same_as_a_matrix(start):
    model, heads = tiny_model(), torch.randn(1, 4, 1, 8)
    stock = rotate(heads, *model.place(start, 1, heads))
    model.specialise(READ)
    for _ in range(2):  # made, and kept
        turned = rotate(heads, *model.place(start, 1, heads))
        torch.testing.assert_close(turned, stock, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned.norm(dim=-1), heads.norm(dim=-1))


@pytest.mark.parametrize("adapters", [False, True])
def test_seventy_decoded_tokens_equal_one_long_prompt_of_the_stock_layers(adapters):
    stock, fused = tiny_model(adapters), tiny_model(adapters)
    fused.specialise(READ)
    memory = Memory(RowTable([]), log_membership([], 3, 8, 32))
    ids = tokens(75)
    whole, _, _ = Reader(stock, memory).prefill(ids)
    hidden, cache, _ = Reader(fused, memory).prefill(ids[:, :5])
    steps = [hidden[:, -1:], *(decode(fused, ids[:, at : at + 1], cache) for at in range(5, 75))]
    torch.testing.assert_close(torch.cat(steps, 1), whole[:, 4:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fused.logits(steps[-1]), stock.logits(whole[:, -1:]), atol=1e-4, rtol=1e-4)
