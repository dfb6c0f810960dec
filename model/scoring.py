"""Scoring stored rows against a prompt: the mean over its tokens of sigmoid(q . k), a cache-sized tile at a time."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Int8Keys(NamedTuple):
    """Retrieval keys in eight bits: a key is values * its scale. values (M, h) int8, scales (M,) float16."""

    values: Tensor
    scales: Tensor


Keys = Tensor | Int8Keys  # (M, h) in a float format, or in eight bits
