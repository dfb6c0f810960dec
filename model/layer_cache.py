"""Keys and values that grow as a text is read, one object a layer: all that layers ask of a cache is `update`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class CacheLayer(Protocol):
    """What one layer has seen."""

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H_kv, n, hd); returns all so far."""


class GrowingLayer:
    """A layer whose keys and values are joined anew at every step; gradients pass."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H_kv, n, hd); returns all so far."""
        new = key_states, value_states
        if self.kept is not None:
            new = torch.cat([self.kept[0], key_states], 2), torch.cat([self.kept[1], value_states], 2)
        self.kept = new
        return new


class LayerCache:
    """The layers of a cache, called by stock and fused layers as the one of transformers is; it imports none of it."""

    def __init__(self, layers: Sequence[CacheLayer]) -> None:
        self.layers = list(layers)

    def update(self, key_states: Tensor, value_states: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, H_kv, n, hd) to a layer; returns all that it has."""
        return self.layers[layer].update(key_states, value_states)
