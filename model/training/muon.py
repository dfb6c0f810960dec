"""Muon: the steps of inner matrices are made orthogonal, so that rare directions learn as fast as frequent ones.

Jordan and others, 2024 (kellerjordan.github.io/posts/muon), with the scaling of Liu and others, arXiv 2502.16982.
torch has one too; it multiplies in bfloat16 always, which costs a quarter of a step on processors without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model.devices import cpu_has_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration
ITERATIONS = 5
MOMENTUM = 0.95
LIKE_ADAMW = 0.2  # root mean square of a step, as AdamW's steps have it


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (n, m) with all singular values near 1, by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    found = matrix / (matrix.norm() + 1e-7)
    if matrix.is_cpu and cpu_has_bf16():  # enough of precision, the authors say
        found = found.bfloat16()
    tall = len(matrix) > matrix.shape[1]
    if tall:
        found = found.T
    for _ in range(ITERATIONS):
        square = found @ found.T
        found = a * found + (b * square + c * square @ square) @ found
    return (found.T if tall else found).to(matrix.dtype)


class MuonAdamW(torch.optim.AdamW):
    """AdamW, but groups with `muon` set take Muon's steps; their momentum is kept as `exp_avg`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of all groups."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            found = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._orthogonal_steps(group)
        return found

    def _orthogonal_steps(self, group: dict[str, Any]) -> None:
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["step"], state["exp_avg"] = torch.zeros(()), torch.zeros_like(weight)
            state["exp_avg"].lerp_(weight.grad, 1 - MOMENTUM)
            direction = orthogonal(weight.grad.lerp(state["exp_avg"], MOMENTUM))
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(direction, alpha=-group["lr"] * LIKE_ADAMW * max(weight.shape) ** 0.5)
