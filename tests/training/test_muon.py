"""Laws of Muon's steps."""

from __future__ import annotations

import pytest
import torch

from model.training.muon import MuonAdamW, orthogonal


@pytest.mark.parametrize("shape", [(12, 12), (30, 8), (8, 30)])
def test_steps_have_singular_values_near_1(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    steep = torch.randn(shape) * torch.logspace(-2, 2, shape[1])
    values, before = torch.linalg.svdvals(orthogonal(steep)), torch.linalg.svdvals(steep)
    assert orthogonal(steep).shape == shape
    assert values.max() < 1.3
    assert values.median() > 0.6
    assert before.max() / before.min() > 10 * values.max() / values.min()


def groups(matrix: torch.nn.Parameter, vector: torch.nn.Parameter) -> list[dict[str, object]]:
    return [
        {"params": [matrix], "weight_decay": 0.0, "muon": True},
        {"params": [vector], "weight_decay": 0.0, "muon": False},
    ]


def test_a_step_is_as_large_as_adamws() -> None:
    torch.manual_seed(0)
    matrix, vector = torch.nn.Parameter(torch.zeros(40, 20)), torch.nn.Parameter(torch.zeros(5))
    optimizer = MuonAdamW(groups(matrix, vector), lr=0.1)
    (matrix * torch.randn(40, 20)).sum().backward()
    (vector * torch.randn(5)).sum().backward()
    optimizer.step()
    assert torch.allclose(vector.abs(), torch.full((5,), 0.1), rtol=1e-3)  # AdamW's first step
    assert 0.01 < matrix.square().mean().sqrt() < 0.03  # 0.2 of the rate, root mean square


def test_both_kinds_of_steps_reach_a_minimum() -> None:
    torch.manual_seed(0)
    goal, matrix, vector = torch.randn(6, 6), torch.nn.Parameter(torch.zeros(6, 6)), torch.nn.Parameter(torch.zeros(6))
    optimizer = MuonAdamW(groups(matrix, vector), lr=0.05)
    for _ in range(400):
        loss = (matrix - goal).square().sum() + (vector - goal[0]).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5
